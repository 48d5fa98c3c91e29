/* SPDX-License-Identifier: Apache-2.0
 *
 * scribble.c - hostile processes: legitimate peers that write where they please. They know the
 * library's own structures, as anybody can. */
#include "scribble.h"

#include "address.h"
#include "client.h"
#include "proof.h"
#include "segment.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_NS INT64_C(20000000000)
/** Words between two looks at anything else. */
#define BURST 512u

/* ---------------------------------------------------------------- words */

static uint64_t likely(uint64_t random, const struct carom__lane *lane)
{
    const uint64_t lap = carom__ring_lap(&lane->ring, random >> 40 & 0xff);
    const uint64_t values[] = {
        random,
        0,
        UINT64_MAX,
        carom__state(CAROM__SUBMITTED, (uint32_t)(random >> 8) & 0xff, 0),
        carom__state(CAROM__RUNNING, (uint32_t)(random >> 8) & 0xff, (uint32_t)(random >> 32)),
        carom__state(CAROM__DONE, (uint32_t)(random >> 8) & 0xff, (uint32_t)(random >> 32)) |
            (random & CAROM__FLAGS_MASK),
        carom__cell(lap, (uint32_t)(random >> 8) & 0xff, (uint32_t)random & 0xf),
        random & 0xffff,
    };
    return values[random >> 60 & 7];
}

static void write_word(void *at, uint64_t value)
{
    /* relaxed: hostile */
    atomic_store_explicit((_Atomic uint64_t *)at, value, memory_order_relaxed);
}

/* A random word of an area. */
static void scribble(void *area, size_t bytes, uint64_t *random, const struct carom__lane *lane)
{
    char *at = (char *)area + proof_random(random) % (bytes / 8) * 8;
    write_word(at, likely(proof_random(random), lane));
}

/* ---------------------------------------------------------------- a client */

static struct carom_client *connect_client(const char *service)
{
    struct carom_client *client;
    const struct carom_client_options options = {.size = sizeof options,
                                                 .slots = 8,
                                                 .request_block_bytes = 8192,
                                                 .reply_block_bytes = 8192,
                                                 .reconnect_timeout_ns = -1};
    return carom_client_open(service, PATIENCE_NS, &options, &client) < 0 ? NULL : client;
}

/* A cell that workers find, of a call that may be one. */
static void tempt(struct carom_client *client, uint64_t *random)
{
    const struct carom__lane *lane = &client->lane;
    uint64_t position = proof_random(random) & 0xff, how = proof_random(random);
    uint32_t slot = how & 0xf0 ? how & 7 : (uint32_t)how >> 16;
    write_word(&lane->slots[slot % 8].state, carom__state(CAROM__SUBMITTED, how >> 40 & 3, 0));
    if (how & 0x300)
        write_word(&lane->slots[slot % 8].request_bytes, how >> 20 & 0x1fff);
    write_word(&lane->ring.cells[carom__ring_at(&lane->ring, position)],
               carom__cell(carom__ring_lap(&lane->ring, position), how >> 40 & 3, slot));
    write_word(lane->ring.head, position);
}

static void scribble_over_lane(struct carom_client *client, uint64_t *random)
{
    for (unsigned i = 0; i < BURST; i++) {
        scribble(client->lane.control, carom__control_bytes(&client->lane.geometry), random,
                 &client->lane);
        /* as well: the words that all clients and workers share */
        if (i % 16 == 0)
            scribble(client->bell, i % 32 == 0 ? 256 : sizeof *client->bell, random, &client->lane);
    }
    tempt(client, random);
    carom__bell_set_ready(client->bell, client->lane_id);
    add(&tally->scribbles, BURST + BURST / 16);
}

/* A call as it should be, so that workers look. */
static void submit(struct carom_client *client, uint64_t *random)
{
    struct carom_call *call;
    if (carom_call_begin(client, 0, 0, CAROM_NOWAIT, &call) < 0)
        return;
    carom_call_submit(call, proof_random(random) % 8192);
    carom_call_end(call);
}

int run_scribbling_client(const char *service, uint64_t seed)
{
    for (;;) {
        struct carom_client *client = connect_client(service);
        if (client == NULL)
            return 3;
        carom_client_method(client, "sum");
        do {
            scribble_over_lane(client, &seed);
            submit(client, &seed);
        } while (!carom__client_host_gone(client));
        add(&tally->poisoned, 1);
        carom_client_close(client);
    }
}

