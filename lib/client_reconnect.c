/* SPDX-License-Identifier: Apache-2.0
 *
 * client_reconnect.c - connecting to the service again after its host has gone or stopped.
 *
 * The right to exchange the lane is to have every slot: who has one in hand may use the lane, its
 * blocks, the ids of methods, the ring's notes. One thread connects, others wait for it; it takes
 * all slots out of the stack, and those of abandoned calls, which nobody will ever give back; calls
 * that other threads still hold end soon, because the service has gone. Slots that were taken stay
 * taken when connecting fails: no call can begin before the next attempt anyway.
 *
 * Some things are looked at without a slot: the service's state, the bell, the lane's event word,
 * the control socket. So the new memory is put at the very addresses of the old, and the new
 * descriptors at the old numbers, each in one step of the kernel (mremap, dup3): there is no moment
 * in which a pointer or a descriptor leads nowhere, and nothing has to be told to anybody. Whoever
 * looks in between finds the old or the new; both are true enough for hints. The directory is
 * exchanged under names.lock, for those who read more than one word of it. */
#include "client.h"

#include "connection.h"
#include "error.h"
#include "segment.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/** Between two looks for the calls of others, and between two attempts to connect. */
#define PAUSE_NS INT64_C(4000000)

int carom__client_fail_closed(const struct carom_client *client)
{
    /* relaxed: the service's last word, written before it hung up */
    if (atomic_load_explicit(&client->directory->state, memory_order_relaxed) == CAROM_STOPPING)
        return carom__fail(-ESHUTDOWN, "the service is stopping");
    char reason[CAROM__REASON_BYTES + 1];
    if (carom__last_words(&client->connection, reason))
        return carom__fail(-EHOSTDOWN, "the service's host disconnected this client: %s", reason);
    return carom__fail(-EHOSTDOWN, "the service's host died");
}

/* The same with what kept it from connecting again. */
static int fail_because(const struct carom_client *client, const char *reason)
{
    char text[512];
    snprintf(text, sizeof text, "%s", reason);
    int rc = carom__client_fail_closed(client);
    return carom__fail(rc, "%s, and it cannot be reached again: %s",
                       rc == -ESHUTDOWN ? "the service has stopped" : "the service's host died",
                       text);
}

/* ---------------------------------------------------------------- every slot */

static void take_abandoned(struct carom_client *client)
{
    pthread_mutex_lock(&client->completions.lock);
    for (uint32_t slot = 0; slot < client->lane.geometry.slots; slot++) {
        if (client->calls[slot].abandoned) {
            client->calls[slot].abandoned = false;
            client->reconnect.held++;
        }
    }
    pthread_mutex_unlock(&client->completions.lock);
}

static bool take_slots(struct carom_client *client)
{
    carom__client_collect(client);
    while (carom__slots_pop(&client->slots) != CAROM__NO_SLOT)
        client->reconnect.held++;
    take_abandoned(client);
    return client->reconnect.held == client->lane.geometry.slots;
}

/* Sleeps a little on a word of this client; signals end it. */
static int pause_on(const _Atomic uint32_t *word, uint32_t value, int64_t until_ns, unsigned flags)
{
    int64_t left_ns = until_ns - carom__now_ns();
    if (left_ns <= 0)
        return -ETIMEDOUT;
    int rc = carom__futex_wait(word, value, left_ns < PAUSE_NS ? left_ns : PAUSE_NS);
    if (rc == -EINTR && flags & CAROM_INTERRUPTIBLE)
        return carom__fail(rc, "a signal arrived while the client connected again: begin again");
    return 0;
}

static int take_every_slot(struct carom_client *client, int64_t until_ns, unsigned flags)
{
    const struct carom__lane *lane = &client->lane;
    for (;;) {
        /* relaxed: only compared by the futex; what is missed costs one short pause */
        uint32_t event = atomic_load_explicit(&lane->control->event, memory_order_relaxed);
        if (take_slots(client))
            break;
        int rc = flags & CAROM_NOWAIT ? -EAGAIN
                                      : pause_on(&lane->control->event, event, until_ns, flags);
        if (rc == -EAGAIN)
            return carom__fail(rc, "calls of the lost connection are still in use");
        if (rc == -ETIMEDOUT)
            return fail_because(client, "end the calls of the lost connection first");
        if (rc < 0)
            return rc;
    }
    /* acquire: pairs with the end of submit; their notes are made */
    while (atomic_load_explicit(&client->completions.senders, memory_order_acquire) > 0)
        sched_yield();
    return 0;
}

