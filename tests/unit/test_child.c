/* SPDX-License-Identifier: Apache-2.0
 *
 * test_child.c - a process that is started, watched by its pidfd and ended, whatever it does and
 * whoever reaps it. */
#include "support.h"

#include "child.h"

#include "carom.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int pipe_ends[2];
static char how[CAROM__CHILD_END_BYTES];

static void open_pipe(void)
{
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
}

static void close_pipe(void)
{
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

/* A shell that has the pipe as descriptor 3. */
static struct carom__child start_shell(const char *script)
{
    struct carom__child child = {0};
    const char *const arguments[] = {"sh", "-c", script, NULL};
    require(carom__child_start(arguments, -1, pipe_ends[1], &child) == 0);
    return child;
}

static void read_line(char *line, size_t capacity)
{
    size_t length = 0;
    while (length + 1 < capacity && read(pipe_ends[0], line + length, 1) == 1 &&
           line[length] != '\n')
        length++;
    line[length] = '\0';
}

static void assert_says(const char *expected)
{
    char line[256];
    read_line(line, sizeof line);
    assert_string_equal(line, expected);
}

static int process_in_line(void)
{
    char line[256];
    read_line(line, sizeof line);
    return (int)strtol(line, NULL, 10);
}

/* Of a line of /proc/PID/status. */
static uint64_t signals_in_line(void)
{
    char line[256];
    read_line(line, sizeof line);
    const char *colon = strchr(line, ':');
    assert_non_null(colon);
    return strtoull(colon + 1, NULL, 16);
}

/* ---------------------------------------------------------------- its start */

/* Signals 1 to 31; the two behind them are the C library's own. */
#define OF_PROGRAMS UINT64_C(0x7fffffff)

static void it_leads_a_session_with_default_signals(void **state)
{
    (void)state;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGUSR1);
    open_pipe();
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
    assert_true(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    struct carom__child child = start_shell(
        "grep -E 'Sig(Blk|Ign)' /proc/self/status >&3; sleep 99");
    assert_int_equal(getsid(child.pid), child.pid);
    const uint64_t blocked_there = signals_in_line(), ignored_there = signals_in_line();
    signal(SIGHUP, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    carom__child_finish(&child, 0, how);
    close_pipe();
    assert_int_equal(blocked_there & OF_PROGRAMS, 0);
    assert_int_equal(ignored_there & OF_PROGRAMS, 0);
}

static void it_has_no_descriptor_of_ours_but_the_one_given(void **state)
{
    (void)state;
    open_pipe();
    int kept_open = dup2(pipe_ends[1], 77); /* not close-on-exec */
    assert_int_equal(kept_open, 77);
    struct carom__child child = start_shell(
        "readlink /proc/$$/fd/0 >&3; [ -e /proc/$$/fd/77 ] || echo closed >&3");
    assert_says("/dev/null");
    assert_says("closed");
    carom__child_finish(&child, INT64_MAX, how);
    close(kept_open);
    close_pipe();
}

/* Then the pipe and the folder get the numbers that the child wants for something else. */
static int start_without_files(void *unused)
{
    (void)unused;
    for (int fd = 0; fd <= CAROM__CHILD_FD; fd++)
        close(fd);
    require(pipe2(pipe_ends, O_CLOEXEC) == 0);
    int folder_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    require(pipe_ends[1] == 1 && folder_fd == 2);
    pipe_ends[0] = fcntl(pipe_ends[0], F_DUPFD_CLOEXEC, 10);
    require(pipe_ends[0] >= 10);
    require(dup2(folder_fd, CAROM__CHILD_FD) == CAROM__CHILD_FD);
    require(dup2(pipe_ends[1], 0) == 0 && dup2(folder_fd, 1) == 1);
    struct carom__child child = {0};
    const char *const arguments[] = {"sh", "-c", "pwd >&3; readlink /proc/$$/fd/0 >&3", NULL};
    require(carom__child_start(arguments, CAROM__CHILD_FD, 0, &child) == 0);
    carom__child_finish(&child, INT64_MAX, how);
    require(strcmp(how, "exited with status 0") == 0);
    char text[32] = "";
    require(read(pipe_ends[0], text, sizeof text - 1) > 0);
    return strcmp(text, "/\n/dev/null\n") == 0 ? 0 : 1;
}

static void a_program_that_closed_its_standard_files_can_start_one(void **state)
{
    (void)state;
    assert_int_equal(in_child(start_without_files, NULL), 0);
}

static void what_cannot_be_started_is_named(void **state)
{
    (void)state;
    struct carom__child child;
    const char *const missing[] = {"/no/such/program", NULL};
    const char *const folder[] = {"/tmp", NULL};
    assert_int_equal(carom__child_start(missing, -1, 0, &child), -ENOENT);
    assert_non_null(strstr(carom_error_detail(), "/no/such/program"));
    assert_int_equal(carom__child_start(folder, -1, 0, &child), -EACCES);
    assert_non_null(strstr(carom_error_detail(), "/tmp"));
}

/* ---------------------------------------------------------------- its end */

static void assert_ends(const char *script, const char *expected)
{
    open_pipe();
    struct carom__child child = start_shell(script);
    carom__child_finish(&child, INT64_MAX, how);
    assert_string_equal(how, expected);
    assert_int_equal(kill(child.pid, 0), -1);
    close_pipe();
}

static void its_end_is_told(void **state)
{
    (void)state;
    assert_ends("exit 0", "exited with status 0");
    assert_ends("exit 7", "exited with status 7");
    assert_ends("kill -9 $$", "was ended by signal 9 (Killed)");
}

static void one_that_ignores_the_request_to_end_is_killed_with_what_it_started(void **state)
{
    (void)state;
    open_pipe();
    struct carom__child child = start_shell(
        "trap '' TERM; sleep 99 & echo $! >&3; while :; do sleep 99; done");
    const pid_t other = process_in_line();
    carom__child_terminate(&child);
    assert_false(carom__child_wait(&child, -1, carom_now_ns() + 20 * MILLISECOND));
    assert_false(carom__child_has_ended(&child));
    carom__child_finish(&child, 0, how);
    assert_string_equal(how, "was ended by signal 9 (Killed)");
    while (waitpid(other, NULL, 0) < 0) /* orphans come to this process */
        assert_int_equal(errno, EINTR);
    close_pipe();
}

static void a_stopped_one_can_be_asked_to_end(void **state)
{
    (void)state;
    open_pipe();
    struct carom__child child = start_shell("echo here >&3; exec sleep 99");
    assert_says("here");
    assert_int_equal(kill(child.pid, SIGSTOP), 0);
    carom__child_terminate(&child);
    carom__child_finish(&child, INT64_MAX, how);
    assert_string_equal(how, "was ended by signal 15 (Terminated)");
    close_pipe();
}

static void a_descriptor_that_can_be_read_ends_the_wait(void **state)
{
    (void)state;
    open_pipe();
    struct carom__child child = start_shell("echo word >&3; exec sleep 99");
    assert_true(carom__child_wait(&child, pipe_ends[0], INT64_MAX));
    assert_false(carom__child_has_ended(&child));
    assert_says("word");
    carom__child_finish(&child, 0, how);
    close_pipe();
}

static void a_program_that_ignores_sigchld_sees_the_end_too(void **state)
{
    (void)state;
    assert_true(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    open_pipe();
    struct carom__child child = start_shell("echo here >&3; exec sleep 99");
    assert_says("here");
    carom__child_terminate(&child);
    carom__child_finish(&child, INT64_MAX, how);
    assert_string_equal(how, "ended");
    signal(SIGCHLD, SIG_DFL);
    close_pipe();
}

static void a_program_that_reaps_any_child_sees_the_end_too(void **state)
{
    (void)state;
    open_pipe();
    struct carom__child child = start_shell("exit 3");
    assert_int_equal(waitpid(-1, NULL, 0), child.pid);
    assert_true(carom__child_has_ended(&child));
    carom__child_terminate(&child);
    carom__child_finish(&child, INT64_MAX, how);
    assert_string_equal(how, "ended");
    close_pipe();
}

static int forget(void *child)
{
    carom__child_forget(child);
    carom__child_forget(child);
    return 0;
}

static void a_forked_copy_forgets_it_and_leaves_it_alone(void **state)
{
    (void)state;
    open_pipe();
    struct carom__child child = start_shell("exec sleep 99");
    assert_int_equal(in_child(forget, &child), 0);
    assert_false(carom__child_has_ended(&child));
    carom__child_finish(&child, 0, how);
    close_pipe();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(it_leads_a_session_with_default_signals),
        sentence(it_has_no_descriptor_of_ours_but_the_one_given),
        sentence(a_program_that_closed_its_standard_files_can_start_one),
        sentence(what_cannot_be_started_is_named),
        sentence(its_end_is_told),
        sentence(one_that_ignores_the_request_to_end_is_killed_with_what_it_started),
        sentence(a_stopped_one_can_be_asked_to_end),
        sentence(a_descriptor_that_can_be_read_ends_the_wait),
        sentence(a_program_that_ignores_sigchld_sees_the_end_too),
        sentence(a_program_that_reaps_any_child_sees_the_end_too),
        sentence(a_forked_copy_forgets_it_and_leaves_it_alone),
    };
    return RUN(tests);
}
