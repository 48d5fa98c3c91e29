/* SPDX-License-Identifier: Apache-2.0
 *
 * test_failure.c - the record of an error: what is written comes back, what does not fit is cut,
 * what a hostile peer wrote is refused. Blocks are allocations of their exact size, so that the
 * address sanitizer sees a byte too many. */
#include "support.h"

#include "failure.h"

#include <stdlib.h>
#include <time.h>

#define HEADER_BYTES 16u
#define LEAST_BYTES (HEADER_BYTES + 3u)
#define CAUSES_AT 8u
#define TEXTS_AT 12u
#define PAGE 4096u

static struct carom__failure *failure;
static struct carom_cause chain[CAROM_CAUSES_MAX + 4];

static void forget(void)
{
    free(failure);
    failure = NULL;
}

static int start(void **state)
{
    at_end_of_test(forget);
    return before_test(state);
}

#define failing(test) cmocka_unit_test_setup_teardown(test, start, after_test)

static int read_back(const void *block, size_t bytes)
{
    char *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, block, bytes);
    forget();
    int rc = carom__failure_read(exact, bytes, &failure);
    free(exact);
    return rc;
}

/* Writes into memory of exactly that size and reads it back. Returns the length of the record. */
static size_t round_trip(size_t capacity, const struct carom_error *error)
{
    char *block = malloc(capacity);
    assert_non_null(block);
    size_t bytes = carom__failure_write(block, capacity, error);
    assert_true(bytes <= capacity);
    assert_int_equal(read_back(block, bytes), 0);
    free(block);
    return bytes;
}

/* A chain of so many causes: "T0: message 0" and so on. */
static struct carom_error error_with_causes(uint32_t count)
{
    static char texts[CAROM_CAUSES_MAX + 4][2][16];
    require(count <= sizeof chain / sizeof chain[0]);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(texts[i][0], "T_", 3);
        memcpy(texts[i][1], "message _", 10);
        texts[i][0][1] = texts[i][1][8] = (char)('a' + i);
        chain[i] = (struct carom_cause){texts[i][0], texts[i][1]};
    }
    return (struct carom_error){.status = CAROM_UNKNOWN,
                                .type = "Type",
                                .message = "message",
                                .traceback = "trace",
                                .cause_count = count,
                                .causes = chain};
}

static void assert_texts(const char *type, const char *message, const char *traceback)
{
    assert_string_equal(failure->type, type);
    assert_string_equal(failure->message, message);
    assert_string_equal(failure->traceback, traceback);
}

/* ---------------------------------------------------------------- round trips */

static void what_is_written_comes_back(void **state)
{
    (void)state;
    const struct carom_error error = {.type = "ValueError",
                                      .message = "b\xc3\xa4h",
                                      .traceback = "line 1\n",
                                      .time_ns = 1234567890123456789};
    assert_int_equal(round_trip(PAGE, &error), HEADER_BYTES + 11 + 5 + 8);
    assert_texts("ValueError", "b\xc3\xa4h", "line 1\n");
    assert_true(failure->time_ns == 1234567890123456789);
    assert_int_equal(failure->cause_count, 0);
}

static void absent_strings_come_back_empty(void **state)
{
    (void)state;
    chain[0] = (struct carom_cause){NULL, NULL};
    const struct carom_error error = {.cause_count = 1, .causes = chain}, nothing = {0};
    assert_int_equal(round_trip(PAGE, &nothing), LEAST_BYTES);
    assert_texts("", "", "");
    assert_int_equal(round_trip(PAGE, &error), LEAST_BYTES + 2);
    assert_int_equal(failure->cause_count, 1);
    assert_string_equal(failure->causes[0].type, "");
    assert_string_equal(failure->causes[0].message, "");
}

static int64_t real_time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static void an_error_without_a_time_is_of_now(void **state)
{
    (void)state;
    const struct carom_error error = {.type = "T"};
    int64_t before_ns = real_time_ns();
    round_trip(PAGE, &error);
    assert_true(failure->time_ns >= before_ns && failure->time_ns <= real_time_ns());
}

