/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.c - peers by hand. See peers.h. */
#include "peers.h"

#include "address.h"
#include "segment.h"
#include "service.h"
#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

char peer_reason[CAROM__REASON_BYTES];
struct carom__welcome peer_welcome;

int peer_connect(void)
{
    struct sockaddr_un address;
    require(carom__address(SERVICE, false, &address) == 0);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    require(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

struct carom__hello peer_hello(enum carom__role role)
{
    return (struct carom__hello){
        .layout_hash = carom__layout_hash(),
        .role = role,
        .geometry = {8, 8 * CAROM__CELLS_PER_SLOT, 8192, 8192},
    };
}

int peer_pidfd(void)
{
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    require(fd >= 0);
    return fd;
}

int peer_requests(void)
{
    int fd = carom__segment_create("carom-requests", carom__blocks_bytes(8, 8192));
    int read_only = carom__segment_read_only(fd);
    require(fd >= 0 && read_only >= 0);
    close(fd);
    return read_only;
}

int peer_answer(int socket)
{
    union {
        struct carom__header header;
        struct carom__welcome welcome;
        struct carom__refused refused;
    } answer;
    struct carom__fds fds;
    peer_reason[0] = '\0';
    int length = carom__receive(socket, &answer, sizeof answer, &fds, true);
    if (length == -ECONNRESET) /* a host that closed with HELLO unread: its reason comes now */
        length = carom__receive(socket, &answer, sizeof answer, &fds, true);
    carom__close_fds(&fds);
    if (length < 0)
        return length;
    if (answer.header.type == CAROM__WELCOME) {
        peer_welcome = answer.welcome;
        return 0;
    }
    require(answer.header.type == CAROM__REFUSED && length == (int)sizeof answer.refused);
    snprintf(peer_reason, sizeof peer_reason, "%s", answer.refused.reason);
    return answer.refused.error;
}

int peer_greet(int socket, const void *hello, size_t bytes, const int *fds, uint32_t fd_count)
{
    union {
        struct carom__hello hello;
        char bytes[CAROM__MESSAGE_MAX];
    } message;
    require(bytes >= sizeof message.hello.header && bytes <= sizeof message);
    memcpy(&message, hello, bytes);
    if (message.hello.header.type == 0)
        carom__header_set(&message.hello.header, CAROM__HELLO, bytes);
    require(carom__send(socket, &message, bytes, fds, fd_count, true) == 0);
    return peer_answer(socket);
}

void peer_await_hang_up(int socket)
{
    struct pollfd poller = {.fd = socket};
    await(poll(&poller, 1, 1000) == 1 && (poller.revents & POLLHUP));
}
