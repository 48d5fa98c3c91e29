/* SPDX-License-Identifier: Apache-2.0
 *
 * doors.c - what stands between the library and libc: every function of wrap.txt. Each asks
 * inject.c whether it shall fail, and else is the real one.
 *
 * Some fail as the kernel does it: close frees the descriptor all the same, mremap may have
 * unmapped the place it was to move to, a signal finds that the process has just ended. munmap of
 * a whole mapping and unlinking one's own shared memory cannot fail; they do their work and then
 * say that they failed. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HERE ((uintptr_t)__builtin_return_address(0))

/* Whether the call shall fail; errno is then set. */
static bool fails(const char *door, uintptr_t at)
{
    int error = inject_look(door, at);
    if (error != 0)
        errno = error;
    return error != 0;
}

#define DECLARE(type, name, parameters)                                                            \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;

/* Functions that return `failure` and set errno. */
#define DOOR(type, failure, name, parameters, arguments)                                           \
    DECLARE(type, name, parameters)                                                                \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fails(#name, HERE) ? (failure) : __real_##name arguments;                           \
    }

/* Functions that return the error. */
#define ERROR_DOOR(name, parameters, arguments)                                                    \
    DECLARE(int, name, parameters)                                                                 \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        int error = inject_look(#name, HERE);                                                      \
        return error != 0 ? error : __real_##name arguments;                                       \
    }

/* Functions that do their work and say that they failed. */
#define LATE_DOOR(name, parameters, arguments)                                                     \
    DECLARE(int, name, parameters)                                                                 \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        int rc = __real_##name arguments;                                                          \
        return fails(#name, HERE) ? -1 : rc;                                                       \
    }

DOOR(int, -1, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags),
     (fd, address, length, flags))
DOOR(int, -1, bind, (int fd, const struct sockaddr *address, socklen_t length),
     (fd, address, length))
DOOR(int, -1, chmod, (const char *path, mode_t mode), (path, mode))
LATE_DOOR(close, (int fd), (fd))
DOOR(int, -1, connect, (int fd, const struct sockaddr *address, socklen_t length),
     (fd, address, length))
DOOR(int, -1, dup3, (int from, int to, int flags), (from, to, flags))
DOOR(int, -1, epoll_create1, (int flags), (flags))
DOOR(int, -1, epoll_wait, (int fd, struct epoll_event *events, int count, int timeout_ms),
     (fd, events, count, timeout_ms))
DOOR(int, -1, eventfd, (unsigned value, int flags), (value, flags))
DOOR(int, -1, faccessat, (int fd, const char *path, int mode, int flags), (fd, path, mode, flags))
DOOR(int, -1, fallocate, (int fd, int mode, off_t from, off_t bytes), (fd, mode, from, bytes))
DOOR(int, -1, fchmod, (int fd, mode_t mode), (fd, mode))
DOOR(int, -1, fstat, (int fd, struct stat *status), (fd, status))
DOOR(int, -1, ftruncate, (int fd, off_t bytes), (fd, bytes))
DOOR(char *, NULL, getcwd, (char *path, size_t capacity), (path, capacity))
DOOR(int, -1, getsockopt, (int fd, int level, int name, void *value, socklen_t *length),
     (fd, level, name, value, length))