static void chains_of_0_to_16_causes_come_back_in_order_and_longer_ones_are_cut(void **state)
{
    (void)state;
    for (uint32_t count = 0; count <= CAROM_CAUSES_MAX + 4; count++) {
        const struct carom_error error = error_with_causes(count);
        uint32_t kept = count < CAROM_CAUSES_MAX ? count : CAROM_CAUSES_MAX;
        round_trip(PAGE, &error);
        assert_texts("Type", "message", "trace");
        assert_int_equal(failure->cause_count, kept);
        for (uint32_t i = 0; i < kept; i++) {
            assert_string_equal(failure->causes[i].type, chain[i].type);
            assert_string_equal(failure->causes[i].message, chain[i].message);
        }
    }
}

static void the_copy_does_not_change_with_the_block(void **state)
{
    (void)state;
    char block[256];
    const struct carom_error error = error_with_causes(2);
    size_t bytes = carom__failure_write(block, sizeof block, &error);
    assert_int_equal(carom__failure_read(block, bytes, &failure), 0);
    memset(block, 0xff, sizeof block);
    assert_texts("Type", "message", "trace");
    assert_string_equal(failure->causes[1].message, "message b");
}

/* ---------------------------------------------------------------- cutting */

static void assert_is_start_of(const char *cut, const char *whole)
{
    assert_true(strlen(cut) <= strlen(whole));
    assert_memory_equal(cut, whole, strlen(cut));
}

static void every_capacity_from_19_bytes_up_cuts_the_traceback_first(void **state)
{
    (void)state;
    const struct carom_error error = {
        .type = "TypeError", .message = "not a number", .traceback = "in f\nin g\n"};
    const size_t most = LEAST_BYTES + strlen(error.type) + strlen(error.message) +
                        strlen(error.traceback);
    for (size_t capacity = LEAST_BYTES; capacity <= most + 3; capacity++) {
        assert_int_equal(round_trip(capacity, &error), capacity < most ? capacity : most);
        assert_is_start_of(failure->type, error.type);
        assert_is_start_of(failure->message, error.message);
        assert_is_start_of(failure->traceback, error.traceback);
        if (failure->message[0] != '\0')
            assert_string_equal(failure->type, error.type);
        if (failure->traceback[0] != '\0')
            assert_string_equal(failure->message, error.message);
    }
}

static void
every_capacity_from_19_bytes_up_holds_a_chain_that_is_right_as_far_as_it_goes(void **state)
{
    (void)state;
    const struct carom_error error = error_with_causes(CAROM_CAUSES_MAX);
    uint32_t most = 0;
    for (size_t capacity = LEAST_BYTES; capacity <= 1024; capacity++) {
        round_trip(capacity, &error);
        assert_true(failure->cause_count >= most); /* more room, no fewer causes */
        most = failure->cause_count;
        for (uint32_t i = 0; i < most; i++) {
            assert_is_start_of(failure->causes[i].type, chain[i].type);
            assert_is_start_of(failure->causes[i].message, chain[i].message);
            if (i + 1 < most) /* only the last may be cut */
                assert_string_equal(failure->causes[i].message, chain[i].message);
        }
    }
    assert_int_equal(most, CAROM_CAUSES_MAX);
}

static char *giant(char letter)
{
    char *text = malloc((1 << 20) + 1);
    require(text != NULL);
    memset(text, letter, 1 << 20);
    text[1 << 20] = '\0';
    return text;
}

static void giant_texts_share_the_page_of_the_smallest_block(void **state)
{
    (void)state;
    char *text = giant('t');
    struct carom_error error = error_with_causes(3);
    error.traceback = text;
    assert_int_equal(round_trip(PAGE, &error), PAGE);
    assert_int_equal(failure->cause_count, 3);
    assert_true(strlen(failure->traceback) > PAGE - 200);
    chain[1].message = text;
    assert_int_equal(round_trip(PAGE, &error), PAGE);
    assert_int_equal(failure->cause_count, 2); /* the third has no room, the traceback has */
    assert_true(strlen(failure->causes[1].message) > PAGE / 3);
    assert_true(strlen(failure->traceback) > PAGE / 3);
    error.message = text;
    assert_int_equal(round_trip(PAGE, &error), PAGE);
    assert_string_equal(failure->type, "Type");
    assert_int_equal(failure->cause_count, 0);
    error.type = text;
    assert_int_equal(round_trip(PAGE, &error), PAGE);
    assert_int_equal(strlen(failure->type), PAGE - HEADER_BYTES - 3);
    assert_texts(failure->type, "", "");
    free(text);
}

