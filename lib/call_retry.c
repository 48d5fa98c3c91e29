/* SPDX-License-Identifier: Apache-2.0
 *
 * call_retry.c - making a call of an idempotent method again, in the same slot.
 *
 * An attempt that ended with one of the chosen statuses leaves the call PAUSED until resume_ns.
 * Then the slot's next life begins with the same request block, method and deadline; the call is
 * RESENT from there on, which keeps it off the short path, and may be PAUSED again.
 *
 * A call that another thread may cancel meanwhile changes its generation only under
 * completions.lock, which carom_call_cancel takes as well. */
#include "client.h"
#include "error.h"

#include <errno.h>

/** Workers that may die of one request. The host gives it to no other; nor does a client ask. */
#define DEATHS_MOST 2u

/* ---------------------------------------------------------------- whether and when */

/* xorshift64: threads that draw at the same time may draw the same, which harms nobody. */
static uint64_t draw(struct carom_client *client)
{
    /* relaxed: as above */
    uint64_t x = atomic_load_explicit(&client->retry.random, memory_order_relaxed);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    atomic_store_explicit(&client->retry.random, x, memory_order_relaxed); /* as above */
    return x;
}

static uint32_t deaths_of(const struct carom_call *call)
{
    /* relaxed: published by DONE, which was loaded with acquire */
    return atomic_load_explicit(&call->shared->deaths, memory_order_relaxed);
}

static int64_t choose_pause_ns(struct carom_call *call, uint32_t deaths)
{
    const struct carom__retry *retry = &call->client->retry;
    int64_t longest_ns = retry->pause_ns;
    /* carom_client_next cannot wait for the end of a pause; a dead worker's place is taken */
    if (call->submission.flags & CAROM__NOTIFY || (call->repeats == 0 && deaths > 0))
        return 0;
    for (uint32_t i = 0; i < call->repeats && longest_ns < retry->pause_most_ns; i++)
        longest_ns = longest_ns > INT64_MAX / 2 ? INT64_MAX : 2 * longest_ns;
    if (longest_ns > retry->pause_most_ns)
        longest_ns = retry->pause_most_ns;
    return (int64_t)(draw(call->client) % ((uint64_t)longest_ns + 1));
}

static bool is_cancelled(const struct carom_call *call)
{
    /* relaxed: decided under the lock before the next attempt; this look only saves the pause */
    return atomic_load_explicit(&call->cancelled, memory_order_relaxed) != 0;
}

bool carom__retry_plan(struct carom_call *call, int status)
{
    struct carom_client *client = call->client;
    const struct carom__retry *retry = &client->retry;
    const uint32_t deaths = deaths_of(call);
    if ((retry->statuses >> status & 1) == 0 || call->repeats + 1 >= retry->attempts ||
        !carom__method_is_idempotent(client, call->submission.method) || is_cancelled(call) ||
        !carom__client_is_open(client) || deaths >= DEATHS_MOST)
        return false;
    int64_t now_ns = carom__now_ns(), pause_ns = choose_pause_ns(call, deaths);
    if (pause_ns >= call->submission.deadline_ns - now_ns)
        return false;
    call->resume_ns = now_ns + pause_ns;
    call->progress = CAROM__PAUSED;
    call->outcome = status;
    return true;
}

/* ---------------------------------------------------------------- the next attempt */

/* carom_client_next owes the call once more, or for the first time still. Under the lock. */
static void owe_again(struct carom_call *call)
{
    struct carom__completions *completions = &call->client->completions;
    if (call->queued)
        carom__completions_unlink(completions, call);
    if (!call->notify)
        completions->owed++;
    call->notify = true;
}

static void owe_no_more(struct carom_call *call)
{
    if (call->notify)
        call->client->completions.owed--;
    call->notify = false;
}

/* Returns 0 or why there is no further attempt. A call with CAROM_NOTIFY may belong to another
 * thread as soon as the lock is free. */
static int resend_locked(struct carom_call *call)
{
    if (is_cancelled(call)) {
        call->reply_bytes = 0; /* what the last attempt said does not count */
        return carom__call_over(call, CAROM_CANCELLED);
    }
    call->submission.generation = (call->submission.generation + 1) & CAROM__GENERATION_MASK;
    call->position = 0;
    call->repeats++;
    call->progress = CAROM__RESENT;
    if (call->submission.flags & CAROM__NOTIFY)
        owe_again(call);
    int rc = carom__call_send(call);
    if (rc == 0)
        return 0;
    if (call->submission.flags & CAROM__NOTIFY)
        owe_no_more(call);
    return carom__call_over(call, rc);
}

static int resend(struct carom_call *call)
{
    struct carom_client *client = call->client;
    pthread_mutex_lock(&client->completions.lock);
    int rc = resend_locked(call);
    pthread_mutex_unlock(&client->completions.lock);
    if (rc == 0) /* relaxed: a number for people */
        atomic_fetch_add_explicit(&client->retry.count, 1, memory_order_relaxed);
    return rc;
}

/* The slot is DONE here, and host and client alone write the number: the host while the call is
 * RUNNING by a worker that has died, before it makes it DONE. So until the slot's next life nobody
 * but this thread touches it. */
void carom__forget_deaths(struct carom_call *call)
{
    /* relaxed: published by the release of the next SUBMITTED */
    if (deaths_of(call) != 0)
        atomic_store_explicit(&call->shared->deaths, 0, memory_order_relaxed);
}

/* An attempt after the first has an outcome. An ANSWERED call ends on the short path, which does
 * not look at deaths; any other one does when it ends. */
static int settle(struct carom_call *call, int outcome)
{
    if (call->progress == CAROM__ANSWERED)
        carom__forget_deaths(call);
    return outcome;
}

/* ---------------------------------------------------------------- wait and poll */

static int sleep_through_pause(struct carom_call *call)
{
    for (;;) {
        int64_t left_ns = call->resume_ns - carom__now_ns();
        if (left_ns <= 0 || is_cancelled(call))
            return 0;
        if (carom__futex_wait(&call->cancelled, 0, left_ns) == -EINTR)
            return carom__fail(-EINTR, "a signal arrived between two attempts: wait again");
    }
}

CAROM__RARE int carom__retry_wait(struct carom_call *call)
{
    for (;;) {
        int rc = 0;
        if (call->progress == CAROM__PAUSED) {
            rc = sleep_through_pause(call);
            if (rc == 0)
                rc = resend(call);
            if (rc != 0)
                return rc;
        }
        rc = carom__call_wait_once(call);
        if (rc == -EINTR)
            return rc;
        if (call->progress != CAROM__PAUSED)
            return settle(call, rc);
    }
}

CAROM__RARE int carom__retry_poll(struct carom_call *call)
{
    if (call->progress == CAROM__RESENT) {
        int rc = carom__call_poll_once(call);
        if (call->progress != CAROM__PAUSED)
            return rc == -EAGAIN ? rc : settle(call, rc);
    }
    if (carom__now_ns() < call->resume_ns && !is_cancelled(call))
        return -EAGAIN;
    int rc = resend(call);
    return rc == 0 ? -EAGAIN : rc;
}
