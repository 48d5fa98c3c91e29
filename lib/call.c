/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c - the life of a call on the client's side: begin, submit, wait, reply. Its end is in
 * call_end.c. */
#include "bell.h"
#include "client.h"
#include "error.h"

#include <errno.h>
#include <limits.h>

/* ---------------------------------------------------------------- begin */

#define KNOWN_FLAGS ((unsigned)(CAROM_NOWAIT | CAROM_NOTIFY | CAROM_INTERRUPTIBLE))

/* Workers have read what a call is about to write: the request's first line and the ring's cell.
 * Both are on their way here while the clock is read. */
static void prefetch(struct carom_client *client, uint32_t slot)
{
    carom__prefetch_write(client->calls[slot].request);
    carom__ring_prefetch(&client->lane.ring, &client->producer);
}

/* The usual case has failed; what it has taken is given back. */
CAROM__RARE static int begin_anew(struct carom_client *client, int method, int64_t timeout_ns,
                                  unsigned flags, uint32_t slot, struct carom_call **begun)
{
    if (slot != CAROM__NO_SLOT)
        carom__client_put_slot(client, slot);
    return carom__begin_carefully(client, method, timeout_ns, flags, begun);
}

int carom_call_begin(struct carom_client *client, int method, int64_t timeout_ns, unsigned flags,
                     struct carom_call **begun)
{
    *begun = NULL;
    if (CAROM__UNLIKELY(!carom__client_is_open(client) || (unsigned)method >= CAROM__MAX_METHODS ||
                        (flags & ~KNOWN_FLAGS) != 0))
        return carom__begin_carefully(client, method, timeout_ns, flags, begun);
    uint32_t slot = carom__slots_pop(&client->slots);
    if (CAROM__LIKELY(slot != CAROM__NO_SLOT))
        prefetch(client, slot);
    /* relaxed: with the slot in hand it is of the slot's connection (client.h) */
    uint32_t id = atomic_load_explicit(&client->method_ids[method], memory_order_relaxed);
    if (CAROM__UNLIKELY(slot == CAROM__NO_SLOT || id == CAROM__UNRESOLVED))
        return begin_anew(client, method, timeout_ns, flags, slot, begun);
    return carom__call_found(client, slot, id, timeout_ns, carom__deadline_ns(timeout_ns), flags,
                             begun);
}

void *carom_call_request(struct carom_call *call, size_t *capacity_bytes)
{
    if (carom__check_fork(call->client->forks) < 0)
        return NULL;
    if (capacity_bytes != NULL)
        *capacity_bytes = call->client->lane.geometry.request_block_bytes;
    return call->request;
}

/* ---------------------------------------------------------------- submit */

static void note_extent(struct carom_client *client, uint64_t *extent, uint64_t bytes)
{
    if (bytes <= *extent)
        return;
    /* relaxed: a sum, publishes nothing */
    atomic_fetch_add_explicit(&client->resident_bytes, bytes - *extent, memory_order_relaxed);
    *extent = bytes;
}

static uint32_t lane_id(const struct carom_client *client)
{
    /* relaxed: says whom to tell; a call that was published and is over may have been of the
     * connection before, and then nobody needs to be told */
    return atomic_load_explicit(&client->lane_id, memory_order_relaxed);
}

static void tell(struct carom_client *client, int workers)
{
    carom__bell_ready(client->bell, lane_id(client));
    if (carom__bell_any_parked(client->bell))
        carom__bell_wake(client->bell, (uint32_t)workers);
}

/* What came of publishing a call. */
static int sent(struct carom_client *client, int workers)
{
    if (workers < 0)
        return carom__fail(workers, "the lane's ring was damaged by another process");
    tell(client, workers);
    return 0;
}

/* After publishing, when somebody sleeps or does not know this lane. */
CAROM__RARE static int tell_one(struct carom_client *client)
{
    tell(client, 1);
    return 0;
}

int carom__call_send(struct carom_call *call)
{
    struct carom_client *client = call->client;
    return sent(client, carom__lane_submit(&client->lane, &client->producer, &call->submission));
}

/* Submits a call that needs looking at: one with CAROM_NOTIFY, the first of its length in this
 * block, or one that cannot be submitted at all. */
