/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.h - what Frama-C's C library lacks of Linux and of gcc. Numbers are those of x86-64 where
 * they matter to nobody but the kernel. */
#ifndef BOUNDS_LINUX_H
#define BOUNDS_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CLD_EXITED 1
#define CLD_DUMPED 3
#define MADV_REMOVE 9
#define MADV_DONTFORK 10
#define MADV_DONTDUMP 16
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
int madvise(void *at, size_t bytes, int advice);
void *mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...);

/* Of two int64_t, as the library uses it. */
static inline bool bounds_add_overflow(int64_t a, int64_t b, int64_t *sum)
{
    bool overflows = b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b;
    *sum = overflows ? (int64_t)((uint64_t)a + (uint64_t)b) : a + b;
    return overflows;
}
#define __builtin_add_overflow(a, b, sum) bounds_add_overflow(a, b, sum)

/* ---- memory: as glibc's, which says in errno that there is none (world.c). */

#include <stdlib.h>
#define calloc bounds_calloc
void *bounds_calloc(size_t count, size_t bytes);

/* ---- strings: of memory that anybody may write they find anything, and may look at every byte
 * that their length allows (world.c). Where there is none EVA is not asked to find the NUL: what
 * ends a name is looked at with memchr before. */

#include <string.h>
#define memchr bounds_memchr
#define strnlen bounds_strnlen
#define strncmp bounds_strncmp
#define strcmp bounds_strcmp
void *bounds_memchr(const void *text, int byte, size_t bytes);
size_t bounds_strnlen(const char *text, size_t bytes);
int bounds_strncmp(const char *a, const char *b, size_t bytes);
int bounds_strcmp(const char *a, const char *b);

/* ---- sockets: glibc's structures, which Frama-C has in part */

#define __FC_SOCKET_H__
#include "__fc_define_sockaddr.h"
#include <sys/uio.h>
typedef unsigned socklen_t;
/* Frama-C 25 does not survive the size of an array in the size of an array (host.h). */
#define FC_UN
struct bounds_path {
    char text[108];
};
struct sockaddr_un {
    sa_family_t sun_family;
    struct bounds_path sun_path;
};
struct msghdr {
    void *msg_name;
    socklen_t msg_namelen;
    struct iovec *msg_iov;
    size_t msg_iovlen;
    void *msg_control;
    size_t msg_controllen;
    int msg_flags;
};
struct cmsghdr {
    size_t cmsg_len;
    int cmsg_level;
    int cmsg_type;
};
struct ucred {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
#define AF_UNIX 1
#define SOCK_SEQPACKET 5
#define SOCK_NONBLOCK 04000
#define SOCK_CLOEXEC 02000000
#define SOL_SOCKET 1
#define SO_PEERCRED 17
#define SCM_RIGHTS 1
#define MSG_PEEK 0x2
#define MSG_CTRUNC 0x8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define CMSG_ALIGN(bytes) (((bytes) + sizeof(size_t) - 1) & ~(sizeof(size_t) - 1))
#define CMSG_SPACE(bytes) (CMSG_ALIGN(bytes) + CMSG_ALIGN(sizeof(struct cmsghdr)))
#define CMSG_LEN(bytes) (CMSG_ALIGN(sizeof(struct cmsghdr)) + (bytes))
#define CMSG_DATA(control) ((unsigned char *)((struct cmsghdr *)(control) + 1))
#define CMSG_FIRSTHDR(message)                                                                     \
    ((message)->msg_controllen >= sizeof(struct cmsghdr)                                           \
         ? (struct cmsghdr *)(message)->msg_control                                                \
         : (struct cmsghdr *)NULL)
#define CMSG_NXTHDR(message, control) bounds_next_header(message, control)
/* As glibc's __cmsg_nxthdr, with lengths instead of pointers beyond the buffer. */
static inline struct cmsghdr *bounds_next_header(struct msghdr *message, struct cmsghdr *control)
{
    size_t at = (size_t)((char *)control - (char *)message->msg_control);
    if (control->cmsg_len < sizeof *control ||
        at + CMSG_ALIGN(control->cmsg_len) + sizeof *control > message->msg_controllen)
        return NULL;
    return (struct cmsghdr *)((char *)control + CMSG_ALIGN(control->cmsg_len));
}
ssize_t recv(int socket, void *to, size_t bytes, int flags);
ssize_t recvmsg(int socket, struct msghdr *message, int flags);
ssize_t sendmsg(int socket, const struct msghdr *message, int flags);
int socket(int domain, int type, int protocol);
int connect(int socket, const struct sockaddr *address, socklen_t bytes);
int accept4(int socket, struct sockaddr *address, socklen_t *bytes, int flags);
int getsockopt(int socket, int level, int name, void *value, socklen_t *bytes);
long syscall(long number, ...);

#endif
