/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - the floor of `make bench`: what the machine itself needs for the same work. Two
 * bare processes, a word each in shared memory, and the bytes beside it. No error can be reported,
 * no deadline be kept, nobody can join or leave, and one call is in flight.
 *
 *   option=line   both spin on the other's word, without a pause instruction. Without a payload a
 *                 call moves one cache line each way and nothing else.
 *   option=futex  both sleep in FUTEX_WAIT every time and are woken by FUTEX_WAKE: two system calls
 *                 on each side of a round trip.
 *
 * A word holds the number of the call and, above it, the length, so no further line tells it. The
 * caller writes every byte of one buffer that both processes map, the other process reads each
 * byte there and writes the answer into a second one; nobody copies. A request of 1 MiB is one
 * buffer handed to and fro.
 *
 * A side that spins asks for the first line of the payload along with the word (prefetch), so that
 * both travel at once; without this a small call takes a third longer. After a call without a
 * payload it does not ask.
 *
 * The other process is forked by transport_open, pinned to peer_cpu and ended by transport_close,
 * or by the kernel when the caller dies.
 */
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define PAGE_BYTES 4096

enum { STOP = 0 }; /* no call has this number */

struct word {
    _Alignas(BENCH_LINE) _Atomic uint64_t value; /* length of the payload << 32 | number */
};

struct table {
    struct word request;                                         /* written by the caller */
    struct word answer;                                          /* written by the server */
    _Alignas(PAGE_BYTES) unsigned char answer_bytes[PAGE_BYTES]; /* written by the server */
    unsigned char request_bytes[];                               /* written by the caller */
};

struct transport {
    struct table *table;
    size_t mapped_bytes;
    bool sleeps;
    uint64_t answer; /* the newest seen */
    size_t bytes;    /* of the call in flight */
    pid_t server;
};

static void post(struct word *word, uint64_t value, bool wake)
{
    /* release: publishes the payload; pairs with the acquire in spin and await_sleeping */
    atomic_store_explicit(&word->value, value, memory_order_release);
    if (wake)
        syscall(SYS_futex, &word->value, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static uint64_t look(struct word *word)
{
    /* acquire: the payload is read after it; pairs with the release in post */
    return atomic_load_explicit(&word->value, memory_order_acquire);
}

static uint64_t await_line(struct word *word, uint64_t old)
{
    uint64_t value;
    do
        value = look(word);
    while (value == old);
    return value;
}

static uint64_t await_payload(struct word *word, uint64_t old, const void *payload)
{
    uint64_t value;
    do {
        value = look(word);
        __builtin_prefetch(payload);
    } while (value == old);
    return value;
}

/** The futex looks at the number, which is the lower half of the word. */
static uint64_t await_sleeping(struct word *word, uint64_t old)
{
    uint64_t value;
    do {
        syscall(SYS_futex, &word->value, FUTEX_WAIT, (uint32_t)old, NULL, NULL, 0);
        value = look(word);
    } while (value == old);
    return value;
}

/** Waits until a word has changed; returns what it is then. */
static uint64_t await(struct word *word, uint64_t old, const void *payload, bool sleeps)
{
    if (sleeps)
        return await_sleeping(word, old);
    return old >> 32 ? await_payload(word, old, payload) : await_line(word, old);
}

/** The other process: answers every request. */
__attribute__((noreturn)) static void serve(struct table *table, bool sleeps)
{
    uint64_t request = 0;
    for (;;) {
        request = await(&table->request, request, table->request_bytes, sleeps);
        if ((uint32_t)request == STOP)
            _exit(0);
        size_t bytes = (size_t)(request >> 32);
        size_t length = work_answer(table->answer_bytes, table->request_bytes, bytes);
        if (length == SIZE_MAX)
            bench_die("call %" PRIu32 " is not of the pattern", (uint32_t)request);
        post(&table->answer, (uint64_t)length << 32 | (uint32_t)request, sleeps);
    }
}

static bool option_sleeps(const char *option)
{
    if (strcmp(option, "line") != 0 && strcmp(option, "futex") != 0)
        bench_die("option=%s: the floor offers line and futex", option);
    return strcmp(option, "futex") == 0;
}

struct transport *transport_open(const struct transport_config *config)
{
    static struct transport transport;
    transport.sleeps = option_sleeps(config->option);
    transport.mapped_bytes = sizeof(struct table) + config->bytes_max;
    transport.table = bench_shared(transport.mapped_bytes);
    memset(transport.table->request_bytes, 0, config->bytes_max);
    transport.server = bench_fork(0);
    if (transport.server == 0) {
        bench_pin(config->peer_cpu);
        serve(transport.table, transport.sleeps);
    }
    return &transport;
}

unsigned transport_depth(const struct transport *transport)
{
    (void)transport;
    return 1;
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    struct table *table = transport->table;
    if ((uint32_t)sequence == STOP)
        bench_die("the floor counts no further than %" PRIu32 " calls", UINT32_MAX);
    transport->bytes = bytes;
    work_fill(table->request_bytes, bytes, sequence);
    post(&table->request, (uint64_t)bytes << 32 | (uint32_t)sequence, transport->sleeps);
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    struct table *table = transport->table;
    if (!wait && look(&table->answer) == transport->answer)
        return 0;
    uint64_t answer = await(&table->answer, transport->answer, table->answer_bytes,
                            transport->sleeps);
    transport->answer = answer;
    if (!work_is_answer(table->answer_bytes, (size_t)(answer >> 32), transport->bytes,
                        (uint32_t)answer))
        bench_die("the answer to call %" PRIu32 " is wrong", (uint32_t)answer);
    return (uint32_t)answer;
}

void transport_close(struct transport *transport)
{
    post(&transport->table->request, STOP, true);
    bench_join(transport->server);
    munmap(transport->table, transport->mapped_bytes);
}
