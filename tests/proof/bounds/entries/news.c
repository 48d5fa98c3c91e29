/* SPDX-License-Identifier: Apache-2.0
 *
 * news.c - what a worker hears on its control socket: worker_lanes.c on any message, once with any
 * geometry and no address space to map it in (the arithmetic), once with one geometry and memory of
 * exactly the size that is asked for. */
#include "lib/worker_lanes.c"

#include "kernel.h"
#include "peer.h"

static struct carom_worker worker;
static bool has_memory;

void *carom__segment_map(int fd, size_t bytes, bool writable)
{
    (void)fd;
    (void)writable;
    errno = 1 + (int)any_below(133); /* of mmap when it fails */
    return has_memory ? calloc(1, bytes) : NULL;
}

void carom__segment_unmap(void *base, size_t bytes)
{
    (void)base;
    (void)bytes;
}

void carom__segment_prefault(const void *at, size_t bytes, bool writable)
{
    (void)at;
    (void)bytes;
    (void)writable;
}

static void open_worker(void)
{
    memset(&worker, 0, sizeof worker);
    worker.bell = memory(sizeof *worker.bell);
    worker.directory = memory(sizeof *worker.directory);
}

static void hear(size_t length, size_t fds)
{
    kernel_length = length;
    kernel_fds = fds;
    read_message(&worker);
}

/* Any message: every length and number of descriptors, any bytes. */
void entry_any(void)
{
    open_worker();
    hear(sizeof(struct carom__lane_news), 3);
    hear(sizeof(struct carom__lane_news), 2);
    hear(sizeof(struct carom__header), 0);
    hear(sizeof(struct carom__header) - 1, 0);
    hear(0, 0);
    //@ assert words_fit: worker.lane_words <= CAROM__LANE_WORDS;
}

/* A lane comes, is looked at, and goes. */
static void with_lane(const struct carom__geometry *geometry)
{
    struct carom__lane_news news = {
        .header = {.magic = CAROM__MAGIC,
                   .type = CAROM__LANE,
                   .protocol = CAROM__PROTOCOL,
                   .size_bytes = sizeof news},
        .lane = 5,
        .present = 1,
        .pid = any_int,
        .uid = any32,
        .geometry = *geometry,
    };
    has_memory = true;
    kernel_text = &news;
    kernel_text_bytes = sizeof news;
    hear(sizeof news, 3);
    struct carom__worker_lane *mapped = worker.lanes[5];
    if (mapped == NULL)
        return;
    const uint32_t slot = any_below(geometry->slots);
    (void)mapped->blocks[slot].request[geometry->request_block_bytes - 1];
    mapped->blocks[slot].reply[geometry->reply_block_bytes - 1] = 0;
    carom__lane_has_work(&mapped->lane);
    carom__worker_poison(&worker, mapped);
    news.present = 0;
    hear(sizeof news, 0);
}

static void map_and_drop(const struct carom__geometry *geometry)
{
    open_worker();
    with_lane(geometry);
}

void entry_lane(void)
{
    FOR_EACH_GEOMETRY(map_and_drop);
}
