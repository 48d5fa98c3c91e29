/* SPDX-License-Identifier: Apache-2.0
 *
 * test_error.c - what the library says when something goes wrong, to whom, and in which words. */
#include "support.h"

#include "error.h"

#include "carom.h"

#include <stdio.h>

static void the_linked_version_is_that_of_the_header(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", CAROM_VERSION_MAJOR, CAROM_VERSION_MINOR,
             CAROM_VERSION_PATCH);
    assert_string_equal(carom_version(), version);
}

static void every_status_has_the_name_that_grpc_gave_it(void **state)
{
    (void)state;
    assert_string_equal(carom_status_name(CAROM_OK), "OK");
    assert_string_equal(carom_status_name(CAROM_CANCELLED), "CANCELLED");
    assert_string_equal(carom_status_name(CAROM_DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED");
    assert_string_equal(carom_status_name(CAROM_UNIMPLEMENTED), "UNIMPLEMENTED");
    assert_string_equal(carom_status_name(CAROM_UNAVAILABLE), "UNAVAILABLE");
    assert_string_equal(carom_status_name(CAROM_UNAUTHENTICATED), "UNAUTHENTICATED");
    for (int status = 0; status <= CAROM_UNAUTHENTICATED; status++) {
        assert_non_null(carom_status_name(status));
        for (int other = 0; other < status; other++)
            assert_string_not_equal(carom_status_name(status), carom_status_name(other));
    }
}

static void a_number_that_is_no_status_is_unknown(void **state)
{
    (void)state;
    const int numbers[] = {-1, 17, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_string_equal(carom_status_name(numbers[i]), "UNKNOWN");
}

static void every_error_of_this_library_says_what_to_do(void **state)
{
    (void)state;
    const int errors[] = {ENOENT, ECONNREFUSED, ETIMEDOUT, EACCES,     EPROTO,       ENOSPC,
                          ENOSYS, EAGAIN,       EMSGSIZE,  ENOBUFS,    EHOSTDOWN,    ESHUTDOWN,
                          ECHILD, EALREADY,     EBUSY,     EADDRINUSE, EEXIST,       ENODATA,
                          EINVAL, EMFILE,       ENOMEM,    EINTR,      ENAMETOOLONG, ENOEXEC};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        assert_true(strlen(carom_strerror(-errors[i])) > 0);
        assert_string_not_equal(carom_strerror(-errors[i]), strerror(errors[i]));
    }
}

static void an_error_of_somebody_else_has_the_systems_words(void **state)
{
    (void)state;
    assert_string_equal(carom_strerror(-ENOTTY), strerror(ENOTTY));
    assert_string_equal(carom_strerror(ENOTTY), strerror(ENOTTY));
    assert_string_equal(carom_strerror(0), "no error");
}

static void the_least_number_of_all_is_no_crash(void **state)
{
    (void)state;
    assert_non_null(carom_strerror(INT32_MIN));
}

static void the_sentence_of_a_failure_is_kept_and_the_error_returned(void **state)
{
    (void)state;
    assert_int_equal(carom__fail(-EBUSY, "%s %d", "number", 5), -EBUSY);
    assert_string_equal(carom_error_detail(), "number 5");
    assert_int_equal(carom__fail_errno(-ENOENT, "looking"), -ENOENT);
    char expected[128];
    snprintf(expected, sizeof expected, "looking: %s", strerror(ENOENT));
    assert_string_equal(carom_error_detail(), expected);
}

static void a_sentence_too_long_is_cut(void **state)
{
    (void)state;
    char text[4 * CAROM__DETAIL_BYTES];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    carom__fail(-EINVAL, "%s", text);
    size_t length = strlen(carom_error_detail());
    assert_true(length == CAROM__DETAIL_BYTES - 1);
}

static void *look_at_detail(void *unused)
{
    (void)unused;
    require(carom_error_detail() != NULL && carom_error_detail()[0] == '\0');
    carom__fail(-EBUSY, "of the other thread");
    return NULL;
}

static void each_thread_has_its_own_sentence(void **state)
{
    (void)state;
    carom__fail(-EINVAL, "of this thread");
    thread_join(thread_start(look_at_detail, NULL));
    assert_string_equal(carom_error_detail(), "of this thread");
}

static int check_in_child(void *forks)
{
    bool stale = carom__check_fork(*(unsigned *)forks) == -ECHILD;
    bool told = strstr(carom_error_detail(), "fork()") != NULL;
    bool fresh = carom__check_fork(carom__forks) == 0;
    return stale && told && fresh ? 0 : 1;
}

static void what_was_opened_before_a_fork_is_refused_in_the_child_only(void **state)
{
    (void)state;
    carom__count_forks();
    carom__count_forks(); /* counts once, however often it is asked */
    unsigned forks = carom__forks;
    assert_int_equal(in_child(check_in_child, &forks), 0);
    assert_int_equal(carom__check_fork(forks), 0);
    assert_int_equal(carom__forks, forks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(the_linked_version_is_that_of_the_header),
        sentence(every_status_has_the_name_that_grpc_gave_it),
        sentence(a_number_that_is_no_status_is_unknown),
        sentence(every_error_of_this_library_says_what_to_do),
        sentence(an_error_of_somebody_else_has_the_systems_words),
        sentence(the_least_number_of_all_is_no_crash),
        sentence(the_sentence_of_a_failure_is_kept_and_the_error_returned),
        sentence(a_sentence_too_long_is_cut),
        sentence(each_thread_has_its_own_sentence),
        sentence(what_was_opened_before_a_fork_is_refused_in_the_child_only),
    };
    return RUN(tests);
}
