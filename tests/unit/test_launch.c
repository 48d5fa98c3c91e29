/* SPDX-License-Identifier: Apache-2.0
 *
 * test_launch.c - carom_launch with a shell script in place of Python: every way in which a
 * supervisor can begin, fail to begin, and end. The real one is in tests/e2e/test_launch.py. */
#include "support.h"

#include "error.h"

#include "carom.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char script_path[128], notes_path[128];
static struct carom_launch_options options;

static void remove_files(void)
{
    unlink(script_path);
    unlink(notes_path);
}

/* An interpreter that does this; it may write to $NOTES. */
static void python_is(const char *script)
{
    snprintf(script_path, sizeof script_path, "%s/python", test_folder());
    snprintf(notes_path, sizeof notes_path, "%s/notes", test_folder());
    at_end_of_test(remove_files);
    FILE *file = fopen(script_path, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\nNOTES='%s'\n%s\n", notes_path, script) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(script_path, 0700), 0);
    options = (struct carom_launch_options){.size = sizeof options, .python = script_path};
}

static struct carom_pool *launch(void)
{
    struct carom_pool *pool = NULL;
    int rc = carom_launch("app:service", 2, &options, &pool);
    if (rc != 0)
        print_error("%s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    assert_non_null(pool);
    return pool;
}

static void assert_fails(int error, const char *why)
{
    struct carom_pool *pool = (struct carom_pool *)&options;
    int rc = carom_launch("app:service", 2, &options, &pool);
    if (strstr(carom_error_detail(), why) == NULL)
        print_error("no '%s' in: %s\n", why, carom_error_detail());
    assert_int_equal(rc, error);
    assert_null(pool);
    assert_non_null(strstr(carom_error_detail(), why));
}

static void read_notes(char *text, size_t capacity)
{
    FILE *file = fopen(notes_path, "re");
    assert_non_null(file);
    text[fread(text, 1, capacity - 1, file)] = '\0';
    (void)fclose(file);
}

static pid_t process_in_notes(void)
{
    char text[64];
    read_notes(text, sizeof text);
    return (pid_t)strtol(text, NULL, 10);
}

#define READY "echo ready >&3\nexec sleep 99"

/* ---------------------------------------------------------------- a good start */

static void the_command_is_carom_serve_with_what_was_asked_for(void **state)
{
    (void)state;
    char text[1024], expected[1024];
    const char *more[] = {"--threads", "3", "--max-rss", "1G", NULL};
    python_is("printf '%s\\n' \"$@\" > $NOTES\n" READY);
    options.arguments = more;
    struct carom_pool *pool = launch();
    read_notes(text, sizeof text);
    snprintf(expected, sizeof expected,
             "-m\ncarom\nserve\napp:service\n--threads\n3\n--max-rss\n1G\n--name\n%s\n"
             "--workers\n2\n--parent\n%d\n--report-fd\n3\n",
             carom_pool_service(pool), (int)getpid());
    assert_string_equal(text, expected);
    carom_pool_close(pool);
}

static void no_workers_means_one(void **state)
{
    (void)state;
    char text[1024];
    struct carom_pool *pool;
    python_is("printf '%s\\n' \"$@\" > $NOTES\n" READY);
    assert_int_equal(carom_launch("app:service", 0, &options, &pool), 0);
    read_notes(text, sizeof text);
    assert_non_null(strstr(text, "--workers\n1\n"));
    carom_pool_close(pool);
}

static void the_service_is_an_abstract_socket_that_nobody_can_guess(void **state)
{
    (void)state;
    python_is(READY);
    struct carom_pool *one = launch(), *other = launch();
    const char *name = carom_pool_service(one);
    assert_int_equal(strlen(name), strlen("@launch-") + 32);
    assert_memory_equal(name, "@launch-", strlen("@launch-"));
    assert_int_equal(strspn(name + strlen("@launch-"), "0123456789abcdef"), 32);
    assert_string_not_equal(name, carom_pool_service(other));
    carom_pool_close(one);
    carom_pool_close(other);
}

static void the_application_is_found_in_its_folder(void **state)
{
    (void)state;
    char text[256];
    python_is("pwd > $NOTES\n" READY);
    options.folder = "/";
    struct carom_pool *pool = launch();
    read_notes(text, sizeof text);
    assert_string_equal(text, "/\n");
    carom_pool_close(pool);
}

static int launch_by_relative_path(void *unused)
{
    (void)unused;
    struct carom_pool *pool;
    require(chdir(test_folder()) == 0);
    options.python = "./python";
    options.folder = "/";
    require(carom_launch("app:service", 1, &options, &pool) == 0);
    carom_pool_close(pool);
    return 0;
}

static void a_relative_interpreter_is_relative_to_the_program_not_to_the_application(void **state)
{
    (void)state;
    char text[256];
    python_is("printf '%s\\n' \"$0\" > $NOTES\n" READY);
    assert_int_equal(in_child(launch_by_relative_path, NULL), 0);
    read_notes(text, sizeof text);
    assert_int_equal(text[0], '/'); /* Python finds itself by this */
}

static void the_interpreter_may_come_from_the_environment(void **state)
{
    (void)state;
    python_is(READY);
    assert_int_equal(setenv("CAROM_PYTHON", script_path, 1), 0);
    options.python = NULL;
    struct carom_pool *pool = launch();
    carom_pool_close(pool);
    assert_int_equal(setenv("CAROM_PYTHON", "/no/such/python", 1), 0);
    assert_fails(-ENOENT, "cannot start /no/such/python");
    options.python = script_path; /* what the program says counts more */
    carom_pool_close(launch());
    unsetenv("CAROM_PYTHON");
}

static void *launch_and_leave(void *pool)
{
    require(carom_launch("app:service", 1, &options, pool) == 0);
    return NULL;
}

static void a_pool_outlives_the_thread_that_launched_it(void **state)
{
    (void)state;
    struct carom_pool *pool = NULL;
    python_is(READY);
    thread_join(thread_start(launch_and_leave, &pool));
    assert_int_equal(kill(carom_pool_pid(pool), 0), 0);
    carom_pool_close(pool);
}

static void *launch_and_close(void *unused)
{
    struct carom_pool *pool;
    (void)unused;
    require(carom_launch("app:service", 1, &options, &pool) == 0);
    carom_pool_close(pool);
    return NULL;
}

static void pools_are_independent_of_each_other(void **state)
{
    (void)state;
    python_is(READY);
    run_together(4, launch_and_close, NULL);
}

/* ---------------------------------------------------------------- a bad start */

static void the_reason_of_a_failure_is_the_supervisors_own_text(void **state)
{
    (void)state;
    python_is("printf 'failed\\nTraceback:\\n  line 1\\nValueError: bad \"x\"\\n\\n' >&3; exit 1");
    assert_fails(-ENOEXEC, "app:service could not be served: Traceback:\n"
                           "  line 1\nValueError: bad \"x\"");
    const char *detail = carom_error_detail();
    assert_int_equal(detail[strlen(detail) - 1], '"');
}

static void a_reason_in_pieces_is_put_together(void **state)
{
    (void)state;
    python_is("for part in fai 'led\n' on e; do printf %s \"$part\" >&3; sleep 0.01; done; exit 1");
    assert_fails(-ENOEXEC, "could not be served: one");
}

static void of_a_very_long_reason_the_end_is_kept_from_a_whole_line_on(void **state)
{
    (void)state;
    python_is("{ echo failed; i=0; while [ $i -lt 9000 ]; do echo \"line $i\"; i=$((i+1)); done;\n"
              "echo 'KeyError: the last'; } >&3; exit 1");
    assert_fails(-ENOEXEC, "\nline 8999\nKeyError: the last");
    assert_non_null(strstr(carom_error_detail(), "could not be served: line "));
    assert_true(strlen(carom_error_detail()) > CAROM__DETAIL_BYTES / 2);
}

static void a_reason_without_lines_is_kept_too(void **state)
{
    (void)state;
    python_is("{ echo failed; head -c 60000 /dev/zero | tr '\\0' x; echo END; } >&3; exit 1");
    assert_fails(-ENOEXEC, "xxEND");
}

static void nul_bytes_do_not_hide_the_rest(void **state)
{
    (void)state;
    python_is("printf 'failed\\na\\0b' >&3; exit 1");
    assert_fails(-ENOEXEC, "a?b");
}

static void an_end_without_a_word_says_how_and_what_to_try(void **state)
{
    (void)state;
    python_is("exit 1");
    assert_fails(-ENOEXEC, "/python exited with status 1 before it said anything");
    assert_non_null(strstr(carom_error_detail(), "/python -m carom --version"));
    python_is("kill -SEGV $$");
    assert_fails(-ENOEXEC, "was ended by signal 11");
}

static void an_end_is_seen_although_somebody_else_holds_the_pipe(void **state)
{
    (void)state;
    python_is("setsid sleep 99 & echo $! > $NOTES; exit 4");
    assert_fails(-ENOEXEC, "exited with status 4");
    kill(process_in_notes(), SIGKILL);
}

static void another_word_is_quoted(void **state)
{
    (void)state;
    python_is("echo hello >&3; exit 0");
    assert_fails(-ENOEXEC, "exited with status 0 and said 'hello\n'");
}

static void what_is_not_ready_in_time_is_killed_with_all_it_started(void **state)
{
    (void)state;
    python_is("trap '' TERM; echo $$ > $NOTES; sleep 99 & sleep 99");
    options.timeout_ns = SECOND / 2;
    assert_fails(-ETIMEDOUT, "app:service was not ready after 0.5 s");
    assert_int_equal(kill(process_in_notes(), 0), -1);
    while (waitpid(-1, NULL, 0) > 0) { /* orphans come to this process; they end, or this hangs */
    }
    assert_int_equal(kill(-process_in_notes(), 0), -1);
}

static void half_a_word_is_none(void **state)
{
    (void)state;
    python_is("printf ready >&3; exec sleep 99");
    options.timeout_ns = SECOND / 4;
    assert_fails(-ETIMEDOUT, "was not ready");
}

static void a_reason_is_told_although_its_sender_does_not_end(void **state)
{
    (void)state;
    python_is("printf 'failed\\nthe reason' >&3; exec sleep 99");
    options.timeout_ns = SECOND / 2;
    assert_fails(-ENOEXEC, "could not be served: the reason");
}

static void what_cannot_be_started_is_named(void **state)
{
    (void)state;
    python_is(READY);
    options.python = "carom-no-such-python";
    assert_fails(-ENOENT, "cannot start carom-no-such-python");
    assert_non_null(strstr(carom_error_detail(), "$CAROM_PYTHON"));
    options.python = test_folder();
    assert_fails(-EACCES, test_folder());
    options.python = script_path;
    options.folder = "/no/such/folder";
    assert_fails(-ENOENT, "folder '/no/such/folder'");
    options.folder = script_path;
    assert_fails(-ENOTDIR, script_path);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct carom_pool *pool;
    const char *applications[] = {NULL, "", "app", "--help:x"};
    for (size_t i = 0; i < sizeof applications / sizeof applications[0]; i++) {
        assert_int_equal(carom_launch(applications[i], 1, NULL, &pool), -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "module:service"));
    }
    assert_int_equal(carom_launch("app:service", 1, NULL, NULL), -EINVAL);
    options = (struct carom_launch_options){.size = sizeof options + 1};
    assert_fails(-EINVAL, "size");
    options.size = 0;
    assert_fails(-EINVAL, "size");
}

/* ---------------------------------------------------------------- the end */

static void closing_asks_the_supervisor_and_waits_for_it(void **state)
{
    (void)state;
    python_is("trap 'sleep 0.05; echo asked > $NOTES; exit' TERM; echo ready 5.5 >&3\n"
              "while :; do sleep 0.01; done");
    struct carom_pool *pool = launch();
    const pid_t pid = carom_pool_pid(pool);
    char text[16];
    carom_pool_close(pool);
    assert_int_equal(kill(pid, 0), -1);
    read_notes(text, sizeof text);
    assert_string_equal(text, "asked\n");
}

static void closing_a_pool_that_has_ended_by_itself_is_allowed(void **state)
{
    (void)state;
    python_is("echo ready >&3; exit 0");
    carom_pool_close(launch());
    carom_pool_close(NULL);
}

static void a_program_that_ignores_or_reaps_every_child_can_have_pools(void **state)
{
    (void)state;
    python_is(READY);
    assert_true(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    carom_pool_close(launch());
    python_is("exit 1");
    assert_fails(-ENOEXEC, "ended before it said anything");
    signal(SIGCHLD, SIG_DFL);
    python_is("echo ready >&3; exit 0");
    struct carom_pool *pool = launch();
    assert_int_equal(waitpid(-1, NULL, 0), carom_pool_pid(pool));
    carom_pool_close(pool);
}

static int close_in_child(void *pool)
{
    carom_pool_close(pool);
    return 0;
}

static void closing_in_a_forked_child_leaves_the_pool_alone(void **state)
{
    (void)state;
    python_is(READY);
    struct carom_pool *pool = launch();
    assert_int_equal(in_child(close_in_child, pool), 0);
    assert_int_equal(waitpid(carom_pool_pid(pool), NULL, WNOHANG), 0); /* it runs */
    carom_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(the_command_is_carom_serve_with_what_was_asked_for),
        sentence(no_workers_means_one),
        sentence(the_service_is_an_abstract_socket_that_nobody_can_guess),
        sentence(the_application_is_found_in_its_folder),
        sentence(a_relative_interpreter_is_relative_to_the_program_not_to_the_application),
        sentence(the_interpreter_may_come_from_the_environment),
        sentence(a_pool_outlives_the_thread_that_launched_it),
        sentence(pools_are_independent_of_each_other),
        sentence(the_reason_of_a_failure_is_the_supervisors_own_text),
        sentence(a_reason_in_pieces_is_put_together),
        sentence(of_a_very_long_reason_the_end_is_kept_from_a_whole_line_on),
        sentence(a_reason_without_lines_is_kept_too),
        sentence(nul_bytes_do_not_hide_the_rest),
        sentence(an_end_without_a_word_says_how_and_what_to_try),
        sentence(an_end_is_seen_although_somebody_else_holds_the_pipe),
        sentence(another_word_is_quoted),
        sentence(what_is_not_ready_in_time_is_killed_with_all_it_started),
        sentence(half_a_word_is_none),
        sentence(a_reason_is_told_although_its_sender_does_not_end),
        sentence(what_cannot_be_started_is_named),
        sentence(bad_arguments_are_refused),
        sentence(closing_asks_the_supervisor_and_waits_for_it),
        sentence(closing_a_pool_that_has_ended_by_itself_is_allowed),
        sentence(a_program_that_ignores_or_reaps_every_child_can_have_pools),
        sentence(closing_in_a_forked_child_leaves_the_pool_alone),
    };
    return RUN(tests);
}
