/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on a Unix socket of type SOCK_SEQPACKET.
 */
#include "../message_socket.h"
#include "../unix_socket.h"

struct transport *transport_open(const struct transport_config *config)
{
    int fd = unix_connect(config->at, SOCK_SEQPACKET);
    message_make_room(fd, config->bytes_max);
    return message_begin(fd, config);
}

void transport_close(struct transport *messages)
{
    message_end(messages);
}
