/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.h - a worker's counters and its histogram of call durations.
 *
 * One writer per record, so a counter is a relaxed load and a relaxed store, no locked instruction;
 * observers read whenever they like. The histogram is log-linear, four buckets to a power of two: a
 * value is known within 25 %, its middle within 12 %. */
#ifndef CAROM_STATS_H
#define CAROM_STATS_H

#include "layout.h"

static inline uint32_t carom__bucket_of(uint64_t value_ns)
{
    if (value_ns < 4)
        return (uint32_t)value_ns;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value_ns);
    uint32_t bucket = exponent * 4 + (uint32_t)(value_ns >> (exponent - 2) & 3);
    return bucket < CAROM__HISTOGRAM_BUCKETS ? bucket : CAROM__HISTOGRAM_BUCKETS - 1;
}

/** Middle of a bucket. Buckets 4 to 7 are never used. */
static inline uint64_t carom__bucket_middle_ns(uint32_t bucket)
{
    if (bucket < 8)
        return bucket < 4 ? bucket : 4;
    uint32_t exponent = bucket / 4;
    uint64_t step = UINT64_C(1) << (exponent - 2);
    return (4 + bucket % 4) * step + step / 2;
}

static inline void carom__count(_Atomic uint64_t *counter, uint64_t more)
{
    /* relaxed: one writer; observers want a number, not an order */
    uint64_t count = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, count + more, memory_order_relaxed);
}

/** Notes which call the worker runs from now on; method is the id of the service. */
static inline void carom__note_running(struct carom__worker_stats *stats, uint32_t method,
                                       int64_t since_ns)
{
    /* relaxed: published by `running` */
    atomic_store_explicit(&stats->running_since_ns, since_ns, memory_order_relaxed);
    /* release: who reads this first and the time second sees the time of this call or of a later
     * one, never of an earlier one: no call looks older than it is */
    atomic_store_explicit(&stats->running, method + 1, memory_order_release);
}

static inline void carom__note_idle(struct carom__worker_stats *stats)
{
    /* relaxed: for display and for clocks that look again; the reply does not hang on it */
    atomic_store_explicit(&stats->running, 0, memory_order_relaxed);
}

/** Id of the method that runs, since_ns then says since when; -1 none. Any process, any thread. */
static inline int32_t carom__running(const struct carom__worker_stats *stats, int64_t *since_ns)
{
    /* acquire: pairs with carom__note_running */
    uint32_t running = atomic_load_explicit(&stats->running, memory_order_acquire);
    *since_ns = 0;
    if (running == 0 || running > CAROM__MAX_METHODS)
        return -1;
    /* relaxed: ordered behind the load above */
    *since_ns = atomic_load_explicit(&stats->running_since_ns, memory_order_relaxed);
    return (int32_t)running - 1;
}

/** Value below which `fraction` of a histogram lies, 0 when it is empty. */
static inline uint64_t carom__quantile_ns(const _Atomic uint64_t *histogram, double fraction)
{
    uint64_t counts[CAROM__HISTOGRAM_BUCKETS], total = 0, seen = 0;
    for (uint32_t i = 0; i < CAROM__HISTOGRAM_BUCKETS; i++) {
        counts[i] = atomic_load_explicit(&histogram[i], memory_order_relaxed); /* statistics */
        total += counts[i];
    }
    for (uint32_t i = 0; total > 0 && i < CAROM__HISTOGRAM_BUCKETS; i++) {
        seen += counts[i];
        if ((double)seen >= fraction * (double)total)
            return carom__bucket_middle_ns(i);
    }
    return 0;
}

#endif
