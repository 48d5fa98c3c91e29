/* SPDX-License-Identifier: Apache-2.0
 *
 * service.h - a real service for tests: a host on a thread, workers on threads or by hand, clients,
 * all in this process and over a real socket in the test's folder. What a test leaves open is
 * closed after it. Hosts, workers and clients in processes of their own are children (support.h)
 * that open the service by its name, SERVICE. */
#ifndef SERVICE_H
#define SERVICE_H

#include "carom.h"

#include <stddef.h>
#include <stdint.h>

#define SERVICE "unit"

/** Opens the host and runs it on a thread. NULL: default options. */
void service_start(const struct carom_host_options *options);

/** Stops and closes the host. Allowed when none runs. */
void service_stop(void);

struct carom_host *service_host(void);

/** Ids of the methods that every worker of this file serves, in this order. */
enum {
    ECHO,      /* replies with the request */
    FAIL,      /* fails with the status that the first byte of the request names */
    HOLD,      /* counts board->held, waits for board->release, then echoes */
    OBEY,      /* counts board->held, waits until it is cancelled, then fails CAROM_CANCELLED */
    FORGET,    /* finishes nothing */
    TWICE,     /* replies, then replies and fails again */
    OVERFLOW_, /* tries a reply longer than the block, then says what came of it */
    METHODS,
};
extern const struct carom_method service_methods[METHODS];

/** A worker of those methods that the test runs by hand. */
struct carom_worker *worker_open(void);

/** The same, running on a thread of its own. */
struct carom_worker *worker_start(void);

/** Stops its thread if it has one, and closes it. */
void worker_stop(struct carom_worker *worker);

/** Main of a child that is a worker; waits for the service. */
int worker_child(void *unused);

/** Has a client that was opened without client_open give the methods of this file their numbers as
 *  ids. Where other methods are served it does nothing. */
void client_know_methods(struct carom_client *client);

/** A client with blocks of this size, which knows the methods. */
struct carom_client *client_open(uint32_t slots, size_t block_bytes);
void client_close(struct carom_client *client);

/** A call of a method with `length_bytes` of request, submitted; CAROM_FOREVER unless given. */
struct carom_call *call_begin(struct carom_client *client, int method, size_t length_bytes);
struct carom_call *call_submitted(struct carom_client *client, int method, size_t length_bytes);

/** One echo through a client; fails the test unless it comes back. */
void assert_echoes(struct carom_client *client);

#endif
