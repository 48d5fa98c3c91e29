/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_sockets.c - the modelled kernel: Unix sockets of the kind SOCK_SEQPACKET with descriptors
 * in their messages, and poll. */
#include "kernel_tables.h"
#include "weak.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int fail(int error)
{
    errno = error;
    return -1;
}

static struct kernel_socket *socket_of(int file)
{
    return file >= 0 && kernel->files[file].type == FILE_SOCKET
               ? &kernel->sockets[kernel->files[file].index]
               : NULL;
}

static int new_socket(unsigned owner)
{
    for (unsigned i = 0; i < KERNEL_SOCKETS; i++) {
        struct kernel_socket *made = &kernel->sockets[i];
        if (made->used)
            continue;
        KERNEL_TOUCH(*made);
        memset(made, 0, sizeof *made);
        made->used = true;
        made->peer = -1;
        made->owner = owner;
        made->file = kernel_new_file(FILE_SOCKET, i, true);
        return (int)i;
    }
    model_bug("the modelled kernel has too few sockets");
}

static void drop_messages(struct kernel_socket *closed)
{
    for (; closed->count > 0; closed->count--, closed->first = (closed->first + 1) % KERNEL_QUEUE) {
        const struct kernel_message *message = &closed->queue[closed->first];
        for (unsigned i = 0; i < message->file_count; i++)
            kernel_release(message->files[i]);
    }
    for (unsigned i = 0; i < closed->waiting_count; i++)
        kernel_release(closed->waiting[i]);
    closed->waiting_count = 0;
}

void kernel_socket_close(unsigned number)
{
    struct kernel_socket *closed = &kernel->sockets[number];
    KERNEL_TOUCH(*closed);
    drop_messages(closed);
    closed->used = false;
    if (closed->peer < 0)
        return;
    struct kernel_socket *peer = &kernel->sockets[closed->peer];
    KERNEL_TOUCH(*peer);
    weak_send(&peer->queue);
    peer->hung_up = true;
    peer->peer = -1;
    kernel_stir(peer->file);
}

short kernel_ready(int number, short events)
{
    if (number < 0)
        return 0;
    const struct kernel_file *file = &kernel->files[number];
    const struct kernel_socket *socket = socket_of(number);
    short ready = 0;
    if (file->type == FILE_PIDFD) {
        if (!process_is_dead(file->index))
            return 0;
        weak_receive(&kernel->fds[file->index]);
        return (short)(events & POLLIN);
    }
    if (file->type == FILE_EVENT)
        return file->counter > 0 ? (short)(events & POLLIN) : 0;
    if (socket == NULL)
        return 0;
    if (socket->count > 0 || socket->waiting_count > 0 || socket->hung_up)
        ready |= events & POLLIN;
    if (socket->connected && !socket->hung_up && kernel->sockets[socket->peer].count < KERNEL_QUEUE)
        ready |= events & POLLOUT;
    if (socket->hung_up) {
        weak_receive(&socket->queue);
        ready |= POLLHUP;
    }
    return ready;
}

/* ---------------------------------------------------------------- as libc calls them */

int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
    (void)domain;
    (void)type;
    (void)protocol;
    return kernel_new_fd(kernel->sockets[new_socket(task_process())].file);
}

static void copy_name(char name[32], const struct sockaddr *address)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)address;
    memcpy(name, local->sun_path, 31);
    name[31] = '\0';
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t bytes)
{
    struct kernel_socket *bound = socket_of(kernel_file_of(fd));
    (void)bytes;
    if (bound == NULL)
        return fail(EBADF);
    KERNEL_TOUCH(*bound);
    copy_name(bound->name, address);
    return 0;
}

int __wrap_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog)
{
    struct kernel_socket *listening = socket_of(kernel_file_of(fd));
    (void)backlog;
    KERNEL_TOUCH(*listening);
    listening->listening = true;
    return 0;
}

static struct kernel_socket *find_listener(const char name[32])
{
    for (unsigned i = 0; i < KERNEL_SOCKETS; i++) {
        struct kernel_socket *one = &kernel->sockets[i];
        if (one->used && one->listening && memcmp(one->name, name, 32) == 0)
            return one;
    }
    return NULL;
}

