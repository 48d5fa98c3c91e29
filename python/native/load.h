/* SPDX-License-Identifier: Apache-2.0
 *
 * load.h - what Python sees of the load generator behind `carom bench` (load.c). A load is the
 * calls that one connection makes on one thread, according to a plan, and what came of them.
 *
 * new, free       not while run runs
 * run             once, on a thread made for it: its signal mask and timer slack stay changed
 * stop, counts    any thread, while the load exists
 * report          after run has returned
 */
#ifndef CAROM_PY_LOAD_H
#define CAROM_PY_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "carom.h"

#define CAROM_PY_LOAD_BUCKETS 3712
#define CAROM_PY_LOAD_STATUSES 17
#define CAROM_PY_LOAD_TEXT_BYTES 320

/* What a connection is to do. Times are absolute unless they say otherwise. */
struct carom_py_load_plan {
    int method;
    const void *data; /* of every request; stays the caller's, until the load is freed */
    size_t data_bytes;
    uint32_t depth;     /* most calls in flight */
    int64_t timeout_ns; /* of each call */
    int64_t begin_ns;   /* when the first call is due */
    int64_t measure_ns; /* calls due before this are not counted */
    int64_t end_ns;     /* no call is begun from then on; INT64_MAX: the count ends it */
    uint64_t calls;     /* how many to count; UINT64_MAX: the time ends it */
    double interval_ns; /* between two intended sends; 0: send whenever fewer are in flight */
};

struct carom_py_load_error {
    uint64_t count;
    int64_t first_ns; /* when the first one was seen, and what it said */
    char first[CAROM_PY_LOAD_TEXT_BYTES];
};

/* Two kinds of calls are counted apart: [0] those that ended with CAROM_OK, [1] all others. */
struct carom_py_load_report {
    int64_t end_ns;       /* when sending ended; the last call, if the count ended it */
    uint64_t timely;      /* calls done while measuring, also those of the warm-up */
    uint64_t reply_bytes; /* of calls with CAROM_OK */
    uint64_t unfinished;  /* given up in flight, because of stop */
    uint64_t unsent;      /* due before the end, but never sent */
    uint64_t delayed;     /* due while `depth` calls were in flight already */
    int64_t late_max_ns;  /* worst time from due to sent */
    int64_t behind_ns;    /* how late the schedule was at the end */
    uint64_t total_ns[2]; /* sum of latencies */
    int64_t max_ns[2];
    bool full; /* at the end there was no room for a call that was due */
    bool lost; /* the connection was, or could not go on */
    char lost_text[CAROM_PY_LOAD_TEXT_BYTES];
    struct carom_py_load_error errors[CAROM_PY_LOAD_STATUSES]; /* by status */
};

struct carom_py_load;

/* The client must outlive the load. NULL without memory. */
struct carom_py_load *carom_py_load_new(struct carom_client *client,
                                        const struct carom_py_load_plan *plan);
void carom_py_load_free(struct carom_py_load *load);

/* Makes the calls; returns when the last one is done or given up. */
void carom_py_load_run(struct carom_py_load *load);

/* Makes run return soon, giving up what is in flight. A signal wakes the thread (SIGURG, which
 * gets a handler that does nothing); it may come just before the thread sleeps, so repeat this
 * until run has returned. */
void carom_py_load_stop(struct carom_py_load *load);

/* Adds CAROM_PY_LOAD_BUCKETS counts of latencies so far: of calls that were OK, or that failed. */
void carom_py_load_counts(struct carom_py_load *load, bool failed, uint64_t *counts);

/* The largest latency in ns that a bucket counts. */
uint64_t carom_py_load_bucket_last(uint32_t index);

const struct carom_py_load_report *carom_py_load_report(const struct carom_py_load *load);

#endif
