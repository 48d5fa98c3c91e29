/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h - the client's own memory: the client, its calls, and what its threads share. */
#ifndef CAROM_CLIENT_H
#define CAROM_CLIENT_H

#include "carom.h"
#include "connection.h"
#include "failure.h"
#include "lane.h"
#include "slots.h"
#include "wait.h"

#include <pthread.h>

/** Life of a call in this process. */
enum carom__progress {
    CAROM__IDLE = 0,     /* not begun */
    CAROM__BEGUN = 1,    /* has a slot */
    CAROM__SENT = 2,     /* submitted */
    CAROM__OVER = 3,     /* the outcome is known, and it is not a reply */
    CAROM__ANSWERED = 4, /* CAROM_OK, and the reply is there */
};

/** One per slot. Used by the thread that began the call, except for the fields under the lock. */
struct carom_call {
    _Alignas(CAROM__LINE_BYTES) struct carom_client *client;
    struct carom__submission submission; /* slot for ever, generation for this life */
    struct carom__slot *shared;          /* its slot */
    char *request;                       /* its request block */
    const char *reply;                   /* its reply block */
    enum carom__progress progress;
    int outcome; /* when OVER: status or negative errno */
    int64_t timeout_ns;
    uint64_t position;       /* of its cell; a hint */
    uint64_t reply_bytes;    /* when ANSWERED: of the reply; when OVER: of the error's record */
    uint64_t request_extent; /* bytes of the request block that have been used, at most */
    uint64_t reply_extent;
    void *data;
    struct carom__failure failure; /* type == NULL: not read yet */
    /* under completions.lock */
    bool notify;    /* carom_client_next owes this call */
    bool queued;    /* in completions.first */
    bool abandoned; /* nobody waits: freed when its completion bit shows */
    struct carom_call *next_done;
};

/** Completed calls that were begun with CAROM_NOTIFY, and abandoned ones. */
struct carom__completions {
    pthread_mutex_t lock;
    struct carom_call *first, *last; /* done, not returned by carom_client_next yet */
    uint32_t owed;                   /* calls with notify set */
};

struct carom_client {
    struct carom__lane lane;
    struct carom__bell *bell;
    struct carom__directory *directory; /* read-only mapping */
    char *requests;
    const char *replies; /* read-only mapping */
    struct carom_call *calls;
    uint32_t lane_id;
    struct carom__connection connection;
    unsigned forks;
    uint64_t resident_limit_bytes;
    struct carom__spin spin;
    _Alignas(CAROM__LINE_BYTES) struct carom__producer producer;
    _Alignas(CAROM__LINE_BYTES) struct carom__slots slots;
    _Atomic uint32_t slot_waiters;   /* threads inside carom_call_begin that found no slot */
    _Atomic uint64_t resident_bytes; /* sum of both extents of all calls */
    _Atomic bool host_gone;
    _Atomic int64_t next_look_ns; /* of callers that poll, at the control socket */
    struct carom__completions completions;
};

/** Moves calls whose completion bit is set to the queue, and frees abandoned ones. */
void carom__client_collect(struct carom_client *client);

/** carom_client_next owes this call from now on, or no longer. */
void carom__call_owe(struct carom_call *call);
void carom__call_disown(struct carom_call *call);

/** Whether a call waits or runs, by its slot's state word. */
static inline bool carom__call_is_pending(const struct carom_call *call, uint64_t state)
{
    enum carom__phase phase = carom__state_phase(state);
    return carom__state_generation(state) == call->submission.generation &&
           (phase == CAROM__SUBMITTED || phase == CAROM__RUNNING);
}

/** Submits a call whose structure is filled in, and tells the workers. 0 or -EPROTO. */
int carom__call_send(struct carom_call *call);

/** Frees a call's slot for the next one. */
void carom__call_release(struct carom_call *call);

/** Sleeps on the lane's event word until something completes or a slot comes back: in slices, so
 *  that the host's death is noticed. `ready` is asked after the sleeper is announced; it may bring
 *  the end of the slice forward.
 *  0, -ETIMEDOUT or -EHOSTDOWN. */
int carom__client_sleep(struct carom_client *client,
                        bool (*ready)(struct carom_client *, int64_t *slice_end_ns),
                        int64_t deadline_ns);

/** Looks whether the host has hung up, remembers it. */
bool carom__client_host_gone(struct carom_client *client);

#endif