/* ---------------------------------------------------------------- the exchange */

static int move_mappings(struct carom_client *client, struct carom__joined *fresh)
{
    const struct carom__geometry *geometry = &client->lane.geometry;
    const struct {
        void *old, **fresh;
        size_t bytes;
    } moves[] = {
        {client->lane.control, &fresh->control, carom__control_bytes(geometry)},
        {client->requests, &fresh->requests,
         carom__blocks_bytes(geometry->slots, geometry->request_block_bytes)},
        {(void *)(uintptr_t)client->replies, &fresh->replies,
         carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes)},
        {client->bell, &fresh->bell, sizeof *client->bell},
        {client->directory, &fresh->directory, sizeof *client->directory},
    };
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        int rc = carom__segment_replace(moves[i].old, *moves[i].fresh, moves[i].bytes);
        if (rc < 0)
            return rc;
        *moves[i].fresh = NULL;
    }
    return 0;
}

/* A client without a pidfd gets none later; one that has it and gets none watches the socket
 * instead. */
static int move_descriptors(struct carom_client *client, struct carom__joined *fresh)
{
    const struct carom__connection *old = &client->connection;
    int pidfd = fresh->connection.host_pidfd;
    if (pidfd < 0)
        pidfd = fresh->connection.socket;
    if ((old->host_pidfd >= 0 && dup3(pidfd, old->host_pidfd, O_CLOEXEC) < 0) ||
        dup3(fresh->connection.socket, old->socket, O_CLOEXEC) < 0)
        return carom__fail_errno(-errno, "cannot exchange the control socket");
    carom__disconnect(&fresh->connection);
    return 0;
}

static void reset_calls(struct carom_client *client)
{
    for (uint32_t slot = 0; slot < client->lane.geometry.slots; slot++) {
        struct carom_call *call = &client->calls[slot];
        call->progress = CAROM__IDLE;
        call->request_extent = call->reply_extent = 0; /* nothing of the new blocks is in use */
        call->position = 0;
    }
    /* relaxed: a sum */
    atomic_store_explicit(&client->resident_bytes, 0, memory_order_relaxed);
}

static void reset_producer(struct carom_client *client)
{
    struct carom__producer *producer = &client->producer;
    /* relaxed: who submits has a slot, and the slots are pushed with release after this */
    atomic_store_explicit(&producer->tail, 0, memory_order_relaxed);
    atomic_store_explicit(&producer->head_seen, 0, memory_order_relaxed);
    for (uint32_t cell = 0; cell < client->lane.geometry.ring_cells; cell++)
        atomic_store_explicit(&producer->cells[cell], 0, memory_order_relaxed); /* as above */
}

static int exchange_locked(struct carom_client *client, struct carom__joined *fresh)
{
    int rc = move_mappings(client, fresh);
    if (rc == 0)
        rc = move_descriptors(client, fresh);
    if (rc < 0)
        return rc;
    reset_calls(client);
    reset_producer(client);
    carom__methods_resolve(client);
    /* relaxed: as in reset_producer */
    atomic_store_explicit(&client->lane_id, fresh->lane_id, memory_order_relaxed);
    atomic_store_explicit(&client->next_look_ns, 0, memory_order_relaxed);
    /* relaxed: numbers for people */
    atomic_store_explicit(&client->reconnect.connected_ns, carom__now_ns(), memory_order_relaxed);
    atomic_fetch_add_explicit(&client->reconnect.count, 1, memory_order_relaxed);
    return 0;
}

