/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller that shares memory with the server and tells it by an eventfd that there
 * is a request; the server tells by another that there is an answer. The caller makes all three and
 * hands them over through a Unix socket. One call at a time: for more, memory and eventfds would
 * need what carom is made of.
 *
 * The memory: a header, then the request. server.py knows the same offsets.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "../unix_socket.h"
#include "transport.h"
#include "work.h"

#define REQUEST_OFFSET 4096
#define LEAVING UINT64_MAX

struct header {
    uint64_t request_bytes; /* or LEAVING */
    uint64_t answer_bytes;
    unsigned char answer[WORK_ANSWER_BYTES_MAX];
};

struct transport {
    struct header *header;
    unsigned char *request;
    size_t mapped_bytes;
    int memory, requested, answered; /* descriptors */
    size_t bytes;
    uint64_t sequence;
};

/** Hands over the three descriptors; the socket is not needed any more. */
static void hand_over(const struct transport *shared, const char *at)
{
    const int descriptors[] = {shared->memory, shared->requested, shared->answered};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(descriptors))];
    } control = {0};
    struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &byte,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    int fd = unix_connect(at, SOCK_STREAM);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(descriptors));
    memcpy(CMSG_DATA(&control.header), descriptors, sizeof(descriptors));
    if (sendmsg(fd, &message, MSG_NOSIGNAL) != 1)
        bench_die("sendmsg to %s: %s", at, strerror(errno));
    close(fd);
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *shared = calloc(1, sizeof(*shared));
    if (!shared)
        bench_die("out of memory");
    shared->mapped_bytes = REQUEST_OFFSET + config->bytes_max;
    shared->memory = memfd_create("carom-bench-eventfd", MFD_CLOEXEC);
    shared->requested = eventfd(0, EFD_CLOEXEC);
    shared->answered = eventfd(0, EFD_CLOEXEC);
    if (shared->memory < 0 || shared->requested < 0 || shared->answered < 0 ||
        ftruncate(shared->memory, (off_t)shared->mapped_bytes))
        bench_die("cannot make shared memory and eventfds: %s", strerror(errno));
    shared->header = mmap(NULL, shared->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                          shared->memory, 0);
    if (shared->header == MAP_FAILED)
        bench_die("mmap of %zu bytes: %s", shared->mapped_bytes, strerror(errno));
    shared->request = (unsigned char *)shared->header + REQUEST_OFFSET;
    hand_over(shared, config->at);
    return shared;
}

unsigned transport_depth(const struct transport *shared)
{
    (void)shared;
    return 1;
}

static void signal_request(const struct transport *shared)
{
    if (eventfd_write(shared->requested, 1))
        bench_die("eventfd_write: %s", strerror(errno));
}

/* The system calls on the eventfds order the accesses to the memory. */
void transport_send(struct transport *shared, size_t bytes, uint64_t sequence)
{
    work_fill(shared->request, bytes, sequence);
    shared->header->request_bytes = bytes;
    shared->bytes = bytes;
    shared->sequence = sequence;
    signal_request(shared);
}

uint64_t transport_receive(struct transport *shared, bool wait)
{
    const struct header *header = shared->header;
    struct pollfd answered = {.fd = shared->answered, .events = POLLIN};
    eventfd_t count = 0;
    if (!wait && poll(&answered, 1, 0) == 0)
        return 0;
    if (eventfd_read(shared->answered, &count))
        bench_die("eventfd_read: %s", strerror(errno));
    if (!work_is_answer(header->answer, header->answer_bytes, shared->bytes, shared->sequence))
        bench_die("the answer to request %" PRIu64 " is wrong", shared->sequence);
    return shared->sequence;
}

void transport_close(struct transport *shared)
{
    shared->header->request_bytes = LEAVING;
    signal_request(shared);
    munmap(shared->header, shared->mapped_bytes);
    close(shared->memory);
    close(shared->requested);
    close(shared->answered);
    free(shared);
}
