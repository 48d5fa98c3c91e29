/* SPDX-License-Identifier: Apache-2.0
 *
 * test_failure.c - the record of an error: what is written comes back, what does not fit is cut,
 * what a hostile peer wrote is refused. Blocks are allocations of their exact size, so that the
 * address sanitizer sees a byte too many. */
#include "support.h"

#include "failure.h"

#include <stdlib.h>

#define HEADER_BYTES 16u
#define LEAST_BYTES (HEADER_BYTES + 3u)

static int read_back(const void *block, size_t bytes, struct carom__failure *failure)
{
    char *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, block, bytes);
    *failure = (struct carom__failure){0};
    int rc = carom__failure_read(exact, bytes, failure);
    free(exact);
    return rc;
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    char block[4096];
    struct carom__failure failure;
    size_t bytes = carom__failure_write(block, sizeof block, "ValueError", "b\xc3\xa4h",
                                        "line 1\n");
    assert_int_equal(bytes, HEADER_BYTES + 11 + 5 + 8);
    assert_int_equal(read_back(block, bytes, &failure), 0);
    assert_string_equal(failure.type, "ValueError");
    assert_string_equal(failure.message, "b\xc3\xa4h");
    assert_string_equal(failure.traceback, "line 1\n");
    free(failure.type);
}

static void absent_strings_come_back_empty(void **state)
{
    (void)state;
    char block[64];
    struct carom__failure failure;
    size_t bytes = carom__failure_write(block, sizeof block, NULL, NULL, NULL);
    assert_int_equal(bytes, LEAST_BYTES);
    assert_int_equal(read_back(block, bytes, &failure), 0);
    assert_string_equal(failure.type, "");
    assert_string_equal(failure.message, "");
    assert_string_equal(failure.traceback, "");
    free(failure.type);
}

static void assert_is_start_of(const char *cut, const char *whole)
{
    assert_true(strlen(cut) <= strlen(whole));
    assert_memory_equal(cut, whole, strlen(cut));
}

static void every_capacity_from_19_bytes_up_cuts_the_traceback_first(void **state)
{
    (void)state;
    const char *type = "TypeError", *message = "not a number", *traceback = "in f\nin g\n";
    const size_t most = HEADER_BYTES + strlen(type) + strlen(message) + strlen(traceback) + 3;
    for (size_t capacity = LEAST_BYTES; capacity <= most + 3; capacity++) {
        struct carom__failure failure;
        char *block = malloc(capacity);
        assert_non_null(block);
        size_t bytes = carom__failure_write(block, capacity, type, message, traceback);
        assert_int_equal(bytes, capacity < most ? capacity : most);
        assert_int_equal(read_back(block, bytes, &failure), 0);
        assert_is_start_of(failure.type, type);
        assert_is_start_of(failure.message, message);
        assert_is_start_of(failure.traceback, traceback);
        if (failure.message[0] != '\0')
            assert_string_equal(failure.type, type);
        if (failure.traceback[0] != '\0')
            assert_string_equal(failure.message, message);
        free(failure.type);
        free(block);
    }
}

static void a_record_shorter_than_the_least_is_refused(void **state)
{
    (void)state;
    char block[64];
    struct carom__failure failure;
    carom__failure_write(block, sizeof block, NULL, NULL, NULL);
    for (size_t bytes = 0; bytes < LEAST_BYTES; bytes++)
        assert_int_equal(read_back(block, bytes, &failure), -EPROTO);
    assert_null(failure.type);
}

static void a_record_with_a_byte_too_many_or_too_few_is_refused(void **state)
{
    (void)state;
    char block[128] = {0};
    struct carom__failure failure;
    size_t bytes = carom__failure_write(block, 64, "T", "message", "trace");
    assert_int_equal(read_back(block, bytes + 1, &failure), -EPROTO);
    assert_int_equal(read_back(block, bytes - 1, &failure), -EPROTO);
}

static void lengths_that_lie_are_refused_in_each_field(void **state)
{
    (void)state;
    const uint32_t lies[] = {0, 1, 100, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    for (size_t field = 0; field < 3; field++) {
        for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
            char block[64] = {0};
            struct carom__failure failure;
            size_t bytes = carom__failure_write(block, sizeof block, "T", "message", "trace");
            memcpy(block + field * sizeof(uint32_t), &lies[i], sizeof lies[i]);
            assert_int_equal(read_back(block, bytes, &failure), -EPROTO);
            assert_null(failure.type);
        }
    }
}

static void lengths_whose_sum_wraps_32_bits_are_refused(void **state)
{
    (void)state;
    char block[64] = {0};
    struct carom__failure failure;
    size_t bytes = carom__failure_write(block, sizeof block, "T", "m", "t");
    const uint32_t lengths[3] = {0xffffffff, 3, 4}; /* 6 after wrapping, as the honest sum */
    memcpy(block, lengths, sizeof lengths);
    assert_int_equal(read_back(block, bytes, &failure), -EPROTO);
}

static void strings_without_their_nul_are_ended_anyway(void **state)
{
    (void)state;
    char block[64];
    struct carom__failure failure;
    size_t bytes = carom__failure_write(block, sizeof block, "Type", "message", "trace");
    memset(block + HEADER_BYTES, 'x', bytes - HEADER_BYTES);
    assert_int_equal(read_back(block, bytes, &failure), 0);
    assert_string_equal(failure.type, "xxxx");
    assert_string_equal(failure.message, "xxxxxxx");
    assert_string_equal(failure.traceback, "xxxxx");
    free(failure.type);
}

static void the_copy_does_not_change_with_the_block(void **state)
{
    (void)state;
    char block[64];
    struct carom__failure failure;
    size_t bytes = carom__failure_write(block, sizeof block, "Type", "message", NULL);
    assert_int_equal(carom__failure_read(block, bytes, &failure), 0);
    memset(block, 0xff, sizeof block);
    assert_string_equal(failure.type, "Type");
    assert_string_equal(failure.message, "message");
    free(failure.type);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(what_is_written_comes_back),
        sentence(absent_strings_come_back_empty),
        sentence(every_capacity_from_19_bytes_up_cuts_the_traceback_first),
        sentence(a_record_shorter_than_the_least_is_refused),
        sentence(a_record_with_a_byte_too_many_or_too_few_is_refused),
        sentence(lengths_that_lie_are_refused_in_each_field),
        sentence(lengths_whose_sum_wraps_32_bits_are_refused),
        sentence(strings_without_their_nul_are_ended_anyway),
        sentence(the_copy_does_not_change_with_the_block),
    };
    return RUN(tests);
}
