/* SPDX-License-Identifier: Apache-2.0
 *
 * completion.c - calls that end without a thread waiting for them: those begun with CAROM_NOTIFY,
 * which carom_client_next returns, and abandoned ones, whose slots come back here.
 *
 * Workers set a bit per slot and ring the lane's event word. A bit is a hint: it may be set twice,
 * or late, when the slot already serves another call; so each bit is checked against the slot's
 * state and the call's own fields, under the lock. */
#include "client.h"
#include "connection.h"
#include "error.h"

#include <errno.h>

static void enqueue(struct carom__completions *completions, struct carom_call *call)
{
    call->queued = true;
    call->next_done = NULL;
    if (completions->last != NULL)
        completions->last->next_done = call;
    else
        completions->first = call;
    completions->last = call;
}

static void collect_slot(struct carom_client *client, uint32_t slot)
{
    struct carom_call *call = &client->calls[slot];
    if (!call->abandoned && (!call->notify || call->queued))
        return;
    uint64_t state = carom__lane_state(&client->lane, slot);
    if (carom__state_phase(state) != CAROM__DONE ||
        carom__state_generation(state) != call->submission.generation)
        return;
    if (!call->abandoned) {
        enqueue(&client->completions, call);
        return;
    }
    call->abandoned = false;
    carom__call_release(call);
}

static void collect_locked(struct carom_client *client)
{
    uint32_t words = (client->lane.geometry.slots + 63) / 64;
    for (uint32_t word = 0; word < words; word++) {
        uint64_t bits = carom__lane_take_completed(&client->lane, word);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (slot < client->lane.geometry.slots)
                collect_slot(client, slot);
        }
    }
}

void carom__client_collect(struct carom_client *client)
{
    pthread_mutex_lock(&client->completions.lock);
    collect_locked(client);
    pthread_mutex_unlock(&client->completions.lock);
}

bool carom__client_host_gone(struct carom_client *client)
{
    /* acquire: the control socket that is looked at is of this connection, or of a later one */
    uint32_t link = atomic_load_explicit(&client->link, memory_order_acquire);
    if (link & CAROM__LINK_LOST)
        return true;
    if (!carom__host_is_gone(&client->connection))
        return false;
    /* relaxed: a flag. By exchange, because there may be a new connection by now */
    if (atomic_compare_exchange_strong_explicit(&client->link, &link, link | CAROM__LINK_LOST,
                                                memory_order_relaxed, memory_order_relaxed))
        return true;
    return (link & CAROM__LINK_LOST) != 0;
}

int carom__client_sleep(struct carom_client *client,
                        bool (*ready)(struct carom_client *, int64_t *slice_end_ns),
                        int64_t deadline_ns, unsigned flags)
{
    for (;;) {
        uint32_t event = carom__lane_arm_event(&client->lane);
        int64_t now_ns = carom__now_ns();
        int64_t end_ns = now_ns + CAROM__SLICE_NS;
        if (ready(client, &end_ns))
            return 0;
        if (carom__client_host_gone(client))
            return carom__fail(-EHOSTDOWN, "the service's host died");
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        if (end_ns > deadline_ns)
            end_ns = deadline_ns;
        if (end_ns > now_ns &&
            carom__futex_wait(&client->lane.control->event, event, end_ns - now_ns) == -EINTR &&
            flags & CAROM_INTERRUPTIBLE)
            return carom__fail(-EINTR, "a signal arrived before a slot was free: begin again");
    }
}

/* ---------------------------------------------------------------- CAROM_NOTIFY */

void carom__call_owe(struct carom_call *call)
{
    struct carom__completions *completions = &call->client->completions;
    pthread_mutex_lock(&completions->lock);
    call->notify = true;
    completions->owed++;
    /* relaxed: its slot is given back after this, and the reconnecting thread has them all */
    atomic_fetch_add_explicit(&completions->senders, 1, memory_order_relaxed);
    pthread_mutex_unlock(&completions->lock);
}

