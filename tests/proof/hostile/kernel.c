/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.c - clock, sleep, descriptors and files of the fuzz targets. See kernel.h; memory and
 * messages are in kernel_memory.c. */
#include "kernel.h"

#include "kernel_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FIRST_NS INT64_C(1000000000000)
#define READING_NS INT64_C(4000)

struct kernel kernel;

void kernel_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("hostile: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

void kernel_begin(void)
{
    kernel_forget_memory();
    memset(&kernel, 0, sizeof kernel);
    kernel.now_ns = FIRST_NS;
}

void kernel_operation(void)
{
    kernel.sleeps = 0;
}

/* ---------------------------------------------------------------- descriptors */

int kernel_open(struct kernel_fd fd)
{
    for (int i = 0; i < KERNEL_FDS; i++) {
        if (kernel.fds[i].kind != KERNEL_CLOSED)
            continue;
        kernel.fds[i] = fd;
        kernel.open++;
        return KERNEL_FIRST_FD + i;
    }
    errno = EMFILE;
    return -1;
}

struct kernel_fd *kernel_fd(int fd)
{
    int index = fd - KERNEL_FIRST_FD;
    if (index < 0 || index >= KERNEL_FDS || kernel.fds[index].kind == KERNEL_CLOSED)
        return NULL;
    return &kernel.fds[index];
}

int kernel_close(int fd)
{
    struct kernel_fd *open = kernel_fd(fd);
    if (open == NULL)
        kernel_fail("close(%d) of what is not open", fd);
    open->kind = KERNEL_CLOSED;
    kernel.open--;
    return 0;
}

int kernel_fcntl(int fd, int command, ...)
{
    const struct kernel_fd *open = kernel_fd(fd);
    if (open == NULL) {
        errno = EBADF;
        return -1;
    }
    if (command == F_GETFL)
        return open->read_only ? O_RDONLY : O_RDWR;
    if (command == F_GET_SEALS && open->seals < 0)
        errno = EINVAL;
    return command == F_GET_SEALS ? open->seals : 0;
}

int kernel_fstat(int fd, struct stat *status)
{
    const struct kernel_fd *open = kernel_fd(fd);
    if (open == NULL) {
        errno = EBADF;
        return -1;
    }
    *status = (struct stat){
        .st_mode = open->kind == KERNEL_MEMORY ? S_IFREG : S_IFIFO,
        .st_size = (off_t)open->bytes,
    };
    return 0;
}

int kernel_socket(int domain, int type, int protocol)
{
    (void)domain, (void)type, (void)protocol;
    return kernel_open((struct kernel_fd){.kind = KERNEL_SOCKET});
}

int kernel_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
    (void)fd, (void)address, (void)bytes;
    return 0;
}

int kernel_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    (void)fd, (void)address, (void)bytes, (void)flags;
    if (kernel.knocking > 0) {
        kernel.knocking--;
        return kernel_open((struct kernel_fd){.kind = KERNEL_SOCKET});
    }
    errno = EAGAIN;
    return -1;
}

int kernel_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
    const struct ucred credentials = {.pid = fd, .uid = kernel.uid};
    (void)level, (void)name;
    memcpy(value, &credentials, *bytes);
    return 0;
}

/* Refuses what cannot be watched, as the real one refuses a file. */
int kernel_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    const struct kernel_fd *open = kernel_fd(fd);
    (void)epoll, (void)operation, (void)event;
    if (open != NULL && open->kind != KERNEL_MEMORY)
        return 0;
    errno = open == NULL ? EBADF : EPERM;
    return -1;
}

int kernel_open_file(const char *path, int flags, ...)
{
    int fd;
    struct kernel_fd copy = {.kind = KERNEL_MEMORY, .seals = -1};
    if (sscanf(path, "/proc/self/fd/%d", &fd) == 1) {
        const struct kernel_fd *open = kernel_fd(fd);
        if (open == NULL)
            kernel_fail("open(%s) of what is not open", path);
        copy = *open;
    }
    copy.read_only = (flags & O_ACCMODE) == O_RDONLY;
    return kernel_open(copy);
}

