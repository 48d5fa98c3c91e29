/* SPDX-License-Identifier: Apache-2.0
 *
 * world.c - the kernel and the clock, as the bound check takes them: they answer anything that
 * their manuals allow. */
#include "peer.h"

#include "error.h"
#include "kernel.h"
#include "wait.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

volatile uint64_t any64;
volatile uint32_t any32;
volatile int32_t any_int;
volatile int64_t any_signed64;
volatile unsigned char any_byte;

unsigned carom__forks;

/* What the sentences say is not looked at; that their arguments can be computed is. */
int carom__fail(int error, const char *format, ...)
{
    (void)format;
    return error;
}

int carom__fail_errno(int error, const char *what)
{
    (void)what;
    return error;
}

const char *carom_version(void)
{
    return "0.0.0";
}

int carom__fail_forked(void)
{
    return -ECHILD;
}

/* A century after the machine was started at most. */
int64_t carom__now_ns(void)
{
    return (int64_t)any_up_to(INT64_C(1) << 62);
}

int64_t carom__coarse_now_ns(void)
{
    return (int64_t)any_up_to(INT64_C(1) << 62);
}

int64_t carom__deadline_ns(int64_t timeout_ns)
{
    return timeout_ns < 0 ? INT64_MAX : (int64_t)any_up_to(INT64_MAX);
}

int carom__futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    (void)timeout_ns;
    if (*word != expected)
        return -EAGAIN;
    return maybe() ? 0 : maybe() ? -EINTR : -ETIMEDOUT;
}

int carom__futex_wake(const _Atomic uint32_t *word, int count)
{
    (void)*word;
    return (int)any_up_to((uint64_t)count);
}

/* What it says to pages is a hint, or gives memory back: nothing that C can see. */
int madvise(void *at, size_t bytes, int advice)
{
    (void)at;
    (void)bytes;
    (void)advice;
    return maybe() ? 0 : -1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    now->tv_sec = (time_t)any_up_to(UINT64_C(1) << 33);
    now->tv_nsec = (long)any_up_to(999999999);
    return 0;
}

/* A spinning wait ends when it likes to (wait.c). */
bool carom__spin_begin(struct carom__spin *spin, struct carom__spinning *wait, int64_t limit_ns)
{
    (void)spin;
    (void)limit_ns;
    *wait = (struct carom__spinning){.polls = any32};
    return maybe();
}

bool carom__spin_clock(struct carom__spinning *wait)
{
    wait->started_ns = wait->now_ns = carom__now_ns();
    return maybe();
}

void carom__spin_hit_slow(struct carom__spin *spin, const struct carom__spinning *wait)
{
    (void)spin;
    (void)wait;
}

void carom__spin_miss(struct carom__spin *spin, const struct carom__spinning *wait)
{
    (void)spin;
    (void)wait;
}

/* ---------------------------------------------------------------- memory */

#undef calloc
void *bounds_calloc(size_t count, size_t bytes)
{
    void *base = calloc(count, bytes);
    if (base == NULL)
        errno = ENOMEM;
    return base;
}

/* ---------------------------------------------------------------- sockets */

size_t kernel_length, kernel_fds, kernel_text_bytes;
const void *kernel_text;

static void write_bytes(char *to, size_t bytes)
{
    size_t known = kernel_text_bytes < bytes ? kernel_text_bytes : bytes;
    if (known > 0)
        memcpy(to, kernel_text, known);
    if (bytes > known)
        Frama_C_make_unknown(to + known, bytes - known);
}

/* The header is the kernel's; a peer chooses the descriptors, and how many. */
static void write_fds(struct msghdr *message)
{
    struct cmsghdr *control = message->msg_control;
    if (kernel_fds == 0) {
        message->msg_controllen = 0;
        return;
    }
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int) * kernel_fds);
    //@ loop unroll 8;
    for (size_t i = 0; i < kernel_fds; i++)
        ((int *)CMSG_DATA(control))[i] = (int)any_up_to(1u << 20);
    message->msg_controllen = control->cmsg_len;
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags)
{
    const struct iovec *part = message->msg_iov;
    (void)socket;
    (void)flags;
    if (maybe()) {
        errno = 1 + (int)any_below(133);
        return -1;
    }
    size_t length = kernel_length < part->iov_len ? kernel_length : part->iov_len;
    write_bytes(part->iov_base, length);
    write_fds(message);
    message->msg_flags = any_int;
    return (ssize_t)length;
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
    (void)socket;
    (void)flags;
    if (maybe()) {
        errno = 1 + (int)any_below(133);
        return -1;
    }
    return (ssize_t)message->msg_iov->iov_len;
}

int close(int fd)
{
    (void)fd;
    return maybe() ? 0 : -1;
}

int sched_yield(void)
{
    return 0;
}

long syscall(long number, ...)
{
    (void)number;
    return any_int;
}

pid_t getpid(void)
{
    return 1 + (pid_t)any_below(1u << 22);
}

/* ---------------------------------------------------------------- strings */

void *bounds_memchr(const void *text, int byte, size_t bytes)
{
    const char *at = text;
    (void)byte;
    if (bytes == 0)
        return NULL;
    (void)(at[0] + at[bytes - 1]);
    return maybe() ? (void *)(at + any_up_to(bytes - 1)) : NULL;
}

size_t bounds_strnlen(const char *text, size_t bytes)
{
    if (bytes == 0)
        return 0;
    (void)(text[0] + text[bytes - 1]);
    return any_up_to(bytes);
}

int bounds_strncmp(const char *a, const char *b, size_t bytes)
{
    if (bytes == 0)
        return 0;
    (void)(a[0] + a[bytes - 1] + b[0]);
    return any_int;
}

int bounds_strcmp(const char *a, const char *b)
{
    (void)(a[0] + b[0]);
    return any_int;
}