void carom__completions_unlink(struct carom__completions *completions, struct carom_call *call)
{
    struct carom_call **link = &completions->first, *before = NULL;
    while (*link != call) {
        before = *link;
        link = &before->next_done;
    }
    *link = call->next_done;
    if (completions->last == call)
        completions->last = before;
    call->queued = false;
}

void carom__call_disown(struct carom_call *call)
{
    struct carom__completions *completions = &call->client->completions;
    pthread_mutex_lock(&completions->lock);
    if (call->notify)
        completions->owed--;
    call->notify = false;
    if (call->queued)
        carom__completions_unlink(completions, call);
    pthread_mutex_unlock(&completions->lock);
}

/* Calls whose deadline has passed are returned although they still run: their outcome is known.
 * Brings end_ns forward to the next deadline. */
static void enqueue_expired(struct carom_client *client, int64_t *end_ns)
{
    int64_t now_ns = carom__now_ns();
    for (uint32_t slot = 0; slot < client->lane.geometry.slots; slot++) {
        struct carom_call *call = &client->calls[slot];
        if (!call->notify || call->queued)
            continue;
        if (call->submission.deadline_ns <= now_ns)
            enqueue(&client->completions, call);
        else if (call->submission.deadline_ns < *end_ns)
            *end_ns = call->submission.deadline_ns;
    }
}

/* Takes the first completed call; counts it as returned. */
static struct carom_call *dequeue(struct carom__completions *completions)
{
    struct carom_call *call = completions->first;
    if (call == NULL)
        return NULL;
    completions->first = call->next_done;
    if (completions->first == NULL)
        completions->last = NULL;
    call->queued = false;
    call->notify = false;
    completions->owed--;
    return call;
}

static struct carom_call *next_now(struct carom_client *client, uint32_t *owed)
{
    pthread_mutex_lock(&client->completions.lock);
    if (client->completions.first == NULL)
        collect_locked(client);
    struct carom_call *call = dequeue(&client->completions);
    *owed = client->completions.owed;
    pthread_mutex_unlock(&client->completions.lock);
    return call;
}

static bool has_next(struct carom_client *client, int64_t *end_ns)
{
    pthread_mutex_lock(&client->completions.lock);
    collect_locked(client);
    if (client->completions.first == NULL)
        enqueue_expired(client, end_ns);
    bool ready = client->completions.first != NULL || client->completions.owed == 0;
    pthread_mutex_unlock(&client->completions.lock);
    return ready;
}

/* Looks for as long as spinning paid recently. */
static struct carom_call *next_spinning(struct carom_client *client, uint32_t *owed,
                                        int64_t timeout_ns)
{
    struct carom__spinning wait;
    if (!carom__spin_begin(&client->spin, &wait, timeout_ns < 0 ? INT64_MAX : timeout_ns))
        return next_now(client, owed);
    struct carom_call *call;
    while ((call = next_now(client, owed)) == NULL && *owed > 0) {
        if (!carom__spin_again(&wait)) {
            carom__spin_miss(&client->spin, &wait);
            return NULL;
        }
    }
    carom__spin_hit(&client->spin, &wait);
    return call;
}

int carom_client_next(struct carom_client *client, int64_t timeout_ns, struct carom_call **call)
{
    uint32_t owed = 0;
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    int64_t deadline_ns = INT64_MAX; /* read the clock only when it comes to sleeping */
    *call = next_spinning(client, &owed, timeout_ns);
    while (*call == NULL && owed > 0) {
        if (deadline_ns == INT64_MAX)
            deadline_ns = carom__deadline_ns(timeout_ns);
        rc = carom__client_sleep(client, has_next, deadline_ns, 0);
        if (rc == -ETIMEDOUT)
            return carom__fail(rc, "none of the %u calls was done in time", owed);
        if (rc < 0)
            return rc;
        *call = next_now(client, &owed);
    }
    return *call != NULL ? 0 : carom__fail(-ENODATA, "no call with CAROM_NOTIFY is in flight");
}
