/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.h - the kernel as the fuzz targets give it to the library: clock, futex, descriptors,
 * memory objects, messages. The library is the real one; only its system calls lead here (the
 * Makefile renames them, by kernel.syms). That makes an execution repeatable and a few microseconds
 * long, lets a sleeping process be woken, interrupted or left alone as the input says, and keeps
 * account: what is mapped or open when it should not be is a failure, as is a sleep without end, a
 * futex outside the memory that is shared, a write beside a block.
 *
 * The clock moves by itself, a little with each reading. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum kernel_kind {
    KERNEL_CLOSED,
    KERNEL_SOCKET,
    KERNEL_PIDFD,
    KERNEL_MEMORY,
    KERNEL_FILE, /* what nobody expects: a pipe, a terminal */
    KERNEL_KINDS,
};

/** An open descriptor. */
struct kernel_fd {
    enum kernel_kind kind;
    bool read_only;
    bool hung_up; /* socket: the peer is gone; pidfd: the process is */
    int seals;    /* -1: it knows none */
    uint64_t bytes;
    void *memory; /* where mmap finds it; NULL: anywhere */
};

#define KERNEL_FIRST_FD 500
#define KERNEL_FDS 192
#define KERNEL_MESSAGE_BYTES 8192u

/** A message on its way to the library. */
struct kernel_message {
    unsigned char bytes[KERNEL_MESSAGE_BYTES];
    size_t length;
    int fds[8];
    uint32_t fd_count;
};

struct kernel {
    int64_t now_ns;
    uint64_t naps;   /* how sleeps end, two bits for each, over and over */
    uint32_t sleeps; /* since the last kernel_begin or kernel_operation */
    uint32_t open;   /* descriptors */
    size_t mapped_bytes;
    struct kernel_fd fds[KERNEL_FDS];
    uint32_t arena_used;
    uint32_t knocking; /* peers that accept4 will bring */
    uid_t uid;         /* theirs */
    /* who is asleep may see memory change meanwhile */
    void (*asleep)(void);
    /* what recvmsg on a socket brings next; false: nothing there */
    bool (*deliver)(int fd, struct kernel_message *message);
    /* what sendmsg takes away; the descriptors stay the sender's */
    int (*sent)(int fd, const void *bytes, size_t length, const int *fds, uint32_t fd_count);
    /* pwrite and sendfile: -1 lets the harness fail them */
    bool (*copied)(int fd, uint64_t at, uint64_t bytes);
    /* madvise(MADV_REMOVE) */
    void (*removed)(const char *at, size_t bytes);
    bool message_is_exact; /* poison what a message does not fill of its buffer */
};
extern struct kernel kernel;

/** Sleeps of one operation that are believed: each passes time, so deadlines come. */
#define KERNEL_SLEEPS_MOST 20000u

/** Forgets everything. */
void kernel_begin(void);

/** A new operation begins: counts its sleeps from zero. */
void kernel_operation(void);

/** A new descriptor; -1 none left. */
int kernel_open(struct kernel_fd fd);

/** The descriptor behind a number, NULL if there is none. */
struct kernel_fd *kernel_fd(int fd);

/** Says what is wrong and aborts: the fuzzer keeps the input. */
_Noreturn void kernel_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