/* ---------------------------------------------------------------- hostile records */

static void every_truncation_and_every_byte_too_many_is_refused(void **state)
{
    (void)state;
    char block[512] = {0};
    const struct carom_error error = error_with_causes(4);
    size_t bytes = carom__failure_write(block, 256, &error);
    for (size_t length = 0; length <= sizeof block; length++)
        assert_int_equal(read_back(block, length), length == bytes ? 0 : -EPROTO);
}

static void a_truncation_that_owns_up_to_its_length_is_refused_too(void **state)
{
    (void)state;
    char block[256];
    const struct carom_error error = error_with_causes(4);
    size_t bytes = carom__failure_write(block, sizeof block, &error);
    for (uint32_t texts = 0; HEADER_BYTES + texts < bytes; texts++) {
        memcpy(block + TEXTS_AT, &texts, sizeof texts);
        assert_int_equal(read_back(block, HEADER_BYTES + texts), -EPROTO);
    }
}

static void lengths_that_lie_are_refused(void **state)
{
    (void)state;
    char block[256];
    const struct carom_error error = error_with_causes(2);
    const size_t bytes = carom__failure_write(block, sizeof block, &error);
    const uint32_t honest = (uint32_t)bytes - HEADER_BYTES;
    const uint32_t lies[] = {0,          1,          honest - 1, honest + 1,
                             0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(block + TEXTS_AT, &lies[i], sizeof lies[i]);
        assert_int_equal(read_back(block, bytes), -EPROTO);
    }
}

static void counts_of_causes_that_lie_are_refused(void **state)
{
    (void)state;
    char block[256];
    const struct carom_error error = error_with_causes(2);
    const size_t bytes = carom__failure_write(block, sizeof block, &error);
    const uint32_t lies[] = {0, 1, 3, 16, 17, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(block + CAUSES_AT, &lies[i], sizeof lies[i]);
        assert_int_equal(read_back(block, bytes), -EPROTO);
    }
}

static void a_missing_nul_is_refused_wherever_it_is_missing(void **state)
{
    (void)state;
    char block[256];
    const struct carom_error error = error_with_causes(3);
    const size_t bytes = carom__failure_write(block, sizeof block, &error);
    for (size_t at = HEADER_BYTES; at < bytes; at++) {
        if (block[at] != '\0')
            continue;
        block[at] = 'x';
        assert_int_equal(read_back(block, bytes), -EPROTO);
        block[at] = '\0';
    }
    memset(block + HEADER_BYTES, 'x', bytes - HEADER_BYTES);
    assert_int_equal(read_back(block, bytes), -EPROTO);
}

static void a_nul_too_many_is_refused(void **state)
{
    (void)state;
    char block[256];
    const struct carom_error error = error_with_causes(3);
    const size_t bytes = carom__failure_write(block, sizeof block, &error);
    for (size_t at = HEADER_BYTES; at < bytes; at++) {
        char byte = block[at];
        block[at] = '\0';
        assert_int_equal(read_back(block, bytes), byte == '\0' ? 0 : -EPROTO);
        block[at] = byte;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        failing(what_is_written_comes_back),
        failing(absent_strings_come_back_empty),
        failing(an_error_without_a_time_is_of_now),
        failing(chains_of_0_to_16_causes_come_back_in_order_and_longer_ones_are_cut),
        failing(the_copy_does_not_change_with_the_block),
        failing(every_capacity_from_19_bytes_up_cuts_the_traceback_first),
        failing(every_capacity_from_19_bytes_up_holds_a_chain_that_is_right_as_far_as_it_goes),
        failing(giant_texts_share_the_page_of_the_smallest_block),
        failing(every_truncation_and_every_byte_too_many_is_refused),
        failing(a_truncation_that_owns_up_to_its_length_is_refused_too),
        failing(lengths_that_lie_are_refused),
        failing(counts_of_causes_that_lie_are_refused),
        failing(a_missing_nul_is_refused_wherever_it_is_missing),
        failing(a_nul_too_many_is_refused),
    };
    return RUN(tests);
}