CAROM__RARE static int submit_carefully(struct carom_call *call, size_t length_bytes)
{
    struct carom_client *client = call->client;
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    if (call->progress != CAROM__BEGUN)
        return carom__fail(-EALREADY, "this call was submitted before");
    if (length_bytes > client->lane.geometry.request_block_bytes)
        return carom__fail(-EMSGSIZE,
                           "request of %zu bytes is larger than a request block of %llu: open the "
                           "client with a larger request_block_bytes",
                           length_bytes,
                           (unsigned long long)client->lane.geometry.request_block_bytes);
    note_extent(client, &call->request_extent, length_bytes);
    /* before sending: carom_client_next may give the call to another thread at once */
    call->progress = CAROM__SENT;
    call->position = 0;
    call->submission.request_bytes = length_bytes;
    const bool notify = (call->submission.flags & CAROM__NOTIFY) != 0;
    if (notify)
        carom__call_owe(call);
    rc = carom__call_send(call);
    if (rc < 0) {
        call->progress = CAROM__BEGUN;
        carom__call_disown(call);
    }
    if (notify) /* release: the notes in the producer are made; pairs with client_reconnect.c */
        atomic_fetch_sub_explicit(&client->completions.senders, 1, memory_order_release);
    return rc;
}

/* Other threads were faster than the look at the ring: the slot is filled, but not published. */
CAROM__RARE static int submit_again(struct carom_call *call)
{
    struct carom_client *client = call->client;
    int workers = carom__lane_publish(&client->lane, &client->producer, call->submission.slot,
                                      call->submission.generation);
    if (workers < 0)
        call->progress = CAROM__BEGUN;
    return sent(client, workers);
}

int carom_call_submit(struct carom_call *call, size_t length_bytes)
{
    struct carom_client *client = call->client;
    struct carom__lane *lane = &client->lane;
    uint64_t position;
    if (CAROM__UNLIKELY(client->forks != carom__forks || call->progress != CAROM__BEGUN ||
                        length_bytes > call->request_extent || call->submission.flags != 0 ||
                        !carom__ring_has_room(&lane->ring, &client->producer, &position)))
        return submit_carefully(call, length_bytes);
    call->progress = CAROM__SENT;
    call->position = position;
    call->submission.request_bytes = length_bytes;
    carom__lane_fill(lane, &call->submission);
    if (CAROM__UNLIKELY(!carom__ring_publish(&lane->ring, &client->producer, position,
                                             call->submission.generation, call->submission.slot)))
        return submit_again(call);
    if (CAROM__LIKELY(carom__bell_is_ready(client->bell, lane_id(client)) &&
                      !carom__bell_any_parked(client->bell)))
        return 0;
    return tell_one(client);
}

/* ---------------------------------------------------------------- wait */

int carom__call_over(struct carom_call *call, int outcome)
{
    call->progress = CAROM__OVER;
    call->outcome = outcome;
    return outcome;
}

/* Lines that a worker has or had: the reply, which is read next, and the slot and the request,
 * which are written next, for the call after this one. They travel together, while other things go
 * on. */
static void prefetch_outcome(const struct carom_call *call)
{
    carom__prefetch_write(call->shared);
    carom__prefetch_write(call->request);
    __builtin_prefetch(call->reply);
}

/* A call that was done before anybody looked: the workers are ahead, and the call two behind it is
 * probably done as well. Its lines come over while this one and the next are dealt with. */
static void prefetch_behind(const struct carom_call *call)
{
    const struct carom__lane *lane = &call->client->lane;
    uint64_t cell;
    if (carom__ring_read(&lane->ring, call->position + 2, &cell))
        prefetch_outcome(&call->client->calls[carom__cell_slot(cell) & (lane->geometry.slots - 1)]);
}

/* The control socket has hung up: did the service end in order? */
static int host_gone(const struct carom_client *client)
{
    /* relaxed: written before the host hung up */
    if (atomic_load_explicit(&client->directory->state, memory_order_relaxed) == CAROM_STOPPING)
        return carom__fail(-ESHUTDOWN, "the service stopped during the call");
    char reason[CAROM__REASON_BYTES + 1];
    if (carom__last_words(&client->connection, reason))
        return carom__fail(-EHOSTDOWN, "the service's host disconnected this client: %s", reason);
    return carom__fail(-EHOSTDOWN, "the service's host died during the call");
}

/* A call that nobody claimed was taken back: by its caller, or by a host that has disconnected this
 * client, which hangs up first. */