static int exchange(struct carom_client *client, struct carom__joined *fresh)
{
    /* relaxed: nobody else changes it once it is lost. It is marked as lost before anything is
     * exchanged, so that a thread that saw the old host hang up cannot blame the new one. */
    uint32_t link = atomic_fetch_or_explicit(&client->link, CAROM__LINK_LOST, memory_order_relaxed);
    pthread_mutex_lock(&client->names.lock);
    pthread_mutex_lock(&client->completions.lock);
    int rc = exchange_locked(client, fresh);
    pthread_mutex_unlock(&client->completions.lock);
    pthread_mutex_unlock(&client->names.lock);
    if (rc < 0)
        return rc;
    /* release: the new descriptors are in place; pairs with carom__client_host_gone */
    atomic_store_explicit(&client->link, (link | CAROM__LINK_LOST) + 1, memory_order_release);
    client->reconnect.held = 0;
    for (uint32_t slot = client->lane.geometry.slots; slot-- > 0;)
        carom__slots_push(&client->slots, slot);
    carom__lane_ring_event(&client->lane);
    return 0;
}

/* ---------------------------------------------------------------- connecting */

static bool is_stopping(const struct carom__joined *joined)
{
    const struct carom__directory *directory = joined->directory;
    /* relaxed: a look; it may stop in the next moment as well */
    return atomic_load_explicit(&directory->state, memory_order_relaxed) == CAROM_STOPPING;
}

/* One attempt. */
static int connect_once(struct carom_client *client, int64_t until_ns)
{
    const struct carom__geometry *geometry = &client->lane.geometry;
    struct carom__joined fresh;
    int socket = carom__connect(client->service, 0);
    if (socket < 0)
        return socket;
    int rc = carom__join(socket, geometry, until_ns, &fresh);
    if (rc < 0)
        return rc;
    rc = is_stopping(&fresh) ? carom__fail(-ECONNREFUSED, "the service is stopping")
                             : exchange(client, &fresh);
    if (rc < 0)
        carom__unjoin(&fresh, geometry);
    return rc;
}

static int connect_again(struct carom_client *client, int64_t until_ns, unsigned flags)
{
    const _Atomic uint32_t *busy = &client->reconnect.busy;
    int rc = take_every_slot(client, until_ns, flags);
    if (rc < 0)
        return rc;
    for (;;) {
        rc = connect_once(client, until_ns);
        if (rc == 0)
            return 0;
        bool may_come = rc == -ENOENT || rc == -ECONNREFUSED || rc == -ETIMEDOUT;
        if (!may_come || flags & CAROM_NOWAIT || carom__now_ns() >= until_ns)
            return fail_because(client, carom_error_detail());
        rc = pause_on(busy, 1, until_ns, flags);
        if (rc == -EINTR)
            return rc;
    }
}

/* ---------------------------------------------------------------- one thread of many */

static bool try_to_be_the_one(struct carom_client *client)
{
    uint32_t idle = 0;
    /* acquire: what the last one left is seen; pairs with the release below. relaxed on failure:
     * nothing is used */
    return atomic_compare_exchange_strong_explicit(&client->reconnect.busy, &idle, 1,
                                                   memory_order_acquire, memory_order_relaxed);
}

static void let_others(struct carom_client *client)
{
    /* release: pairs with the acquire above */
    atomic_store_explicit(&client->reconnect.busy, 0, memory_order_release);
    carom__futex_wake(&client->reconnect.busy, INT32_MAX);
}

static int64_t choose_end_ns(const struct carom_client *client, int64_t deadline_ns)
{
    int64_t end_ns = carom__now_ns();
    end_ns = end_ns > INT64_MAX - client->reconnect.timeout_ns
                 ? INT64_MAX
                 : end_ns + client->reconnect.timeout_ns;
    return end_ns < deadline_ns ? end_ns : deadline_ns;
}

int carom__client_reconnect(struct carom_client *client, int64_t deadline_ns, unsigned flags)
{
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    if (client->reconnect.timeout_ns < 0)
        return carom__client_fail_closed(client);
    const int64_t until_ns = choose_end_ns(client, deadline_ns);
    while (!try_to_be_the_one(client)) {
        if (flags & CAROM_NOWAIT)
            return carom__fail(-EAGAIN, "another thread connects this client again");
        rc = pause_on(&client->reconnect.busy, 1, until_ns, flags);
        if (rc == -ETIMEDOUT)
            return fail_because(client, "another thread still tries");
        if (rc < 0)
            return rc;
    }
    rc = carom__client_is_open(client) ? 0 : connect_again(client, until_ns, flags);
    let_others(client);
    return rc;
}
