/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.h - what the benchmark programs share: arguments, clock, pinning, bounds, payloads, the
 * timing loop and percentiles. Knows nothing of carom, so that the peers are measured by the very
 * same code.
 *
 * Every program is one process (with children of its own, if need be) that measures one thing for
 * a given time, prints one flat JSON object on one line and exits with 0. A program that cannot do
 * that prints one line on stderr and exits with 1. No program can outlive its runner or run for
 * longer than its bound: the kernel ends it (alarm, parent-death signal).
 *
 * Timing. A call takes about as long as reading the clock a few times, so a fast exchange is timed
 * in batches (64 calls between two readings) and a sample is the mean of a batch; an exchange that
 * sleeps is timed one by one. The figure is the median of the samples. Percentiles of batches are
 * percentiles of means, and named so in the README.
 *
 * Payloads. The sender writes every byte, differently for every call; the receiver reads every
 * byte. The caller compares the whole answer with what it sent: a wrong byte ends the program.
 */
#ifndef CAROM_BENCH_H
#define CAROM_BENCH_H

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BENCH_LINE 128 /* two cache lines: adjacent lines are fetched in pairs */
#define BENCH_SAMPLES_MAX (1u << 18)
#define BENCH_BOUND_S 30 /* no single measurement takes longer */

/** Ends the program with one line on stderr. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void
bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static inline int64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void bench_sleep_ms(int64_t ms)
{
    struct timespec rest = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 };
    while (nanosleep(&rest, &rest) && errno == EINTR)
        continue;
}

/** Pins this process to one CPU; a negative number leaves it where it is. */
static inline void bench_pin(int64_t cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        bench_die("cannot run on CPU %" PRId64 ": %s", cpu, strerror(errno));
}

/** Makes sure that this process ends: with its parent, and after `seconds` (0: no such bound). */
static inline void bench_bound(unsigned seconds)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        bench_die("prctl: %s", strerror(errno));
    alarm(seconds);
}

/* ---------------------------------------------------------------- arguments: name=value */

struct bench_option {
    const char *name;
    int64_t *number;   /* either a number ... */
    const char **text; /* ... or a text */
};

static inline void bench_set(const struct bench_option *option, const char *value)
{
    char *end = NULL;
    if (option->text) {
        *option->text = value;
        return;
    }
    errno = 0;
    *option->number = strtoll(value, &end, 10);
    if (errno || end == value || *end)
        bench_die("%s=%s is not a number", option->name, value);
}

/** Reads the arguments; one that is not in the table ends the program. */
static inline void bench_arguments(int argc, char **argv, const struct bench_option *options,
                                   size_t count)
{
    for (int i = 1; i < argc; i++) {
        size_t found = 0;
        const char *equals = strchr(argv[i], '=');
        size_t length = equals ? (size_t)(equals - argv[i]) : 0;
        while (equals && found < count &&
               (strlen(options[found].name) != length ||
                memcmp(options[found].name, argv[i], length) != 0))
            found++;
        if (!equals || found == count)
            bench_die("unknown argument %s; arguments are name=value, see bench/README.md",
                      argv[i]);
        bench_set(&options[found], equals + 1);
    }
}

/* ---------------------------------------------------------------- processes */

/** Zeroed memory that children made by bench_fork share. */
static inline void *bench_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        bench_die("mmap of %zu bytes: %s", bytes, strerror(errno));
    return memory;
}

/** fork(); the child is bound like its parent. Returns 0 in the child. */
static inline pid_t bench_fork(unsigned seconds)
{
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0)
        bench_bound(seconds);
    return pid;
}

/** Waits for a child, which must have ended with 0. */
static inline void bench_join(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            bench_die("waitpid: %s", strerror(errno));
    if (status)
        bench_die("process %d ended with wait status %#x", (int)pid, (unsigned)status);
}

/* ---------------------------------------------------------------- payloads */

#define BENCH_BLOCK_BYTES 64 /* payloads are written and read a cache line at a time */

/** Two words that the compiler stores at once, as any program that copies a message does: a line
 *  that is filled word by word while the other side looks at it travels to and fro. */
typedef uint64_t bench_pair __attribute__((vector_size(16)));

struct bench_block {
    bench_pair pairs[BENCH_BLOCK_BYTES / 16];
};

/** The bytes from `at` on of payload `sequence`. Written out, not a loop: the benchmark should not
 *  measure itself. */
static inline struct bench_block bench_block_of(uint64_t sequence, size_t at)
{
    uint64_t word = (sequence ^ at << 32) * 0x9e3779b97f4a7c15u;
    bench_pair w = { word, word + 1 };
    return (struct bench_block){ { w, w + 2, w + 4, w + 6 } };
}