static int withdrawn(const struct carom_call *call)
{
    /* relaxed: decides only what to say of a call that ended without its host as well */
    if (atomic_load_explicit(&call->cancelled, memory_order_relaxed) == 0 &&
        carom__client_host_gone(call->client))
        return host_gone(call->client);
    return CAROM_CANCELLED;
}

/* What came of a call whose state word left SUBMITTED and RUNNING, when it was not a reply as the
 * one before. -EAGAIN: it is PAUSED. */
CAROM__RARE static int conclude_carefully(struct carom_call *call, uint64_t state, int32_t status,
                                          uint64_t bytes)
{
    call->reply_bytes = 0;
    if (carom__state_phase(state) != CAROM__DONE ||
        carom__state_generation(state) != call->submission.generation)
        return carom__call_over(call, carom__fail(-EPROTO, "a worker damaged the state of slot %u",
                                                  call->submission.slot));
    if (carom__state_owner(state) == CAROM__OWNER_CLIENT)
        return carom__call_over(call, withdrawn(call));
    if (bytes > call->client->lane.geometry.reply_block_bytes || status < 0 ||
        status > CAROM_UNAUTHENTICATED)
        return carom__call_over(call, carom__fail(-EPROTO, "a worker wrote nonsense into slot %u",
                                                  call->submission.slot));
    call->reply_bytes = bytes;
    note_extent(call->client, &call->reply_extent, bytes);
    if (status == CAROM_DEADLINE_EXCEEDED && bytes == 0) /* expired before it was run */
        return carom__call_over(
            call, carom__fail(-ETIMEDOUT, "the deadline passed before a worker was free"));
    if (status != CAROM_OK && carom__retry_plan(call, status))
        return -EAGAIN;
    carom__call_over(call, status);
    if (status == CAROM_OK)
        call->progress = CAROM__ANSWERED;
    return status;
}

/* The same for carom_call_wait, which goes on with the next attempt if there is to be one. */
CAROM__RARE static int conclude_and_go_on(struct carom_call *call, uint64_t state, int32_t status,
                                          uint64_t bytes)
{
    int rc = conclude_carefully(call, state, status, bytes);
    return call->progress == CAROM__PAUSED ? carom__retry_wait(call) : rc;
}

/* Whether a worker has replied; a withdrawn call is DONE as well. */
static inline bool is_done(const struct carom_call *call, uint64_t state)
{
    uint64_t done = carom__state(CAROM__DONE, call->submission.generation, 0);
    return (uint32_t)(state & ~CAROM__FLAGS_MASK) == (uint32_t)done &&
           state < carom__state(0, 0, CAROM__OWNER_CLIENT);
}

/* The state word left SUBMITTED and RUNNING: what came of the call? `go_on`: to the end of its last
 * attempt. */
CAROM__HOT int conclude(struct carom_call *call, uint64_t state, bool go_on)
{
    /* relaxed: published by DONE, which was loaded with acquire; loaded once, checked below */
    int32_t status = atomic_load_explicit(&call->shared->status, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&call->shared->reply_bytes, memory_order_relaxed);
    if (CAROM__UNLIKELY(!is_done(call, state) || status != CAROM_OK || bytes > call->reply_extent))
        return go_on ? conclude_and_go_on(call, state, status, bytes)
                     : conclude_carefully(call, state, status, bytes);
    call->reply_bytes = bytes;
    call->progress = CAROM__ANSWERED;
    return CAROM_OK;
}

static uint64_t spin(struct carom_call *call, uint64_t state)
{
    struct carom_client *client = call->client;
    struct carom__spinning wait;
    if (!carom__spin_begin(&client->spin, &wait, call->timeout_ns))
        return state;
    while (carom__spin_again(&wait)) {
        __builtin_prefetch(call->reply); /* travels with the state, not after it */
        state = carom__lane_state(&client->lane, call->submission.slot);
        if (carom__call_is_pending(call, state))
            continue;
        carom__spin_hit(&client->spin, &wait);
        prefetch_outcome(call);
        return state;
    }
    carom__spin_miss(&client->spin, &wait);
    return state;
}

