/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h - the client's own memory: the client, its calls, and what its threads share. */
#ifndef CAROM_CLIENT_H
#define CAROM_CLIENT_H

#include "carom.h"
#include "connection.h"
#include "error.h"
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
    CAROM__PAUSED = 5,   /* an attempt failed, the next is to be made at resume_ns */
    CAROM__RESENT = 6,   /* as SENT, and not the first attempt */
};

/** One per slot. Used by the thread that began the call, except for the fields under the lock. */
struct carom_call {
    _Alignas(CAROM__LINE_BYTES) struct carom_client *client;
    struct carom__submission submission; /* slot for ever, generation for this life */
    struct carom__slot *shared;          /* its slot */
    char *request;                       /* its request block */
    const char *reply;                   /* its reply block */
    enum carom__progress progress;
    uint32_t repeats; /* attempts beyond the first; next to progress, so that one store clears it */
    _Atomic uint32_t cancelled; /* somebody cancelled it; a futex word while it pauses */
    int outcome;                /* when OVER: status or negative errno */
    int64_t resume_ns;          /* when PAUSED */
    int64_t timeout_ns;
    uint64_t position;       /* of its cell; a hint */
    uint64_t reply_bytes;    /* when ANSWERED: of the reply; when OVER: of the error's record */
    uint64_t request_extent; /* bytes of the request block that have been used, at most */
    uint64_t reply_extent;
    void *data;
    struct carom__failure *failure; /* NULL: not read yet */
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
    /* threads that submit a call with CAROM_NOTIFY: it may be over before they have made their
     * notes in the producer, which nobody may exchange as long */
    _Atomic uint32_t senders;
};

/** Of a method whose id in the directory is not known. */
#define CAROM__UNRESOLVED UINT32_MAX

/** The methods that this client asked for; a method's id is its index here. */
struct carom__names {
    pthread_mutex_t lock; /* also held while the directory is exchanged */
    uint32_t count;
    char *name[CAROM__MAX_METHODS];
};

/** When to make a call again, and how often that was done. */
struct carom__retry {
    uint32_t attempts; /* the first included */
    uint32_t statuses; /* bit 1 << status */
    int64_t pause_ns, pause_most_ns;
    _Atomic uint64_t random; /* state of the generator, never 0 */
    _Atomic uint64_t count;
};

/** Connecting again; everything but the atomics belongs to the thread that has set `busy`. */
struct carom__reconnect {
    _Atomic uint32_t busy; /* a futex word: 1 while a thread connects */
    int64_t timeout_ns;    /* negative: never */
    uint32_t held;         /* slots that are out of the stack for it */
    _Atomic uint64_t count;
    _Atomic int64_t connected_ns;
};

/** Bit of carom_client.link: the host of this connection has gone. */
#define CAROM__LINK_LOST 1u

struct carom_client {
    struct carom__lane lane;
    struct carom__bell *bell;
    struct carom__directory *directory; /* read-only mapping */
    char *requests;
    const char *replies; /* read-only mapping */
    struct carom_call *calls;
    _Atomic uint32_t lane_id;
    struct carom__connection connection; /* the same numbers for life: see client_reconnect.c */
    unsigned forks;
    uint64_t resident_limit_bytes;
    struct carom__spin spin;
    _Alignas(CAROM__LINE_BYTES) struct carom__producer producer;
    _Alignas(CAROM__LINE_BYTES) struct carom__slots slots;
    _Atomic uint32_t slot_waiters;   /* threads inside carom_call_begin that found no slot */
    _Atomic uint64_t resident_bytes; /* sum of both extents of all calls */
    _Atomic uint32_t link;           /* which connection this is, times two, and CAROM__LINK_LOST */
    _Atomic int64_t next_look_ns;    /* of callers that poll, at the control socket */
    struct carom__completions completions;
    char *service;
    struct carom__retry retry;
    struct carom__reconnect reconnect;
    struct carom__names names;
    /* id of each method in the directory, or CAROM__UNRESOLVED. To be read with a slot in hand:
     * then it is of the connection that the slot belongs to */
    _Atomic uint32_t method_ids[CAROM__MAX_METHODS];
};

/** Moves calls whose completion bit is set to the queue, and frees abandoned ones. */
void carom__client_collect(struct carom_client *client);

/** Takes a call that is over, and not returned yet, out of the queue. Under completions.lock. */
void carom__completions_unlink(struct carom__completions *completions, struct carom_call *call);

/** carom_client_next owes this call from now on, or no longer. The first counts a sender. */
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

/** Makes a call of the library's own, for a client that nobody else knows yet. Up to 2 ms. */
void carom__client_rehearse(struct carom_client *client);

/** Frees a call's slot for the next one. */
void carom__call_release(struct carom_call *call);