int kernel_rename(const char *from, const char *to)
{
    (void)from, (void)to;
    return 0;
}

int kernel_unlink(const char *path)
{
    (void)path;
    return 0;
}

int kernel_waitid(idtype_t kind, id_t id, siginfo_t *end, int options)
{
    (void)kind, (void)id, (void)end, (void)options;
    errno = ECHILD;
    return -1;
}

/* ---------------------------------------------------------------- time */

int kernel_clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    kernel.now_ns += READING_NS;
    *now = (struct timespec){kernel.now_ns / 1000000000, kernel.now_ns % 1000000000};
    return 0;
}

int kernel_sched_yield(void)
{
    return 0;
}

int kernel_nanosleep(const struct timespec *duration, struct timespec *left)
{
    (void)left;
    kernel.now_ns += duration->tv_sec * INT64_C(1000000000) + duration->tv_nsec;
    return 0;
}

/* The library looks whether somebody has gone, or for an answer that is there. */
int kernel_poll(struct pollfd *pollers, nfds_t count, int timeout_ms)
{
    int ready = 0;
    (void)timeout_ms;
    for (nfds_t i = 0; i < count; i++) {
        const struct kernel_fd *open = kernel_fd(pollers[i].fd);
        pollers[i].revents = 0;
        if (open != NULL && open->hung_up)
            pollers[i].revents = open->kind == KERNEL_PIDFD ? POLLIN : POLLHUP;
        else if (open != NULL && open->kind == KERNEL_SOCKET)
            pollers[i].revents = (short)(pollers[i].events & POLLIN);
        ready += pollers[i].revents != 0;
    }
    return ready;
}

/* ---------------------------------------------------------------- sleep */

static long fail_with(int error)
{
    errno = error;
    return -1;
}

/* A wake that nobody needed, a timeout, or a signal. Time passes in any case, so that every
 * deadline comes. */
static long nap(int64_t timeout_ns)
{
    unsigned how = kernel.naps & 3;
    kernel.naps = kernel.naps >> 2 | (uint64_t)how << 62;
    if (++kernel.sleeps > KERNEL_SLEEPS_MOST)
        kernel_fail("one operation slept %u times", kernel.sleeps);
    if (timeout_ns < 0)
        kernel_fail("a sleep that nothing ends");
    kernel.now_ns += how == 0 ? timeout_ns : timeout_ns / 4;
    if (kernel.asleep != NULL)
        kernel.asleep();
    return how == 0 ? fail_with(ETIMEDOUT) : how == 1 ? fail_with(EINTR) : 0;
}

static long futex(const uint32_t *word, int operation, uint32_t expected,
                  const struct timespec *timeout)
{
    if (__asan_address_is_poisoned(word) || __asan_address_is_poisoned((const char *)word + 3))
        kernel_fail("a futex outside of any memory");
    if (operation != FUTEX_WAIT)
        return 0;
    if (__atomic_load_n(word, __ATOMIC_RELAXED) != expected)
        return fail_with(EAGAIN);
    return nap(timeout == NULL ? -1 : timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec);
}

long kernel_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    const uint32_t *word = va_arg(arguments, const uint32_t *);
    int operation = (int)va_arg(arguments, long);
    uint32_t expected = (uint32_t)va_arg(arguments, long);
    const struct timespec *timeout = va_arg(arguments, const struct timespec *);
    va_end(arguments);
    if (number == SYS_futex)
        return futex(word, operation, expected, timeout);
#ifdef SYS_pidfd_open
    if (number == SYS_pidfd_open)
        return kernel_open((struct kernel_fd){.kind = KERNEL_PIDFD});
#endif
    return 0; /* renameat2 */
}

ssize_t kernel_getrandom(void *buffer, size_t bytes, unsigned flags)
{
    (void)flags;
    memset(buffer, 0x5a, bytes);
    return (ssize_t)bytes;
}
