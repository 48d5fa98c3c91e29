/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on a Unix datagram socket. Its first datagram, to the address that every
 * client knows, is empty; the server answers from a socket that it made and connected for this
 * client, and from then on both ends are connected, so that the kernel looks up no address.
 */
#include "../message_socket.h"
#include "../unix_socket.h"

struct transport *transport_open(const struct transport_config *config)
{
    const struct sockaddr_un any = {.sun_family = AF_UNIX};
    struct sockaddr_un server = unix_address(config->at);
    socklen_t length = sizeof(server);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    /* An address without a path: the kernel chooses an abstract name, to which answers can come. */
    if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(sa_family_t)) ||
        sendto(fd, "", 0, MSG_NOSIGNAL, (const struct sockaddr *)&server, length) ||
        recvfrom(fd, &(char){0}, 1, 0, (struct sockaddr *)&server, &length) ||
        connect(fd, (const struct sockaddr *)&server, length))
        bench_die("cannot connect to %s: %s", config->at, strerror(errno));
    message_make_room(fd, config->bytes_max);
    return message_begin(fd, config);
}

/* The other end learns of a datagram socket that is disconnected, but not of one that is closed. */
void transport_close(struct transport *messages)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    (void)connect(messages->fd, &none, sizeof(none));
    message_end(messages);
}
