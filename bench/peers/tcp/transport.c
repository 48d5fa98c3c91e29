/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on a TCP connection over loopback, with TCP_NODELAY. `at` is ADDRESS:PORT.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "../stream_socket.h"

static struct sockaddr_in address_of(const char *at)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN] = "";
    const char *colon = strchr(at, ':');
    if (!colon || (size_t)(colon - at) >= sizeof(host))
        bench_die("at=%s is not ADDRESS:PORT", at);
    memcpy(host, at, (size_t)(colon - at));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        bench_die("%s is not an address", host);
    address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return address;
}

struct transport *transport_open(const struct transport_config *config)
{
    const int on = 1;
    struct sockaddr_in address = address_of(config->at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        bench_die("cannot connect to %s: %s", config->at, strerror(errno));
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
        bench_die("TCP_NODELAY: %s", strerror(errno));
    return stream_begin(fd, config);
}
