/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.h - peers that speak the control protocol by hand: a test can say the wrong thing. */
#ifndef PEERS_H
#define PEERS_H

#include "control.h"

/** Connects to the test's service without a word. */
int peer_connect(void);

/** A correct HELLO of a role; `geometry` is 8 slots of 8192 bytes. */
struct carom__hello peer_hello(enum carom__role role);

/** Own pidfd; memory that is good for requests, read-only. Both to be closed. */
int peer_pidfd(void);
int peer_requests(void);

/** Says HELLO (with header and size filled in) and takes the answer; closes its descriptors.
 *  Returns 0 for WELCOME, else the error of REFUSED, whose words are then in `reason`, or
 *  -ECONNRESET. */
int peer_greet(int socket, const void *hello, size_t bytes, const int *fds, uint32_t fd_count);
int peer_answer(int socket);
extern char peer_reason[CAROM__REASON_BYTES];
extern struct carom__welcome peer_welcome;

/** Waits until the host hangs up. */
void peer_await_hang_up(int socket);

#endif
