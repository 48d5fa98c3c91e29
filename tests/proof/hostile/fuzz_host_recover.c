/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_host_recover.c - what the host reads in a lane that somebody else writes to: its recovery
 * after a worker's death, the end of a client's lane, the count of what waits, the quarantine. The
 * lane changes between two loads of the host. Records go into the block of the call, requests are
 * copied from it, nothing else is touched, and each scan is one of so many loads. */
#include "hosting.h"

#include <stdlib.h>
#include <string.h>

#define EPOCH 2u
/** Loads of one scan for each slot: the word, 16 attempts of two transitions, what is around. */
#define LOADS_PER_SLOT 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct carom_host *host;
static struct fuzz_lane *lane;
static struct carom__host_lane hosted;
static struct carom__peer client, worker;
static uint64_t copies; /* how pwrite and sendfile end: a bit for each */
static int requests_fd, replies_fd;

/* ---------------------------------------------------------------- the world */

static bool is_in_a_block(uint64_t at, uint64_t bytes, uint64_t block_bytes)
{
    uint64_t slot = at / carom__block_stride(block_bytes);
    uint64_t begin = carom__block_offset((uint32_t)slot, block_bytes);
    return slot < lane->lane.geometry.slots && at >= begin && at + bytes <= begin + block_bytes;
}

/* A record that is written, or a part of a request that is copied. */
static bool copied(int fd, uint64_t at, uint64_t bytes)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    uint64_t block_bytes = fd == replies_fd ? geometry->reply_block_bytes
                                            : geometry->request_block_bytes;
    if (fd != replies_fd && fd != requests_fd)
        kernel_fail("bytes of descriptor %d, which is none of the lane's", fd);
    if (!is_in_a_block(at, bytes, block_bytes))
        kernel_fail("%llu bytes at %llu are not in a block", (unsigned long long)bytes,
                    (unsigned long long)at);
    copies = copies >> 1 | copies << 63;
    return copies & 1;
}

static void begin(struct fuzz_input *input)
{
    static const uint8_t shapes[8] = {0, 0, 0, 1, 1, 2, 4, 2};
    static char folder[] = "/kept";
    uint64_t options = fuzz_take(input, 2);
    kernel_begin();
    lane = fuzz_lane(0, options >> 11 == 31 ? 3 : shapes[options % 8]);
    fuzz_bell();
    host = fuzz_host();
    fuzz_lane_clear(lane);
    fuzz_bell_clear();
    requests_fd = kernel_open((struct kernel_fd){.kind = KERNEL_MEMORY, .read_only = true});
    replies_fd = kernel_open((struct kernel_fd){.kind = KERNEL_MEMORY});
    hosted = (struct carom__host_lane){.lane = lane->lane,
                                       .geometry = lane->lane.geometry,
                                       .control_fd = -1,
                                       .requests_fd = requests_fd,
                                       .replies_fd = replies_fd};
    client = (struct carom__peer){.role = CAROM__CLIENT, .pid = 77, .lane = &hosted, .pidfd = -1};
    worker = (struct carom__peer){.role = CAROM__WORKER, .id = 1, .pidfd = -1, .pid = 78};
    worker.owner = carom__owner(worker.id, EPOCH);
    host->clients[0] = &client;
    host->quarantine_folder = options & 0x100 ? folder : NULL;
    copies = options >> 9 & 1 ? UINT64_MAX : options * UINT64_C(0x9e3779b97f4a7c15);
    kernel.copied = copied;
    /* relaxed: one thread */
    atomic_store_explicit(&host->directory->method_count, 1, memory_order_relaxed);
    memcpy(host->directory->methods[0].name, "m/..", 5);
    fuzz_begin(lane, worker.owner);
}

/* ---------------------------------------------------------------- operations */

static uint64_t scan_loads(void)
{
    return (uint64_t)LOADS_PER_SLOT * lane->lane.geometry.slots + 256;
}

static void recover(struct fuzz_input *input)
{
    unsigned how = (unsigned)fuzz_take(input, 1);
    snprintf(worker.end, sizeof worker.end, "%s", how & 1 ? "was killed by the test" : "");
    worker.said_goodbye = how & 2;
    fuzz_operation(scan_loads());
    carom__host_recover(host, &worker);
}

static void look_at_waiting(void)
{
    struct carom_waiting waiting;
    carom__bell_set_ready(host->bell, 0);
    fuzz_operation(scan_loads() + UINT64_C(4) * lane->lane.geometry.ring_cells);
    carom_host_waiting(host, &waiting);
    if (waiting.calls > lane->lane.geometry.slots)
        kernel_fail("%llu calls wait in %u slots", (unsigned long long)waiting.calls,
                    lane->lane.geometry.slots);
}

static void disown(void)
{
    fuzz_operation(scan_loads());
    carom__lane_disown(&hosted.lane);
}

/* A call that the dead worker ran. */
static void run_a_call(struct fuzz_input *input)
{
    struct carom__slot *slot = &lane->lane.slots[fuzz_take(input, 1) % lane->lane.geometry.slots];
    uint64_t flags = fuzz_take(input, 1) & CAROM__FLAGS_MASK;
    /* relaxed: one thread */
    atomic_store_explicit(&slot->state, carom__state(CAROM__RUNNING, 1, worker.owner) | flags,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->deaths, (uint32_t)fuzz_take(input, 1) % 3, memory_order_relaxed);
}

static void operate(struct fuzz_input *input)
{
    switch (fuzz_take(input, 1) % 9) {
    case 0:
    case 1:
        fuzz_poke(input);
        break;
    case 2:
        fuzz_poke_later(input);
        break;
    case 3:
        fuzz_storm(input);
        break;
    case 4:
        run_a_call(input);
        break;
    case 5:
        look_at_waiting();
        break;
    case 6:
        disown();
        break;
    default:
        recover(input);
    }
}

/* Recovery is a scan: run once more, when nobody writes any more, it finds all there is. */
static void assert_recovered(void)
{
    uint32_t slot = 0;
    fuzz_calm();
    fuzz_operation(scan_loads());
    carom__host_recover(host, &worker);
    if (carom__lane_find_running(&hosted.lane, worker.owner, &slot))
        kernel_fail("slot %u is still run by a dead worker", slot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, data + bytes};
    begin(&input);
    while (fuzz_more(&input))
        operate(&input);
    assert_recovered();
    host->clients[0] = NULL;
    return 0;
}
