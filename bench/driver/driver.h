/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.h - what the files of the driver share: what was asked for, one connection, what was
 * measured. main.c reads the arguments, crowd.c runs one process or many, works.c and rate.c do the
 * work, report.c prints it.
 */
#ifndef CAROM_BENCH_DRIVER_H
#define CAROM_BENCH_DRIVER_H

#include "bench.h"
#include "histogram.h"
#include "transport.h"
#include "work.h"

#define DRIVER_CLIENTS_MAX 64
#define DRIVER_DEPTH_MAX 4096
#define DRIVER_LARGE_BYTES (1u << 20) /* the large request of work=mixed */

/** What the command line asks for. */
struct driver_settings {
    const struct driver_work *work;
    const char *at, *option;
    int64_t bytes, depth, rate, ms, warm_ms, cpu, peer_cpu, clients;
    unsigned bound_s; /* after this the kernel ends every process */
};

/** One connection and the calls made on it. */
struct driver_caller {
    const struct driver_settings *settings;
    struct transport *transport;
    uint64_t sequence;  /* of the newest call */
    unsigned in_flight; /* calls sent and not answered */
    unsigned depth;     /* the most that may be */
    unsigned index;     /* of this client among all */
};

/** What one client measured; in memory that it shares with its parent. */
struct driver_result {
    uint64_t calls;           /* answered within the measured time */
    int64_t begin_ns, end_ns; /* of the measured time */
    int64_t cpu_ns;           /* of this process, in that time */
    int64_t connect_ns, first_ns;
    int64_t late_max_ns; /* work=rate */
    uint64_t unsent;     /* work=rate */
    unsigned depth;
    struct histogram times, large;
};

/** A kind of work. `run` begins its warm-up at `begin_ns`, measures after it, and leaves no call in
 *  flight. */
struct driver_work {
    const char *name;
    void (*run)(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result);
};

void driver_run_latency(struct driver_caller *caller, int64_t begin_ns,
                        struct driver_result *result);
void driver_run_depth(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result);
void driver_run_mixed(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result);
void driver_run_first(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result);
void driver_run_rate(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result);

/** Does the work with as many clients as asked for; `results` holds one for each. */
void driver_run(const struct driver_settings *settings, struct driver_result *results);

/** Prints the one line of JSON. */
void driver_report(const struct driver_settings *settings, const struct driver_result *results);

/** Sends one more request. */
static inline void driver_send(struct driver_caller *caller, size_t bytes)
{
    transport_send(caller->transport, bytes, ++caller->sequence);
    caller->in_flight++;
}

/** Takes an answer; the number of its call, 0 if there is none yet (only without `wait`). */
static inline uint64_t driver_receive(struct driver_caller *caller, bool wait)
{
    uint64_t sequence = transport_receive(caller->transport, wait);
    if (sequence > caller->sequence || (wait && sequence == 0))
        bench_die("an answer to call %" PRIu64 ", which was not made", sequence);
    if (sequence)
        caller->in_flight--;
    return sequence;
}

/** CPU time of this process with all its threads. */
static inline int64_t driver_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/** The measured time begins and ends. */
static inline void driver_begin(struct driver_result *result, int64_t now_ns)
{
    result->cpu_ns = -driver_cpu_ns();
    result->begin_ns = now_ns;
}

static inline void driver_end(struct driver_result *result, int64_t now_ns)
{
    result->end_ns = now_ns;
    result->cpu_ns += driver_cpu_ns();
}

#endif