static int expire(struct carom_call *call)
{
    struct carom__lane *lane = &call->client->lane;
    if (carom__lane_withdraw(lane, call->submission.slot, call->submission.generation))
        return carom__call_over(
            call, carom__fail(-ETIMEDOUT, "no worker took the call before its deadline"));
    uint64_t state = carom__lane_flag(lane, call->submission.slot, call->submission.generation,
                                      CAROM__CANCEL);
    if (!carom__call_is_pending(call, state))
        return conclude(call, state, false);
    return carom__call_over(call,
                            carom__fail(-ETIMEDOUT, "the worker was still busy at the deadline"));
}

/* Nobody repairs anything any more; what is done is done. */
static int conclude_without_host(struct carom_call *call)
{
    uint64_t state = carom__lane_state(&call->client->lane, call->submission.slot);
    if (!carom__call_is_pending(call, state))
        return conclude(call, state, false);
    return carom__call_over(call, host_gone(call->client));
}

/* For callers that poll: looks at the control socket now and then. */
static bool is_host_lost(struct carom_client *client, int64_t now_ns)
{
    /* relaxed: when threads look at the same time, one look too many is made */
    if (now_ns < atomic_load_explicit(&client->next_look_ns, memory_order_relaxed))
        return false;
    atomic_store_explicit(&client->next_look_ns, now_ns + CAROM__SLICE_NS,
                          memory_order_relaxed); /* as above */
    return carom__client_host_gone(client);
}

/* Who is woken for nothing, or whose word changes all the time, looks for its host all the same: a
 * hostile worker may do both for ever. */
static int sleep_until_done(struct carom_call *call)
{
    struct carom_client *client = call->client;
    const int64_t look_ns = carom__now_ns() + CAROM__SLICE_NS;
    for (;;) {
        uint64_t state = carom__lane_flag(&client->lane, call->submission.slot,
                                          call->submission.generation, CAROM__WAITER);
        if (!carom__call_is_pending(call, state))
            return conclude(call, state, false);
        int64_t left_ns = call->submission.deadline_ns - carom__now_ns();
        if (left_ns <= 0)
            return expire(call);
        int rc = carom__lane_sleep(&client->lane, call->submission.slot, state,
                                   left_ns < CAROM__SLICE_NS ? left_ns : CAROM__SLICE_NS);
        if (rc == -EINTR)
            return carom__fail(rc, "a signal arrived during the call: wait again");
        if ((rc == -ETIMEDOUT || carom__now_ns() >= look_ns) && carom__client_host_gone(client))
            return conclude_without_host(call);
    }
}

/* The outcome of a call that is not in its first attempt (any more). */
CAROM__RARE static int outcome_before(struct carom_call *call, int (*go_on)(struct carom_call *))
{
    int rc = carom__check_fork(call->client->forks);
    if (rc < 0)
        return rc;
    if (call->progress == CAROM__PAUSED || call->progress == CAROM__RESENT)
        return go_on(call);
    if (call->progress == CAROM__ANSWERED)
        return CAROM_OK;
    return call->progress == CAROM__OVER ? call->outcome
                                         : carom__fail(-EINVAL, "the call was not submitted");
}

/* Whether a call is in its first attempt. */
static inline bool is_under_way(const struct carom_call *call)
{
    return CAROM__LIKELY(call->client->forks == carom__forks && call->progress == CAROM__SENT);
}

static int await_once(struct carom_call *call, uint64_t state)
{
    if (carom__call_is_pending(call, state))
        state = spin(call, state);
    return carom__call_is_pending(call, state) ? sleep_until_done(call)
                                               : conclude(call, state, false);
}

int carom__call_wait_once(struct carom_call *call)
{
    return await_once(call, carom__lane_state(&call->client->lane, call->submission.slot));
}

/* A call that was not done at the first look. */
__attribute__((noinline)) static int await(struct carom_call *call, uint64_t state)
{
    int rc = await_once(call, state);
    return CAROM__UNLIKELY(call->progress == CAROM__PAUSED) ? carom__retry_wait(call) : rc;
}

int carom_call_wait(struct carom_call *call)
{
    if (!is_under_way(call))
        return outcome_before(call, carom__retry_wait);
    prefetch_outcome(call);
    /* acquire: as carom__lane_state */
    uint64_t state = atomic_load_explicit(&call->shared->state, memory_order_acquire);
    if (!is_done(call, state))
        return await(call, state);
    prefetch_behind(call);
    return conclude(call, state, true);
}

