/* SPDX-License-Identifier: Apache-2.0
 *
 * histogram.h - counts of times, log-linear: every power of two is divided into 64 buckets of the
 * same width, so a bucket is at most 1.6 % wide, from 1 ns to 292 years, in 30 KB.
 *
 * Values below 128 ns have a bucket each. One thread counts; others may read the counts meanwhile.
 */
#ifndef CAROM_PY_HISTOGRAM_H
#define CAROM_PY_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_STEPS 64 /* per power of two */
#define HISTOGRAM_STEPS_LOG2 6
#define HISTOGRAM_BUCKETS ((63 - HISTOGRAM_STEPS_LOG2 + 1) * HISTOGRAM_STEPS)

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_index(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (uint32_t)value;
    uint32_t shift = 63 - HISTOGRAM_STEPS_LOG2 - (uint32_t)__builtin_clzll(value);
    uint32_t index = shift * HISTOGRAM_STEPS + (uint32_t)(value >> shift);
    return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

/** The largest value that a bucket counts. */
static inline uint64_t histogram_last(uint32_t index)
{
    if (index < 2 * HISTOGRAM_STEPS)
        return index;
    uint32_t shift = index / HISTOGRAM_STEPS - 1;
    return ((index % HISTOGRAM_STEPS + HISTOGRAM_STEPS + UINT64_C(1)) << shift) - 1;
}

static inline void histogram_count(struct histogram *histogram, uint64_t value)
{
    _Atomic uint64_t *count = &histogram->counts[histogram_index(value)];
    /* relaxed, and no read-modify-write: one thread counts, readers want a figure for a display */
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, before + 1, memory_order_relaxed); /* as above */
}

#endif