LATE_DOOR(kill, (pid_t pid, int number), (pid, number))
DOOR(int, -1, listen, (int fd, int backlog), (fd, backlog))
DOOR(int, -1, lstat, (const char *path, struct stat *status), (path, status))
DOOR(int, -1, madvise, (void *at, size_t bytes, int advice), (at, bytes, advice))
DOOR(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
DOOR(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
DOOR(void *, MAP_FAILED, mmap,
     (void *at, size_t bytes, int protection, int flags, int fd, off_t offset),
     (at, bytes, protection, flags, fd, offset))
LATE_DOOR(munmap, (void *at, size_t bytes), (at, bytes))
DOOR(int, -1, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
DOOR(int, -1, pipe2, (int ends[2], int flags), (ends, flags))
DOOR(int, -1, poll, (struct pollfd * pollers, nfds_t count, int timeout_ms),
     (pollers, count, timeout_ms))
DOOR(ssize_t, -1, read, (int fd, void *buffer, size_t bytes), (fd, buffer, bytes))
DOOR(ssize_t, -1, recv, (int fd, void *buffer, size_t bytes, int flags), (fd, buffer, bytes, flags))
DOOR(int, -1, rename, (const char *from, const char *to), (from, to))
DOOR(int, -1, sched_getaffinity, (pid_t pid, size_t bytes, cpu_set_t *set), (pid, bytes, set))
DOOR(ssize_t, -1, send, (int fd, const void *buffer, size_t bytes, int flags),
     (fd, buffer, bytes, flags))
DOOR(int, -1, shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode))
LATE_DOOR(shm_unlink, (const char *name), (name))
DOOR(int, -1, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *time),
     (set, info, time))
DOOR(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
DOOR(int, -1, stat, (const char *path, struct stat *status), (path, status))
DOOR(int, -1, unlink, (const char *path), (path))
DOOR(int, -1, waitid, (idtype_t type, id_t id, siginfo_t *info, int options),
     (type, id, info, options))
DOOR(pid_t, -1, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
DOOR(ssize_t, -1, write, (int fd, const void *buffer, size_t bytes), (fd, buffer, bytes))

ERROR_DOOR(posix_spawn_file_actions_addclosefrom_np,
           (posix_spawn_file_actions_t * actions, int from), (actions, from))
ERROR_DOOR(posix_spawn_file_actions_adddup2,
           (posix_spawn_file_actions_t * actions, int from, int to), (actions, from, to))
ERROR_DOOR(posix_spawn_file_actions_addfchdir_np, (posix_spawn_file_actions_t * actions, int fd),
           (actions, fd))
ERROR_DOOR(posix_spawn_file_actions_addopen,
           (posix_spawn_file_actions_t * actions, int fd, const char *path, int flags, mode_t mode),
           (actions, fd, path, flags, mode))
ERROR_DOOR(posix_spawn_file_actions_init, (posix_spawn_file_actions_t * actions), (actions))
ERROR_DOOR(posix_spawnattr_init, (posix_spawnattr_t * attributes), (attributes))
ERROR_DOOR(posix_spawnp,
           (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,
            const posix_spawnattr_t *attributes, char *const arguments[],
            char *const environment[]),
           (pid, file, actions, attributes, arguments, environment))
ERROR_DOOR(pthread_atfork, (void (*before)(void), void (*parent)(void), void (*child)(void)),
           (before, parent, child))
ERROR_DOOR(pthread_create,
           (pthread_t * thread, const pthread_attr_t *attributes, void *(*main)(void *),
            void *argument),
           (thread, attributes, main, argument))

/* ---------------------------------------------------------------- memory, which is counted */

/* relaxed: a sum that is looked at when everything is quiet */
static void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add_explicit(&inject_blocks, 1, memory_order_relaxed);
    return block;
}

#define MEMORY_DOOR(type, name, parameters, arguments)                                             \
    DECLARE(type, name, parameters)                                                                \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fails(#name, HERE) ? NULL : counted(__real_##name arguments);                       \
    }

MEMORY_DOOR(void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
MEMORY_DOOR(void *, calloc, (size_t count, size_t bytes), (count, bytes))
MEMORY_DOOR(void *, malloc, (size_t bytes), (bytes))
MEMORY_DOOR(char *, realpath, (const char *path, char *resolved), (path, resolved))
MEMORY_DOOR(char *, strdup, (const char *text), (text))

DECLARE(void, free, (void *block))
void __wrap_free(void *block)
{
    if (block != NULL) /* relaxed: as above */
        atomic_fetch_sub_explicit(&inject_blocks, 1, memory_order_relaxed);
    __real_free(block);
}

/* ---------------------------------------------------------------- those with a way of their own */

DECLARE(int, epoll_ctl, (int fd, int operation, int what, struct epoll_event *event))
int __wrap_epoll_ctl(int fd, int operation, int what, struct epoll_event *event)
{
    if (operation == EPOLL_CTL_DEL) { /* of something that is there: cannot fail */
        int rc = __real_epoll_ctl(fd, operation, what, event);
        return fails("epoll_ctl DEL", HERE) ? -1 : rc;
    }
    const char *door = operation == EPOLL_CTL_ADD ? "epoll_ctl ADD" : "epoll_ctl MOD";
    return fails(door, HERE) ? -1 : __real_epoll_ctl(fd, operation, what, event);
}

static const char *name_command(int command)
{
    switch (command) {
    case F_ADD_SEALS:
        return "fcntl F_ADD_SEALS";
    case F_GET_SEALS:
        return "fcntl F_GET_SEALS";
    case F_SETFL:
        return "fcntl F_SETFL";
    case F_SETLK:
        return "fcntl F_SETLK";
    default:
        return "fcntl F_GETFL";
    }
}

DECLARE(int, fcntl, (int fd, int command, ...))
int __wrap_fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *); /* an int or nothing goes the same way */
    va_end(more);
    return fails(name_command(command), HERE) ? -1 : __real_fcntl(fd, command, argument);
}

DECLARE(int, open, (const char *path, int flags, ...))
int __wrap_open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    unsigned mode = va_arg(more, unsigned);
    va_end(more);
    return fails("open", HERE) ? -1 : __real_open(path, flags, mode);
}