/** Sleeps on the lane's event word until something completes or a slot comes back: in slices, so
 *  that the host's death is noticed. `ready` is asked after the sleeper is announced; it may bring
 *  the end of the slice forward.
 *  flags  of carom_call_begin: with CAROM_INTERRUPTIBLE a signal ends it
 *  0, -ETIMEDOUT, -EHOSTDOWN or -EINTR. */
int carom__client_sleep(struct carom_client *client,
                        bool (*ready)(struct carom_client *, int64_t *slice_end_ns),
                        int64_t deadline_ns, unsigned flags);

/** Looks whether the host has hung up, remembers it. */
bool carom__client_host_gone(struct carom_client *client);

/** Whether calls can begin, as far as is known without looking. */
static inline bool carom__client_is_open(const struct carom_client *client)
{
    /* relaxed: flags that are looked at on every call; a late look is as good as an early call */
    return client->forks == carom__forks &&
           !(atomic_load_explicit(&client->link, memory_order_relaxed) & CAROM__LINK_LOST) &&
           atomic_load_explicit(&client->directory->state, memory_order_relaxed) != CAROM_STOPPING;
}

/* ---- client_join.c */

/** What a connection as a client consists of. */
struct carom__joined {
    struct carom__connection connection;
    void *control, *requests, *replies, *bell, *directory; /* mapped */
    uint32_t lane_id;
};

/** Shakes hands over a connected socket, which it owns from now on, and maps everything.
 *  0, or a negative errno with its sentence; then nothing is left. */
int carom__join(int socket, const struct carom__geometry *geometry, int64_t deadline_ns,
                struct carom__joined *joined);

/** Unmaps and hangs up. */
void carom__unjoin(struct carom__joined *joined, const struct carom__geometry *geometry);

/* ---- client_methods.c */

/** Looks every name up in the directory. Under names.lock. */
void carom__methods_resolve(struct carom_client *client);

/** Waits until the directory has a method.
 *  flags  of carom_call_begin
 *  0, -EINVAL not an id of this client, -ENOSYS, -EAGAIN, -ETIMEDOUT, -EINTR, -EHOSTDOWN,
 *  -ESHUTDOWN. */
int carom__method_await(struct carom_client *client, int method, int64_t deadline_ns,
                        unsigned flags);

/** Whether a method may be repeated. id: of the directory; with a slot in hand. */
bool carom__method_is_idempotent(const struct carom_client *client, uint32_t id);

/* ---- client_reconnect.c */

/** Connects to the service again unless another thread does.
 *  0 the client is open again; -EHOSTDOWN, -ESHUTDOWN, -EAGAIN, -EINTR, -ENOMEM. */
int carom__client_reconnect(struct carom_client *client, int64_t deadline_ns, unsigned flags);

/** Why no call can begin on a connection that is over. */
int carom__client_fail_closed(const struct carom_client *client);

/* ---- call_begin.c */

/** carom_call_begin, whatever there is in its way. */
int carom__begin_carefully(struct carom_client *client, int method, int64_t timeout_ns,
                           unsigned flags, struct carom_call **begun);

/** Gives a slot back and tells threads that wait for one. */
void carom__client_put_slot(struct carom_client *client, uint32_t slot);

/** Makes a call of a slot. */
CAROM__HOT int carom__call_found(struct carom_client *client, uint32_t slot, uint32_t id,
                                 int64_t timeout_ns, int64_t deadline_ns, unsigned flags,
                                 struct carom_call **begun)
{
    struct carom_call *call = &client->calls[slot];
    call->submission.method = id;
    call->timeout_ns = timeout_ns < 0 ? INT64_MAX : timeout_ns;
    call->submission.deadline_ns = deadline_ns;
    call->submission.flags = flags & CAROM_NOTIFY ? CAROM__NOTIFY : 0;
    call->progress = CAROM__BEGUN;
    call->repeats = 0;
    /* relaxed: nobody else knows this call yet */
    atomic_store_explicit(&call->cancelled, 0, memory_order_relaxed);
    call->data = NULL;
    *begun = call;
    return 0;
}

/* ---- call.c, for call_retry.c: one attempt */

int carom__call_over(struct carom_call *call, int outcome);
int carom__call_wait_once(struct carom_call *call);
int carom__call_poll_once(struct carom_call *call);

/* ---- call_retry.c */

/** An attempt ended with a status: whether there will be another. The call pauses then. */
bool carom__retry_plan(struct carom_call *call, int status);

/** carom_call_wait and carom_call_poll of a call that is PAUSED or RESENT. */
int carom__retry_wait(struct carom_call *call);
int carom__retry_poll(struct carom_call *call);

/** A call that is over forgets the workers that died of it, before its slot is used again. */
void carom__forget_deaths(struct carom_call *call);

#endif
