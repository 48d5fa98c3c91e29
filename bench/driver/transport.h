/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.h - what a peer has to offer so that the driver can measure it. Every peer under
 * peers/ implements these functions (in C, C++ or Rust) and is linked with the driver into a
 * program of its own, so that all are measured by the same code: build/bench/peers/NAME/client.
 *
 * Requests and answers are those of work.h. Sequence numbers begin with 1 and rise by one. A
 * function that cannot go on calls bench_die (bench.h), which ends the program with one line.
 */
#ifndef CAROM_BENCH_TRANSPORT_H
#define CAROM_BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What the driver was asked for on its command line. */
struct transport_config {
    const char *at;     /* where the server is: a path, an address or a name, as the peer likes */
    const char *option; /* the peer's own variant ("" if none), as peer.py passes it */
    size_t bytes_max;   /* no request will be longer; at most WORK_REQUEST_BYTES_MAX */
    unsigned depth_max; /* no more calls will be in flight */
    int peer_cpu;       /* where to pin what transport_open starts by itself; -1: nowhere */
};

struct transport; /* the peer's own */

/** Connects to a server that is ready. Called in the process that calls the others, after any fork
 *  and after pinning. */
struct transport *transport_open(const struct transport_config *config);

/** How many calls this connection can have in flight; at least 1, at most config->depth_max. */
unsigned transport_depth(const struct transport *transport);

/** Sends request `sequence` of `bytes` bytes, each of them written now (work_fill) and, where the
 *  peer allows it, in place. Called only while fewer calls than transport_depth are in flight. */
void transport_send(struct transport *transport, size_t bytes, uint64_t sequence);

/** Takes the answer to some call in flight, reads and checks each of its bytes (work_is_answer) and
 *  returns that call's sequence number. With `wait` it blocks, in the peer's best way, until there
 *  is one; without, it returns 0 at once when there is none. Called only with a call in flight. */
uint64_t transport_receive(struct transport *transport, bool wait);

/** Disconnects. No call is in flight. */
void transport_close(struct transport *transport);

#ifdef __cplusplus
}
#endif

#endif
