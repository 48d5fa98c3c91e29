/* SPDX-License-Identifier: Apache-2.0
 *
 * floor.c - what the machine itself needs for a round trip between two processes. Nothing that two
 * processes do through shared memory can be faster, so carom is measured against it.
 *
 *   mode=line   two processes spin on two words in shared memory, each word written by one of them
 *               and alone on its 128 bytes. A round trip moves one cache line each way and nothing
 *               else: no payload, no pause instruction, no check.
 *   mode=payload  the same, and each side writes 64 bytes before it changes its word, which the
 *               other reads after it has seen the change: the least that any call with a payload
 *               can do.
 *               The spinning side asks for the payload's line along with the word (prefetch), so
 *               that both lines travel at once; without this it takes a third longer.
 *   mode=futex  as mode=line, but both sides sleep in FUTEX_WAIT every time and are
 *               woken by FUTEX_WAKE: two system calls on each side of a round trip. `slept` is the
 *               share of waits that really slept (in the others the word had already changed).
 *
 * The floor of the ratios is mode=line. A call with a payload moves more lines than it does, which
 * is why a ratio of 1 cannot be had; mode=payload says how much of the difference that is.
 *
 * Arguments: mode, ms (duration), batch (round trips per sample), cpu, peer_cpu.
 */
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "bench.h"

#define STOP UINT32_MAX
#define PAYLOAD_BYTES 64

struct word {
    _Alignas(BENCH_LINE) _Atomic uint32_t value;
    _Alignas(BENCH_LINE) uint64_t waits, sleeps; /* the reader's count, on its own line */
};

struct table {
    struct word ping; /* written by the parent */
    struct word pong; /* written by the child */
    _Alignas(4096) unsigned char request[PAYLOAD_BYTES]; /* written by the parent */
    _Alignas(4096) unsigned char reply[PAYLOAD_BYTES];   /* written by the child */
};

enum mode { LINE, PAYLOAD, FUTEX };
static const char *const mode_names[] = { "line", "payload", "futex" };

static void post_line(struct word *word, uint32_t value)
{
    /* release: pairs with the acquire in await_line */
    atomic_store_explicit(&word->value, value, memory_order_release);
}

/** Spins until the word has changed from `old`; returns the new value. */
static uint32_t await_line(struct word *word, uint32_t old)
{
    uint32_t value;
    do /* acquire: pairs with the release in post_line */
        value = atomic_load_explicit(&word->value, memory_order_acquire);
    while (value == old);
    return value;
}

/** The same, with the payload's line coming along. */
static uint32_t await_payload(struct word *word, uint32_t old, const void *payload)
{
    uint32_t value;
    do { /* acquire: pairs with the release in post_line */
        value = atomic_load_explicit(&word->value, memory_order_acquire);
        __builtin_prefetch(payload);
    } while (value == old);
    return value;
}

static void post_futex(struct word *word, uint32_t value)
{
    post_line(word, value);
    syscall(SYS_futex, &word->value, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/** Sleeps until the word has changed from `old`; returns the new value. */
static uint32_t await_futex(struct word *word, uint32_t old)
{
    uint32_t value;
    do {
        word->waits++;
        if (syscall(SYS_futex, &word->value, FUTEX_WAIT, old, NULL, NULL, 0) == 0)
            word->sleeps++;
        /* acquire: pairs with the release in post_line */
        value = atomic_load_explicit(&word->value, memory_order_acquire);
    } while (value == old);
    return value;
}

static void step_line(void *context, uint64_t sequence)
{
    struct table *table = context;
    post_line(&table->ping, (uint32_t)sequence);
    await_line(&table->pong, (uint32_t)sequence - 1);
}

static void step_payload(void *context, uint64_t sequence)
{
    struct table *table = context;
    bench_fill(table->request, PAYLOAD_BYTES, sequence);
    post_line(&table->ping, (uint32_t)sequence);
    await_payload(&table->pong, (uint32_t)sequence - 1, table->reply);
    if (!bench_matches(table->reply, PAYLOAD_BYTES, sequence))
        bench_die("the reply %" PRIu64 " is not what was sent", sequence);
}

static void step_futex(void *context, uint64_t sequence)
{
    struct table *table = context;
    post_futex(&table->ping, (uint32_t)sequence);
    await_futex(&table->pong, (uint32_t)sequence - 1);
}

/** The child: waits for the number after `value`; leaves when it is told to stop. */
static uint32_t await_request(struct table *table, enum mode mode, uint32_t value)
{
    if (mode == FUTEX)
        value = await_futex(&table->ping, value);
    else if (mode == PAYLOAD)
        value = await_payload(&table->ping, value, table->request);
    else
        value = await_line(&table->ping, value);
    if (value == STOP)
        _exit(0);
    return value;
}

/** The child: answers every number. */
__attribute__((noreturn)) static void answer(struct table *table, enum mode mode)
{
    for (uint32_t value = 0;;) {
        value = await_request(table, mode, value);
        if (mode == PAYLOAD)
            memcpy(table->reply, table->request, PAYLOAD_BYTES);
        if (mode == FUTEX)
            post_futex(&table->pong, value);
        else
            post_line(&table->pong, value);
    }
}

static struct bench_result measure(struct table *table, enum mode mode, int64_t ms, int64_t batch)
{
    switch (mode) {
    case PAYLOAD:
        return bench_measure(step_payload, table, ms, batch);
    case FUTEX:
        return bench_measure(step_futex, table, ms, batch);
    default:
        return bench_measure(step_line, table, ms, batch);
    }
}

static enum mode mode_of(const char *name)
{
    for (size_t i = 0; i < sizeof(mode_names) / sizeof(*mode_names); i++)
        if (strcmp(name, mode_names[i]) == 0)
            return (enum mode)i;
    bench_die("mode=%s: must be line, payload or futex", name);
}

static void report(const struct table *table, struct bench_result result)
{
    uint64_t waits = table->ping.waits + table->pong.waits;
    uint64_t sleeps = table->ping.sleeps + table->pong.sleeps;
    printf("{\"rtt_ns\": %.1f, \"p10_ns\": %.1f, \"p99_ns\": %.1f, \"calls\": %" PRIu64
           ", \"slept\": %.4f}\n",
           result.p50_ns, result.p10_ns, result.p99_ns, result.calls,
           waits ? (double)sleeps / (double)waits : 0.0);
}

int main(int argc, char **argv)
{
    const char *name = "line";
    int64_t ms = 20, batch = 64, cpu = 0, peer_cpu = 1;
    const struct bench_option options[] = {
        { "mode", NULL, &name },   { "ms", &ms, NULL },           { "batch", &batch, NULL },
        { "cpu", &cpu, NULL },     { "peer_cpu", &peer_cpu, NULL },
    };
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    enum mode mode = mode_of(name);
    struct table *table = bench_shared(sizeof(*table));
    pid_t child = bench_fork(BENCH_BOUND_S);
    if (child == 0) {
        bench_pin(peer_cpu);
        answer(table, mode);
    }
    bench_pin(cpu);
    struct bench_result result = measure(table, mode, ms, batch);
    post_futex(&table->ping, STOP);
    bench_join(child);
    report(table, result);
    return 0;
}