static inline uint64_t bench_difference(struct bench_block a, struct bench_block b)
{
    bench_pair d = (a.pairs[0] ^ b.pairs[0]) | (a.pairs[1] ^ b.pairs[1]) |
                   (a.pairs[2] ^ b.pairs[2]) | (a.pairs[3] ^ b.pairs[3]);
    return d[0] | d[1];
}

/** Writes each of `bytes` bytes; different for every sequence number. */
static inline void bench_fill(void *payload, size_t bytes, uint64_t sequence)
{
    unsigned char *out = (unsigned char *)payload; /* for C++ too */
    size_t at = 0;
    for (; bytes - at >= BENCH_BLOCK_BYTES; at += BENCH_BLOCK_BYTES) {
        struct bench_block block = bench_block_of(sequence, at);
        memcpy(out + at, &block, BENCH_BLOCK_BYTES);
    }
    if (at < bytes) {
        struct bench_block block = bench_block_of(sequence, at);
        memcpy(out + at, &block, bytes - at);
    }
}

/** Reads each of `bytes` bytes and says whether they are those of bench_fill. */
static inline bool bench_matches(const void *payload, size_t bytes, uint64_t sequence)
{
    const unsigned char *in = (const unsigned char *)payload;
    uint64_t difference = 0;
    size_t at = 0;
    for (; bytes - at >= BENCH_BLOCK_BYTES; at += BENCH_BLOCK_BYTES) {
        struct bench_block seen;
        memcpy(&seen, in + at, BENCH_BLOCK_BYTES);
        difference |= bench_difference(seen, bench_block_of(sequence, at));
    }
    if (at < bytes) {
        struct bench_block wanted = bench_block_of(sequence, at), seen = wanted;
        memcpy(&seen, in + at, bytes - at);
        difference |= bench_difference(seen, wanted);
    }
    return difference == 0;
}

/* ---------------------------------------------------------------- timing */

struct bench_result {
    double p10_ns, p50_ns, p90_ns, p99_ns, max_ns;
    uint64_t calls; /* timed ones, without the warm-up */
};

static inline int bench_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/** Nearest-rank percentile of sorted samples. */
static inline double bench_percentile(const double *sorted, size_t count, double fraction)
{
    size_t rank = (size_t)(fraction * (double)count);
    return sorted[rank < count ? rank : count - 1];
}

static inline struct bench_result bench_summary(double *samples, size_t count, uint64_t calls)
{
    qsort(samples, count, sizeof(*samples), bench_compare);
    return (struct bench_result){
        .p10_ns = bench_percentile(samples, count, 0.10),
        .p50_ns = bench_percentile(samples, count, 0.50),
        .p90_ns = bench_percentile(samples, count, 0.90),
        .p99_ns = bench_percentile(samples, count, 0.99),
        .max_ns = samples[count - 1],
        .calls = calls,
    };
}

/** Runs `step` for `ms` milliseconds, after a quarter of that as warm-up, and times batches of it.
 *  Inlined with its step, so that no function pointer is called inside the measured loop. */
__attribute__((always_inline)) static inline struct bench_result
bench_measure(void (*step)(void *, uint64_t), void *context, int64_t ms, int64_t batch)
{
    double *samples = (double *)malloc(BENCH_SAMPLES_MAX * sizeof(*samples));
    int64_t begin = bench_now_ns(), warm = begin + ms * 250000, end = warm + ms * 1000000;
    uint64_t sequence = 0, calls = 0;
    size_t count = 0;
    if (!samples)
        bench_die("out of memory");
    for (int64_t then = begin, now; count == 0 || (then < end && count < BENCH_SAMPLES_MAX);
         then = now) {
        for (int64_t i = 0; i < batch; i++)
            step(context, ++sequence);
        now = bench_now_ns();
        if (then < warm)
            continue;
        samples[count++] = (double)(now - then) / (double)batch;
        calls += (uint64_t)batch;
    }
    struct bench_result result = bench_summary(samples, count, calls);
    free(samples);
    return result;
}

/** The program's one line of output. */
static inline void bench_print(struct bench_result result)
{
    printf("{\"rtt_ns\": %.1f, \"p10_ns\": %.1f, \"p90_ns\": %.1f, \"p99_ns\": %.1f, "
           "\"max_ns\": %.1f, \"calls\": %" PRIu64 "}\n",
           result.p50_ns, result.p10_ns, result.p90_ns, result.p99_ns, result.max_ns,
           result.calls);
    fflush(stdout);
}

#endif