static void join(int one, int other)
{
    struct kernel_socket *a = &kernel->sockets[one], *b = &kernel->sockets[other];
    KERNEL_TOUCH(*a);
    KERNEL_TOUCH(*b);
    a->peer = other;
    b->peer = one;
    a->connected = b->connected = true;
    a->peer_owner = b->owner;
    b->peer_owner = a->owner;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
    char name[32];
    int file = kernel_file_of(fd);
    (void)bytes;
    copy_name(name, address);
    if (file < 0)
        return -1;
    task_point(&kernel->files[file], true, KERNEL_HERE);
    struct kernel_socket *listener = find_listener(name);
    if (listener == NULL || listener->waiting_count == KERNEL_QUEUE)
        return fail(ECONNREFUSED);
    int end = new_socket(listener->owner);
    join((int)kernel->files[file].index, end);
    KERNEL_TOUCH(*listener);
    KERNEL_TOUCH(kernel->files[kernel->sockets[end].file]);
    listener->waiting[listener->waiting_count++] = kernel->sockets[end].file;
    kernel->files[kernel->sockets[end].file].refs++;
    weak_send(&listener->queue);
    kernel_stir(listener->file);
    return 0;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    int file = kernel_file_of(fd);
    (void)address;
    (void)bytes;
    (void)flags;
    struct kernel_socket *listener = socket_of(file);
    if (listener == NULL)
        return fail(EBADF);
    task_point(&kernel->files[file], true, KERNEL_HERE);
    if (listener->waiting_count == 0)
        return fail(EAGAIN);
    KERNEL_TOUCH(*listener);
    weak_receive(&listener->queue);
    int accepted = listener->waiting[0];
    int made = kernel_new_fd(accepted);
    if (made < 0)
        return -1;
    listener->waiting_count--;
    memmove(listener->waiting, listener->waiting + 1, sizeof listener->waiting - sizeof(int));
    kernel_release(accepted);
    return made;
}

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *bytes);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *bytes)
{
    const struct kernel_socket *socket = socket_of(kernel_file_of(fd));
    (void)level;
    (void)option;
    struct ucred credentials = {(pid_t)(100 + socket->peer_owner), 1000, 1000};
    memcpy(value, &credentials, sizeof credentials);
    *bytes = sizeof credentials;
    return 0;
}

static void load_files(struct kernel_message *message, const struct msghdr *header)
{
    struct cmsghdr *control = header->msg_controllen > 0 ? CMSG_FIRSTHDR(header) : NULL;
    message->file_count = 0;
    if (control == NULL)
        return;
    size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
        int file = kernel_file_of(fd);
        KERNEL_TOUCH(kernel->files[file]);
        kernel->files[file].refs++;
        message->files[message->file_count++] = file;
    }
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
    int file = kernel_file_of(fd);
    (void)flags;
    if (file < 0)
        return -1;
    const struct kernel_socket *socket = socket_of(file);
    task_point(&kernel->files[file], true, KERNEL_HERE);
    if (socket->hung_up || socket->peer < 0)
        return fail(EPIPE);
    struct kernel_socket *peer = &kernel->sockets[socket->peer];
    if (peer->count == KERNEL_QUEUE)
        return fail(EAGAIN);
    KERNEL_TOUCH(*peer);
    struct kernel_message *message = &peer->queue[(peer->first + peer->count++) % KERNEL_QUEUE];
    message->bytes = (unsigned)header->msg_iov[0].iov_len;
    if (message->bytes > KERNEL_MESSAGE)
        model_bug("a message of %u bytes", message->bytes);
    memset(message->data, 0, sizeof message->data);
    memcpy(message->data, header->msg_iov[0].iov_base, message->bytes);
    load_files(message, header);
    weak_send(&peer->queue);
    kernel_stir(peer->file);
    return (ssize_t)message->bytes;
}

static void unload_files(const struct kernel_message *message, struct msghdr *header)
{
    int fds[KERNEL_MESSAGE_FILES];
    size_t bytes = message->file_count * sizeof(int);
    if (bytes == 0) {
        header->msg_controllen = 0;
        return;
    }
    for (unsigned i = 0; i < message->file_count; i++) {
        fds[i] = kernel_new_fd(message->files[i]);
        kernel_release(message->files[i]);
    }
    struct cmsghdr *control = header->msg_control;
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(control), fds, bytes);
    header->msg_controllen = CMSG_LEN(bytes);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags)
{
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    struct kernel_socket *socket = socket_of(file);
    for (;;) {
        task_point(&kernel->files[file], true, KERNEL_HERE);
        if (socket->count > 0)
            break;
        if (socket->hung_up)
            return 0;
        if (flags & MSG_DONTWAIT)
            return fail(EAGAIN);
        task_sleep(&kernel->files[file], INT64_MAX);
    }
    KERNEL_TOUCH(*socket);
    weak_receive(&socket->queue);
    const struct kernel_message *message = &socket->queue[socket->first];
    size_t room = header->msg_iov[0].iov_len;
    size_t bytes = message->bytes < room ? message->bytes : room;
    arena_touch(header->msg_iov[0].iov_base, bytes);
    memcpy(header->msg_iov[0].iov_base, message->data, bytes);
    header->msg_flags = message->bytes > room ? MSG_TRUNC : 0;
    unload_files(message, header);
    socket->first = (socket->first + 1) % KERNEL_QUEUE;
    socket->count--;
    return (ssize_t)bytes;
}

static int look(struct pollfd *polled, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        int file = polled[i].fd < 0 ? -1 : kernel_file_of(polled[i].fd);
        polled[i].revents = kernel_ready(file, polled[i].events);
        ready += polled[i].revents != 0;
    }
    return ready;
}

/* With a timeout it waits for the first of them only, which is all that the library does. */
int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout_ms)
{
    int file = kernel_file_of(polled[0].fd);
    if (file < 0)
        return 0;
    task_point(&kernel->files[file], true, KERNEL_HERE);
    int ready = look(polled, count);
    if (ready > 0 || timeout_ms == 0)
        return ready;
    task_sleep(&kernel->files[file],
               timeout_ms < 0 ? INT64_MAX : tasks_now_ns() + timeout_ms * INT64_C(1000000));
    return look(polled, count);
}
