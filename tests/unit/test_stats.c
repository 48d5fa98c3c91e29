/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stats.c - counters and the histogram of durations. */
#include "support.h"

#include "stats.h"

static void every_duration_lies_in_a_bucket_and_longer_ones_never_lower(void **state)
{
    (void)state;
    uint32_t last = 0;
    for (uint64_t value = 0; value < 70000; value++) {
        uint32_t bucket = carom__bucket_of(value);
        assert_true(bucket >= last && bucket < CAROM__HISTOGRAM_BUCKETS);
        last = bucket;
    }
    for (uint64_t value = 65536; value != 0; value *= 2) {
        assert_true(carom__bucket_of(value - 1) <= carom__bucket_of(value));
        assert_true(carom__bucket_of(value) < CAROM__HISTOGRAM_BUCKETS);
    }
}

static void the_middle_of_a_bucket_is_within_an_eighth_of_its_values(void **state)
{
    (void)state;
    for (uint64_t value = 4; value < UINT64_C(1) << 39; value += value / 7 + 1) {
        uint64_t middle = carom__bucket_middle_ns(carom__bucket_of(value));
        uint64_t away = middle > value ? middle - value : value - middle;
        assert_true(away * 8 <= value);
    }
}

static void durations_below_four_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 4; value++)
        assert_int_equal(carom__bucket_middle_ns(carom__bucket_of(value)), value);
}

static void the_middle_of_a_bucket_lies_in_that_bucket(void **state)
{
    (void)state;
    for (uint32_t bucket = 8; bucket < CAROM__HISTOGRAM_BUCKETS; bucket++)
        assert_int_equal(carom__bucket_of(carom__bucket_middle_ns(bucket)), bucket);
}

static void durations_beyond_the_last_bucket_are_kept_in_it(void **state)
{
    (void)state;
    assert_int_equal(carom__bucket_of(UINT64_C(1) << 40), CAROM__HISTOGRAM_BUCKETS - 1);
    assert_int_equal(carom__bucket_of(UINT64_MAX), CAROM__HISTOGRAM_BUCKETS - 1);
}

static void quantiles_of_an_empty_histogram_are_zero(void **state)
{
    (void)state;
    static _Atomic uint64_t histogram[CAROM__HISTOGRAM_BUCKETS];
    assert_int_equal(carom__quantile_ns(histogram, 0.5), 0);
    assert_int_equal(carom__quantile_ns(histogram, 0.99), 0);
}

static void quantiles_are_found_within_a_fifth(void **state)
{
    (void)state;
    static _Atomic uint64_t histogram[CAROM__HISTOGRAM_BUCKETS];
    for (uint64_t value = 1; value <= 1000; value++)
        carom__count(&histogram[carom__bucket_of(value * 1000)], 1);
    assert_in_range(carom__quantile_ns(histogram, 0.5), 400000, 600000);
    assert_in_range(carom__quantile_ns(histogram, 0.99), 792000, 1188000);
}

static void one_slow_call_in_a_thousand_does_not_move_the_99th_percentile(void **state)
{
    (void)state;
    static _Atomic uint64_t histogram[CAROM__HISTOGRAM_BUCKETS];
    carom__count(&histogram[carom__bucket_of(1000)], 999);
    carom__count(&histogram[carom__bucket_of(1000000000)], 1);
    assert_in_range(carom__quantile_ns(histogram, 0.99), 800, 1200);
    assert_in_range(carom__quantile_ns(histogram, 1.0), 800000000, 1200000000);
}

static void a_counter_adds_up(void **state)
{
    (void)state;
    _Atomic uint64_t counter = 0;
    carom__count(&counter, 1);
    carom__count(&counter, 41);
    assert_int_equal(atomic_load(&counter), 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(every_duration_lies_in_a_bucket_and_longer_ones_never_lower),
        sentence(the_middle_of_a_bucket_is_within_an_eighth_of_its_values),
        sentence(durations_below_four_are_exact),
        sentence(the_middle_of_a_bucket_lies_in_that_bucket),
        sentence(durations_beyond_the_last_bucket_are_kept_in_it),
        sentence(quantiles_of_an_empty_histogram_are_zero),
        sentence(quantiles_are_found_within_a_fifth),
        sentence(one_slow_call_in_a_thousand_does_not_move_the_99th_percentile),
        sentence(a_counter_adds_up),
    };
    return RUN(tests);
}
