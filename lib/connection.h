/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.h - a peer's side of the control socket: find the service, shake hands, notice the
 * host's death. Used by client, worker and observer. */
#ifndef CAROM_CONNECTION_H
#define CAROM_CONNECTION_H

#include "control.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Connects, retrying until deadline_ns while the service does not exist.
 *  Returns the socket, -ENOENT, -ECONNREFUSED or another negative errno, with a sentence. */
int carom__connect(const char *service, int64_t deadline_ns);

/** Sends HELLO (filled by the caller except for header, hash and pidfd) and waits for WELCOME.
 *  hello_bytes  the hello and what follows it
 *  fd           a descriptor to hand over, or -1
 *  fds          receives the host's; exactly fd_count of them
 *  0 or a negative errno with a sentence; the host's own words when it refused. */
int carom__shake_hands(int socket, struct carom__hello *hello, size_t hello_bytes, int fd,
                       int64_t deadline_ns, struct carom__welcome *welcome, struct carom__fds *fds,
                       uint32_t fd_count);

/** Whether the host has hung up. Does not block, takes nothing from the socket. */
bool carom__host_is_gone(int socket);

/** Waits until the directory says that a worker is ready.
 *  0, -ETIMEDOUT, -ESHUTDOWN, -EHOSTDOWN. */
int carom__await_ready(struct carom__directory *directory, int socket, uint32_t workers,
                       int64_t deadline_ns);

#endif
