/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_calls.h - the system calls that kernel.syms gives to the library in place of its own. Only
 * the linker uses them. */
#ifndef KERNEL_CALLS_H
#define KERNEL_CALLS_H

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

int kernel_clock_gettime(clockid_t clock, struct timespec *now);
long kernel_syscall(long number, ...);
int kernel_sched_yield(void);
int kernel_nanosleep(const struct timespec *duration, struct timespec *left);
int kernel_poll(struct pollfd *pollers, nfds_t count, int timeout_ms);
ssize_t kernel_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t kernel_recvmsg(int fd, struct msghdr *header, int flags);
int kernel_socket(int domain, int type, int protocol);
int kernel_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int kernel_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int kernel_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes);
int kernel_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int kernel_close(int fd);
int kernel_fcntl(int fd, int command, ...);
int kernel_fstat(int fd, struct stat *status);
int kernel_ftruncate(int fd, off_t bytes);
int kernel_fchmod(int fd, mode_t mode);
int kernel_memfd_create(const char *name, unsigned flags);
int kernel_open_file(const char *path, int flags, ...);
void *kernel_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int kernel_munmap(void *at, size_t bytes);
void *kernel_mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...);
int kernel_madvise(void *at, size_t bytes, int advice);
ssize_t kernel_pwrite(int fd, const void *from, size_t bytes, off_t at);
ssize_t kernel_sendfile(int to, int from, off_t *at, size_t bytes);
int kernel_rename(const char *from, const char *to);
int kernel_unlink(const char *path);
int kernel_waitid(idtype_t kind, id_t id, siginfo_t *end, int options);
ssize_t kernel_getrandom(void *buffer, size_t bytes, unsigned flags);

/** kernel_memory.c: nothing is mapped any more. */
void kernel_forget_memory(void);

#endif
