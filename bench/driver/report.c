/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - prints what all clients measured as one JSON object on one line. caller.py prints the
 * same. Percentiles are null for a work that times no single calls.
 */
#include "driver.h"

static const struct {
    const char *name;
    double fraction;
} percentiles[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999},
};

static void print_time(const char *prefix, const char *name, const struct histogram *times,
                       uint64_t ns)
{
    if (times->count)
        printf(", \"%s%s_ns\": %" PRIu64, prefix, name, ns);
    else
        printf(", \"%s%s_ns\": null", prefix, name);
}

static void print_times(const char *prefix, const struct histogram *times)
{
    const char *separator = "";
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(*percentiles); i++)
        print_time(prefix, percentiles[i].name, times,
                   histogram_percentile_ns(times, percentiles[i].fraction));
    print_time(prefix, "max", times, times->max_ns);
    print_time(prefix, "mean", times, times->count ? times->sum_ns / times->count : 0);
    printf(", \"%shistogram\": [", prefix);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (!times->buckets[i])
            continue;
        printf("%s[%" PRIu64 ", %" PRIu64 "]", separator, histogram_upper_ns(i), times->buckets[i]);
        separator = ", ";
    }
    putchar(']');
}

/** What all clients have measured together. Its time is from the first one's begin to the last's
 *  end: of clients that had to wait for each other, each may have been fast in its own time. */
struct sum {
    uint64_t calls, least_calls, unsent;
    double cpu_s;
    int64_t begin_ns, end_ns, late_max_ns;
    struct histogram times, large;
};

static void add(struct sum *sum, const struct driver_result *result)
{
    sum->calls += result->calls;
    sum->unsent += result->unsent;
    sum->cpu_s += (double)result->cpu_ns * 1e-9;
    if (result->begin_ns < sum->begin_ns)
        sum->begin_ns = result->begin_ns;
    if (result->end_ns > sum->end_ns)
        sum->end_ns = result->end_ns;
    if (result->calls < sum->least_calls)
        sum->least_calls = result->calls;
    if (result->late_max_ns > sum->late_max_ns)
        sum->late_max_ns = result->late_max_ns;
    histogram_merge(&sum->times, &result->times);
    histogram_merge(&sum->large, &result->large);
}

static void print_extras(const struct driver_settings *settings, const struct sum *sum,
                         const struct driver_result *first)
{
    if (settings->work->run == driver_run_mixed)
        print_times("large_", &sum->large);
    if (settings->work->run == driver_run_first)
        printf(", \"connect_ns\": %" PRId64 ", \"first_ns\": %" PRId64
               ", \"idle_p50_ns\": %" PRIu64,
               first->connect_ns, first->first_ns, histogram_percentile_ns(&sum->times, 0.5));
    if (settings->work->run == driver_run_rate)
        printf(", \"rate_asked\": %" PRId64 ", \"late_max_ns\": %" PRId64 ", \"unsent\": %" PRIu64,
               settings->rate, sum->late_max_ns, sum->unsent);
}

void driver_report(const struct driver_settings *settings, const struct driver_result *results)
{
    static struct sum sum = {.least_calls = UINT64_MAX, .begin_ns = INT64_MAX};
    double clients = (double)settings->clients;
    for (int64_t i = 0; i < settings->clients; i++)
        add(&sum, &results[i]);
    double seconds = (double)(sum.end_ns - sum.begin_ns) * 1e-9;
    printf("{\"work\": \"%s\", \"bytes\": %" PRId64 ", \"depth\": %u, \"clients\": %" PRId64
           ", \"calls\": %" PRIu64 ", \"seconds\": %.6f, \"calls_per_s\": %.1f, \"cpu_s\": %.6f"
           ", \"least_share\": %.4f",
           settings->work->name, settings->bytes, results->depth, settings->clients, sum.calls,
           seconds, (double)sum.calls / seconds, sum.cpu_s,
           sum.calls ? (double)sum.least_calls * clients / (double)sum.calls : 0.0);
    print_times("", &sum.times);
    print_extras(settings, &sum, results);
    puts("}");
}