DECLARE(void *, mremap, (void *at, size_t old_bytes, size_t bytes, int flags, ...))
void *__wrap_mremap(void *at, size_t old_bytes, size_t bytes, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    void *to = va_arg(more, void *);
    va_end(more);
    if (!fails("mremap", HERE))
        return __real_mremap(at, old_bytes, bytes, flags, to);
    if (flags & MREMAP_FIXED && errno == ENOMEM) { /* the kernel makes room before it moves */
        __real_munmap(to, bytes);
        errno = ENOMEM;
    }
    return MAP_FAILED;
}

/* A call that fails or, with HALF, is made with half the size. */
#define HALVED(door, failure, whole, half)                                                         \
    int error = inject_look(door, HERE);                                                           \
    if (error == 0)                                                                                \
        return whole;                                                                              \
    if (error == HALF)                                                                             \
        return half;                                                                               \
    errno = error;                                                                                 \
    return failure;

DECLARE(ssize_t, getrandom, (void *buffer, size_t bytes, unsigned flags))
ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags){
    HALVED("getrandom", -1, __real_getrandom(buffer, bytes, flags),
           __real_getrandom(buffer, bytes / 2, flags))}

DECLARE(ssize_t, pwrite, (int fd, const void *buffer, size_t bytes, off_t at)) ssize_t
    __wrap_pwrite(int fd, const void *buffer, size_t bytes,
                  off_t at){HALVED("pwrite", -1, __real_pwrite(fd, buffer, bytes, at),
                                   __real_pwrite(fd, buffer, bytes / 2, at))}

DECLARE(ssize_t, sendfile, (int out, int in, off_t *at, size_t bytes)) ssize_t
    __wrap_sendfile(int out, int in, off_t *at, size_t bytes)
{
    HALVED("sendfile", -1, __real_sendfile(out, in, at, bytes),
           __real_sendfile(out, in, at, (bytes + 1) / 2))
}

/* As the kernel does it when the table of descriptors is full: those that fit come, and a flag. */
static void cut_off(struct msghdr *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (control == NULL || control->cmsg_type != SCM_RIGHTS)
        return;
    size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int last;
    memcpy(&last, CMSG_DATA(control) + (count - 1) * sizeof(int), sizeof last);
    __real_close(last);
    control->cmsg_len -= sizeof(int);
    message->msg_flags |= MSG_CTRUNC;
}

DECLARE(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    const char *door = flags & MSG_DONTWAIT ? "recvmsg DONTWAIT" : "recvmsg";
    int error = inject_look(door, HERE);
    if (error != 0 && error != CUT_OFF) {
        errno = error;
        return -1;
    }
    ssize_t length = __real_recvmsg(fd, message, flags);
    if (error == CUT_OFF && length >= 0)
        cut_off(message);
    return length;
}

DECLARE(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    static const char *const names[] = {"sendmsg", "sendmsg with descriptors", "sendmsg DONTWAIT",
                                        "sendmsg DONTWAIT with descriptors"};
    int which = (flags & MSG_DONTWAIT ? 2 : 0) + (message->msg_controllen > 0);
    return fails(names[which], HERE) ? -1 : __real_sendmsg(fd, message, flags);
}

static const char *name_system_call(long number, long operation)
{
    switch (number) {
    case SYS_futex:
        return operation == FUTEX_WAIT ? "futex WAIT" : "futex WAKE";
    case SYS_pidfd_open:
        return "pidfd_open";
    case SYS_pidfd_send_signal:
        return "pidfd_send_signal";
    case SYS_renameat2:
        return "renameat2";
    default:
        abort(); /* a system call that this file does not know */
    }
}

DECLARE(long, syscall, (long number, ...))
long __wrap_syscall(long number, ...)
{
    long more[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        more[i] = va_arg(arguments, long);
    va_end(arguments);
    const char *door = name_system_call(number, more[1]);
    if (number != SYS_pidfd_send_signal && fails(door, HERE))
        return -1;
    long rc = __real_syscall(number, more[0], more[1], more[2], more[3], more[4], more[5]);
    return number == SYS_pidfd_send_signal && fails(door, HERE) ? -1 : rc;
}
