/* SPDX-License-Identifier: Apache-2.0
 *
 * histogram.h - counts times by their length, so that a percentile of millions of calls needs a few
 * kilobytes and adding one call a few instructions.
 *
 * Log-linear: 64 buckets for each power of two, so a bucket is at most 1/64 (1.6 %) as wide as the
 * times in it; below 128 ns every nanosecond has its own. Histograms of several processes or rounds
 * add up without loss. caller.py and the runner have the same in Python.
 */
#ifndef CAROM_BENCH_HISTOGRAM_H
#define CAROM_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUB ((size_t)1 << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_TOP_BITS 41 /* longer times count as 36 minutes */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_TOP_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline size_t histogram_bucket(uint64_t ns)
{
    if (ns < HISTOGRAM_SUB)
        return (size_t)ns;
    if (ns >> HISTOGRAM_TOP_BITS)
        return HISTOGRAM_BUCKETS - 1;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS;
    return shift * HISTOGRAM_SUB + (size_t)(ns >> shift);
}

/** The longest time that counts in a bucket. */
static inline uint64_t histogram_upper_ns(size_t bucket)
{
    if (bucket < 2 * HISTOGRAM_SUB)
        return bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_SUB) - 1;
    uint64_t top = bucket - (uint64_t)shift * HISTOGRAM_SUB;
    return ((top + 1) << shift) - 1;
}

static inline void histogram_add(struct histogram *histogram, int64_t ns)
{
    uint64_t time_ns = ns > 0 ? (uint64_t)ns : 0;
    histogram->buckets[histogram_bucket(time_ns)]++;
    histogram->count++;
    histogram->sum_ns += time_ns;
    if (time_ns > histogram->max_ns)
        histogram->max_ns = time_ns;
}

static inline void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

static inline void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

/** Nearest-rank percentile: the longest time of its bucket, but never more than the maximum. */
static inline uint64_t histogram_percentile_ns(const struct histogram *histogram, double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)histogram->count), seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > rank) {
            uint64_t upper_ns = histogram_upper_ns(i);
            return upper_ns < histogram->max_ns ? upper_ns : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}

#endif
