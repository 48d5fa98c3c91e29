/* SPDX-License-Identifier: Apache-2.0
 *
 * puppet.h - the survivors: a host, a worker and two clients in processes of their own, which do
 * what the driver tells them and say what came of it. */
#ifndef PUPPET_H
#define PUPPET_H

#include "board.h"
#include "carom.h"

extern const struct carom_method methods[METHODS];

/** Starts a puppet; it dies with this process. */
void puppet_start(int which, void (*body)(struct puppet *me));
void puppet_stop(int which);

void host_body(struct puppet *me);
void worker_body(struct puppet *me);
void client_body(struct puppet *me);
void filler_body(struct puppet *me);

/** Asks a client to do something, without waiting for it. */
void tell(int which, enum command command, int32_t a, int32_t b, int32_t c);

/** Waits until it is done; its result. */
int32_t hear(int which);
int32_t ask(int which, enum command command, int32_t a, int32_t b, int32_t c);

/* ---- also for subjects */

struct carom_host *open_host(void);
struct carom_client *open_client(void);
struct carom_client *open_client_with(uint64_t block_bytes, uint64_t resident_bytes);
struct carom_worker *open_worker(void);

/** A call with an order in it. */
struct carom_call *begin_call(struct carom_client *client, int method, int64_t timeout_ns,
                              unsigned flags, uint32_t *number);
struct carom_call *submit_call(struct carom_client *client, int method, int64_t timeout_ns,
                               unsigned flags, uint32_t *number);

/** Makes calls until the next one is the last of a lap of the ring. */
void wrap_ring(struct carom_client *client);

/** Cancels calls until the ring has no room, with `live` of them left to run at its head. */
void fill_ring(struct carom_client *client, int live);

/** Counts that a call runs; what is in its request. */
struct order note_run(struct carom_request *request);

/** Runs a call of ECHO or HOLD; the reply is as long as the request. */
void serve(struct carom_request *request);

#endif
