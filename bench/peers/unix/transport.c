/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on a Unix stream socket.
 */
#include "../stream_socket.h"
#include "../unix_socket.h"

struct transport *transport_open(const struct transport_config *config)
{
    return stream_begin(unix_connect(config->at, SOCK_STREAM), config);
}
