/* SPDX-License-Identifier: Apache-2.0
 *
 * child.c - starting a process and seeing it end. See child.h. */
#include "child.h"

#include "carom.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MILLISECOND_NS INT64_C(1000000)
#define LONGEST_POLL_MS 60000

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 34)
#define HAS_CLOSEFROM
#endif
#endif

/* ---------------------------------------------------------------- starting */

/* In this order, because in a program that has closed standard input and more each of the two may
 * have a number that a later step takes. */
static int describe_files(posix_spawn_file_actions_t *actions, int fd, int folder_fd)
{
    int error = 0;
    if (folder_fd >= 0)
        error = posix_spawn_file_actions_addfchdir_np(actions, folder_fd);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, fd, CAROM__CHILD_FD);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
#ifdef HAS_CLOSEFROM
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(actions, CAROM__CHILD_FD + 1);
#endif
    return error;
}

static int describe_signals(posix_spawnattr_t *attributes)
{
    sigset_t every, none;
    sigfillset(&every);
    sigemptyset(&none);
    int error = posix_spawnattr_setsigdefault(attributes, &every);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    return error;
}

static int spawn(const char *const *arguments, int folder_fd, int fd, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = describe_files(&actions, fd, folder_fd);
        if (error == 0)
            error = describe_signals(&attributes);
        if (error == 0)
            error = posix_spawnp(pid, arguments[0], &actions, &attributes,
                                 (char *const *)(uintptr_t)arguments, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

int carom__child_start(const char *const *arguments, int folder_fd, int fd,
                       struct carom__child *child)
{
    int error = spawn(arguments, folder_fd, fd, &child->pid);
    if (error != 0)
        return carom__fail(-error, "cannot start %s: %s", arguments[0], strerror(error));
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->pidfd >= 0 || errno == ESRCH) /* ended and reaped already: then that is known */
        return 0;
    error = errno;
    kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return carom__fail(-error, "cannot watch %s: %s", arguments[0], strerror(error));
}

/* ---------------------------------------------------------------- waiting */

static int milliseconds_until(int64_t deadline_ns)
{
    const int64_t left_ns = deadline_ns - carom_now_ns();
    if (left_ns <= 0)
        return 0;
    if (left_ns >= LONGEST_POLL_MS * MILLISECOND_NS)
        return LONGEST_POLL_MS;
    return (int)((left_ns + MILLISECOND_NS - 1) / MILLISECOND_NS);
}

bool carom__child_wait(const struct carom__child *child, int fd, int64_t deadline_ns)
{
    struct pollfd looked_at[2] = {{child->pidfd, POLLIN, 0}, {fd, POLLIN, 0}};
    if (child->pidfd < 0)
        return true;
    for (;;) {
        const int timeout_ms = milliseconds_until(deadline_ns);
        if (poll(looked_at, 2, timeout_ms) > 0)
            return true;
        if (timeout_ms == 0)
            return false;
    }
}

bool carom__child_has_ended(const struct carom__child *child)
{
    return carom__child_wait(child, -1, 0);
}

/* ---------------------------------------------------------------- ending */

static bool send_signal(const struct carom__child *child, int number)
{
    return child->pidfd >= 0 && syscall(SYS_pidfd_send_signal, child->pidfd, number, NULL, 0) == 0;
}

void carom__child_terminate(const struct carom__child *child)
{
    send_signal(child, SIGTERM);
    send_signal(child, SIGCONT); /* a stopped process would not see it */
}

/* As long as nobody has reaped the child its number names no other group. */
static void kill_group(const struct carom__child *child)
{
    if (send_signal(child, SIGKILL))
        kill(-child->pid, SIGKILL);
}

static void describe_end(const siginfo_t *end, char *how)
{
    if (end->si_code == CLD_EXITED)
        snprintf(how, CAROM__CHILD_END_BYTES, "exited with status %d", end->si_status);
    else
        snprintf(how, CAROM__CHILD_END_BYTES, "was ended by signal %d (%s)", end->si_status,
                 strsignal(end->si_status));
}

/* By its pidfd: the number alone may be another child's by now, if the program reaped this one. */
static bool reap(const struct carom__child *child, siginfo_t *end)
{
    const idtype_t by_pidfd = (idtype_t)3; /* P_PIDFD, which glibc knows since 2.36 */
    int rc = -1;
    if (child->pidfd < 0)
        return false;
    do {
        rc = waitid(by_pidfd, (id_t)child->pidfd, end, WEXITED);
    } while (rc != 0 && errno == EINTR);
    return rc == 0;
}

void carom__child_finish(struct carom__child *child, int64_t deadline_ns, char *how)
{
    siginfo_t end = {0};
    carom__child_wait(child, -1, deadline_ns);
    kill_group(child);
    carom__child_wait(child, -1, INT64_MAX);
    if (reap(child, &end))
        describe_end(&end, how);
    else /* the program ignores SIGCHLD, or has waited for any child */
        snprintf(how, CAROM__CHILD_END_BYTES, "ended");
    carom__child_forget(child);
}

void carom__child_forget(struct carom__child *child)
{
    if (child->pidfd >= 0)
        close(child->pidfd);
    child->pidfd = -1;
}