int carom__call_poll_once(struct carom_call *call)
{
    uint64_t state = carom__lane_state(&call->client->lane, call->submission.slot);
    if (!carom__call_is_pending(call, state))
        return conclude(call, state, false);
    int64_t now_ns = carom__now_ns();
    if (now_ns >= call->submission.deadline_ns)
        return expire(call);
    return is_host_lost(call->client, now_ns) ? conclude_without_host(call) : -EAGAIN;
}

int carom_call_poll(struct carom_call *call)
{
    if (!is_under_way(call))
        return outcome_before(call, carom__retry_poll);
    int rc = carom__call_poll_once(call);
    return CAROM__UNLIKELY(call->progress == CAROM__PAUSED) ? carom__retry_poll(call) : rc;
}

/* ---------------------------------------------------------------- outcome */

const void *carom_call_reply(struct carom_call *call, size_t *length_bytes)
{
    bool ok = call->progress == CAROM__ANSWERED && call->client->forks == carom__forks;
    if (length_bytes != NULL)
        *length_bytes = ok ? call->reply_bytes : 0;
    return ok ? call->reply : NULL;
}

/* Errors without a record: a call that its client withdrew, or whose worker died. */
static void describe_without_record(const struct carom_call *call, struct carom_error *error)
{
    if (call->outcome == CAROM_CANCELLED && call->reply_bytes == 0) {
        error->type = "carom.Cancelled";
        error->message = error->worker < 0 ? "the caller cancelled the call before a worker took it"
                                           : "the caller cancelled the call between two attempts";
        error->worker = -1;
    } else if (call->outcome == CAROM_UNAVAILABLE) {
        error->type = "carom.WorkerDied";
        error->message = "the worker died while it ran this call";
    } else if (call->outcome == CAROM_ABORTED) {
        error->type = "carom.PoisonRequest";
        error->message = "this request killed more than one worker; it is not given to another";
    }
}

int carom_call_error(struct carom_call *call, struct carom_error *error)
{
    int rc = carom__check_fork(call->client->forks);
    if (rc < 0)
        return rc;
    if (call->progress != CAROM__OVER || call->outcome <= 0)
        return carom__fail(-EINVAL, "the call has no error");
    uint64_t state = carom__lane_state(&call->client->lane, call->submission.slot);
    uint32_t owner = carom__state_owner(state);
    *error = (struct carom_error){
        .status = call->outcome,
        .worker = owner == CAROM__OWNER_CLIENT ? -1 : (int32_t)(owner & 0xffffu),
        .type = "",
        .message = "",
        .traceback = "",
    };
    if (call->failure == NULL && call->reply_bytes > 0 &&
        carom__failure_read(call->reply, call->reply_bytes, &call->failure) == -ENOMEM)
        return carom__fail(-ENOMEM, "no memory for the error's %llu bytes",
                           (unsigned long long)call->reply_bytes);
    if (call->failure == NULL) {
        describe_without_record(call, error);
        return 0;
    }
    error->type = call->failure->type;
    error->message = call->failure->message;
    error->traceback = call->failure->traceback;
    error->time_ns = call->failure->time_ns;
    error->cause_count = call->failure->cause_count;
    error->causes = call->failure->causes;
    return 0;
}

/* Only the state word is looked at: another thread may be waiting for this call. Under the lock,
 * because that thread may be about to make the call again, in the slot's next life. */
static int cancel_locked(struct carom_call *call)
{
    struct carom__lane *lane = &call->client->lane;
    const uint32_t slot = call->submission.slot, generation = call->submission.generation;
    if (!carom__lane_withdraw(lane, slot, generation)) {
        uint64_t state = carom__lane_flag(lane, slot, generation, CAROM__CANCEL);
        if (carom__state_generation(state) != generation ||
            carom__state_phase(state) == CAROM__FREE)
            return carom__fail(-EINVAL, "the call was not submitted");
    }
    /* relaxed: read under the lock before the next attempt; who pauses on it looks again */
    atomic_store_explicit(&call->cancelled, 1, memory_order_relaxed);
    carom__futex_wake(&call->cancelled, INT_MAX);
    return 0;
}

int carom_call_cancel(struct carom_call *call)
{
    int rc = carom__check_fork(call->client->forks);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&call->client->completions.lock);
    rc = cancel_locked(call);
    pthread_mutex_unlock(&call->client->completions.lock);
    return rc;
}

void carom_call_set_data(struct carom_call *call, void *data)
{
    call->data = data;
}

void *carom_call_data(const struct carom_call *call)
{
    return call->data;
}
