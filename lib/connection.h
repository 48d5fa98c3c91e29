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

/** What a peer has of its host. Both descriptors are -1 before they are opened. */
struct carom__connection {
    int socket;
    int host_pidfd; /* because a child that the host forked may keep the socket open */
};

/** Connects, retrying until deadline_ns while the service does not exist.
 *  Returns the socket, -ENOENT, -ECONNREFUSED or another negative errno, with a sentence. */
int carom__connect(const char *service, int64_t deadline_ns);

/** Sends HELLO (filled by the caller except for header, hash and pidfd) and waits for WELCOME.
 *  hello_bytes  the hello and what follows it
 *  fd           a descriptor to hand over, or -1
 *  fds          receives the host's; exactly fd_count of them
 *  0 or a negative errno with a sentence; the host's own words when it refused. */
int carom__shake_hands(struct carom__connection *connection, struct carom__hello *hello,
                       size_t hello_bytes, int fd, int64_t deadline_ns,
                       struct carom__welcome *welcome, struct carom__fds *fds, uint32_t fd_count);

/** Whether the host has hung up or died. Does not block, takes nothing from the socket. */
bool carom__host_is_gone(const struct carom__connection *connection);

/** Why the host has hung up on this peer, if it said so: its reason, NUL-terminated. Takes nothing
 *  from the socket. */
bool carom__last_words(const struct carom__connection *connection,
                       char reason[CAROM__REASON_BYTES + 1]);

/** Closes both descriptors. */
void carom__disconnect(struct carom__connection *connection);

/** Waits until the directory says that so many workers are ready.
 *  connection  NULL: the host is this process
 *  0, -ETIMEDOUT, -ESHUTDOWN, -EHOSTDOWN. */
int carom__await_ready(struct carom__directory *directory,
                       const struct carom__connection *connection, uint32_t workers,
                       int64_t deadline_ns);

#endif
