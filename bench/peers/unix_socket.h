/* SPDX-License-Identifier: Apache-2.0
 *
 * unix_socket.h - connects to a Unix socket of any type.
 */
#ifndef CAROM_BENCH_UNIX_SOCKET_H
#define CAROM_BENCH_UNIX_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

#include "bench.h"

static inline struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        bench_die("the path is too long for a socket: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static inline int unix_connect(const char *path, int type)
{
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        bench_die("cannot connect to %s: %s", path, strerror(errno));
    return fd;
}

#endif
