/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c - sending and receiving messages with file descriptors. See control.h. */
#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

union fd_space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * CAROM__MESSAGE_FDS)];
};

void carom__header_set(struct carom__header *header, enum carom__message_type type, size_t bytes)
{
    *header = (struct carom__header){
        .magic = CAROM__MAGIC,
        .type = (uint16_t)type,
        .protocol = CAROM__PROTOCOL,
        .size_bytes = (uint32_t)bytes,
    };
}

int carom__own_pidfd(void)
{
#ifdef SYS_pidfd_open
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return fd >= 0 ? fd : errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : -ENOSYS;
#else
    return -ENOSYS;
#endif
}

static void attach_fds(struct msghdr *message, union fd_space *space, const int *fds,
                       uint32_t fd_count)
{
    message->msg_control = space;
    message->msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
    memcpy(CMSG_DATA(control), fds, sizeof(int) * fd_count);
}

int carom__send(int socket, const void *message, size_t bytes, const int *fds, uint32_t fd_count,
                bool wait)
{
    union fd_space space = {0};
    struct iovec part = {(void *)(uintptr_t)message, bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0)
        attach_fds(&header, &space, fds, fd_count);
    ssize_t sent;
    do {
        sent = sendmsg(socket, &header, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static void detach_fds(struct msghdr *message, struct carom__fds *fds)
{
    fds->count = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL;
         control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds->fd, CMSG_DATA(control), count * sizeof(int));
        fds->count = (uint32_t)count; /* fd_space has room for one such header only */
    }
}

static int check_envelope(const void *buffer, ssize_t length)
{
    struct carom__header header;
    if ((size_t)length < sizeof header)
        return -EPROTO;
    memcpy(&header, buffer, sizeof header);
    return header.magic == CAROM__MAGIC && header.size_bytes == (size_t)length ? 0 : -EPROTO;
}

int carom__receive(int socket, void *buffer, size_t capacity, struct carom__fds *fds, bool wait)
{
    union fd_space space;
    struct iovec part = {buffer, capacity};
    struct msghdr header = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &space,
        /* CMSG_LEN, not CMSG_SPACE: what is left by alignment would hold one descriptor more */
        .msg_controllen = CMSG_LEN(sizeof(int) * CAROM__MESSAGE_FDS),
    };
    ssize_t length;
    fds->count = 0;
    do {
        length = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    } while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    detach_fds(&header, fds);
    int rc = length == 0                       ? -ECONNRESET
             : (header.msg_flags & MSG_CTRUNC) ? -EMFILE
             : (header.msg_flags & MSG_TRUNC)  ? -EPROTO
                                               : check_envelope(buffer, length);
    if (rc == 0)
        return (int)length;
    carom__close_fds(fds);
    return rc;
}

void carom__close_fds(struct carom__fds *fds)
{
    for (uint32_t i = 0; i < fds->count; i++) {
        if (fds->fd[i] >= 0)
            close(fds->fd[i]);
    }
    fds->count = 0;
}

int carom__take_fd(struct carom__fds *fds, uint32_t index)
{
    if (index >= fds->count)
        return -1;
    int fd = fds->fd[index];
    fds->fd[index] = -1;
    return fd;
}

bool carom__is_message(const void *buffer, int length, enum carom__message_type type, size_t bytes)
{
    const struct carom__header *header = buffer;
    return length >= 0 && (size_t)length == bytes && header->type == (uint16_t)type &&
           header->protocol == CAROM__PROTOCOL;
}