/* Nobody finds anybody: no ready bit, no parked bit. It writes nothing else. */
int run_silencer(const char *service, uint64_t seed)
{
    struct carom_client *client = connect_client(service);
    (void)seed;
    if (client == NULL)
        return 3;
    for (;;) {
        for (unsigned i = 0; i < BURST; i++) {
            write_word((void *)&client->bell->ready[0], 0);
            write_word((void *)&client->bell->parked[0], 0);
        }
        sched_yield(); /* with fewer CPUs than processes others would not run at all */
    }
}

/* ---------------------------------------------------------------- a worker */

static void scribble_over_all(struct carom_worker *worker, uint64_t *random)
{
    for (uint32_t id = 0; id < worker->lane_words * 64; id++) {
        struct carom__worker_lane *mapped = worker->lanes[id];
        if (mapped == NULL)
            continue;
        const struct carom__geometry *geometry = &mapped->lane.geometry;
        for (unsigned i = 0; i < BURST; i++) {
            uint32_t slot = (uint32_t)proof_random(random) % geometry->slots;
            scribble(mapped->lane.control, carom__control_bytes(geometry), random, &mapped->lane);
            scribble(mapped->blocks[slot].reply, i % 8 == 0 ? geometry->reply_block_bytes : 64,
                     random, &mapped->lane);
        }
        add(&tally->scribbles, UINT64_C(2) * BURST);
    }
}

/* Between scribbles it takes calls like any other, so that clients have something to wait for. */
int run_scribbling_worker(const char *service, uint64_t seed)
{
    struct carom_worker *worker;
    struct carom_request *request;
    if (carom_worker_open(service, scribbled_methods, 1, PATIENCE_NS, NULL, &worker) < 0)
        return 3;
    for (;;) {
        scribble_over_all(worker, &seed);
        int rc = carom_worker_poll(worker, 1000, &request);
        if (rc == 0)
            scribbled_methods[0].handler(NULL, request);
        else if (rc != -EAGAIN)
            return 4;
    }
}

/* ---------------------------------------------------------------- a talker */

static int knock(const char *service)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || carom__address(service, false, &address) < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, carom__address_bytes(&address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Descriptors of all sorts: the first ones are proper, if the rest is. */
static uint32_t gather_fds(int fds[4], uint64_t random)
{
    uint32_t count = 0;
    if (random & 3)
        fds[count++] = carom__own_pidfd();
    if (random & 12) {
        int fd = carom__segment_create("carom-talker", random & 16 ? 4096 : UINT64_C(1) << 20);
        fds[count++] = random & 32 ? fd : carom__segment_read_only(fd);
        if (!(random & 32))
            close(fd);
    }
    if ((random & 0x700) == 0x700)
        fds[count++] = open("/dev/null", O_RDWR | O_CLOEXEC);
    return count;
}

static size_t make_message(char *bytes, uint64_t *random)
{
    uint64_t how = proof_random(random);
    struct carom__hello hello = {
        .layout_hash = carom__layout_hash(),
        .role = (uint32_t)(how % 4),
        .has_pidfd = (how & 12) != 0,
        .method_count = (how & 0x300) == 0x300 ? (uint32_t)proof_random(random) : how >> 10 & 3,
        .geometry = {1u << (how >> 12 & 15), 4u << (how >> 12 & 15), 4096u << (how >> 16 & 15),
                     4096u << (how >> 20 & 7)},
    };
    size_t length = sizeof hello + (how >> 10 & 3) * sizeof(struct carom__method_entry);
    if (how >> 58 == 0)
        length = 16 + proof_random(random) % 4000;
    carom__header_set(&hello.header, CAROM__HELLO, length);
    memset(bytes, 'm', 4096);
    memcpy(bytes, &hello, sizeof hello);
    for (unsigned i = how >> 40 & 3; i > 0; i--)
        bytes[proof_random(random) % 72] = (char)proof_random(random);
    return length;
}

int run_talker(const char *service, uint64_t seed)
{
    static char bytes[4096], answer[4096];
    for (;;) {
        int fds[4], socket = knock(service);
        if (socket < 0) {
            usleep(1000);
            continue;
        }
        uint32_t count = gather_fds(fds, proof_random(&seed));
        size_t length = make_message(bytes, &seed);
        carom__send(socket, bytes, length, fds, count, true);
        if (proof_random(&seed) & 1) /* WELCOME or REFUSED, then more nonsense */
            (void)!recv(socket, answer, sizeof answer, MSG_DONTWAIT);
        carom__send(socket, bytes, proof_random(&seed) % 64 + 1, NULL, 0, false);
        for (uint32_t i = 0; i < count; i++)
            close(fds[i]);
        close(socket);
        add(&tally->messages, 1);
    }
}
