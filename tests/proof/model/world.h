/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h - a service in the model: a host, workers, clients; and the ledger, in which the tasks
 * write what they did and saw, so that the end of an execution can be judged. */
#ifndef WORLD_H
#define WORLD_H

#include "model.h"

#include "client.h"
#include "host.h"
#include "worker.h"

#include "carom.h"

#define WORLD_CALLS 12u

/** Calls of CLIENT_2 have this number or a higher one. */
#define WORLD_HONEST 6u

/** Processes: bits of masks in struct model_mode. */
enum world_process { HOST = 0, CLIENT = 1, CLIENT_2 = 2, WORKER = 3, WORKER_2 = 4 };

/** What became of a call, by those who saw it. */
struct world_call {
    bool submitted;
    bool idempotent;   /* it may run more than once */
    unsigned runs;     /* handlers that were entered with it */
    unsigned outcomes; /* how often its caller was told how it ended */
    int outcome;       /* the last one */
};

struct world_ledger {
    struct world_call calls[WORLD_CALLS];
    struct carom_host *host;
    struct carom_client *clients[2];
    struct carom_worker *workers[2];
    bool client_closed[2], worker_closed[2];
    unsigned host_descriptors; /* before anybody connected */
    bool signalled;
};

extern struct world_ledger *world;

/** Options of the next service. */
struct world_options {
    uint32_t slots;
    unsigned workers;
    unsigned clients;
    uint64_t resident_bytes;                 /* 0: the library's own */
    void (*client)(struct carom_client *);   /* script of CLIENT */
    void (*client_2)(struct carom_client *); /* of CLIENT_2 */
    void (*thread)(struct carom_client *);   /* of a second thread of CLIENT; NULL none */
    void (*connecting)(void);                /* of CLIENT_2, which is not connected yet; NULL */
    void (*host)(void);                      /* of a second thread of HOST; NULL none */
    void (*worker)(struct carom_worker *);   /* NULL: world_serve */
    void (*stopper)(struct carom_worker *);  /* of a second thread of WORKER; NULL none */
    bool worker_ends;                        /* WORKER has to leave */
    bool late;                               /* WORKER connects when the execution has begun */
    bool idempotent;                         /* the method may be repeated */
    bool hostile;                            /* CLIENT and WORKER need not come to an end */
    bool recoverer; /* a second thread of the host, which recovers a dead WORKER and may end in the
                       middle of it; the host's own recovery comes after it, or before */
};

/** Those of the service that there is. */
extern struct world_options world_options;

/** Makes a service; workers and clients are connected when the execution begins. */
void world_make(const struct world_options *options);

/** An operation of the library begins: what the suite double_fetch counts by. */
void world_operation(const char *name);
/** Name and number of the operation that a task is in. */
const char *world_operation_name(unsigned task);
unsigned world_operation_number(unsigned task);

/** Which field of the layout an address in shared memory is: "slot.state". */
const char *world_field(const void *at);
/** Which life of its slot a field of a slot belongs to: the generation; 0 for other fields. */
uint64_t world_life(const void *at);

/** Lets the second thread of CLIENT know that it may go on, or waits until then. */
void world_signal(void);
void world_await_signal(void);

/** The usual worker: takes calls for ever and answers them. */
void world_serve(struct carom_worker *worker);

/** Takes and answers one call. What carom_worker_take returned. */
int world_serve_one(struct carom_worker *worker);

/** Opens a client as world_make does. */
struct carom_client *world_connect(unsigned number);

/* ---- steps of a client's script; `number` names the call in the ledger */

/** Begins a call and writes its request. NULL: it could not begin (the host has gone). */
struct carom_call *world_begin(struct carom_client *client, unsigned number, unsigned flags,
                               int64_t timeout_ns);
/** The same with -EAGAIN and such as the result. */
int world_submit(struct carom_call *call, unsigned number);
/** Judges the outcome of carom_call_wait and the like: the reply is that of this call. */
void world_outcome(struct carom_call *call, unsigned number, int outcome);
/** All of it: begin, submit, wait, end. */
void world_call(struct carom_client *client, unsigned number);

/* ---- judging */

/** Nothing is lost, nothing is twice, everything adds up. For struct model_scenario.check. */
void world_check(void);

/** The calls of CLIENT_2, whose peers may be hostile clients, are as if they were not there. */
void world_check_honest(void);
/** Those of CLIENT_2 have ended, whatever their outcome: a hostile worker can give any. */
void world_check_alive(void);

#endif
