/* SPDX-License-Identifier: Apache-2.0
 *
 * call_begin.c - beginning a call that meets an obstacle: the service has gone, its methods are not
 * known yet, every slot is in use. */
#include "client.h"
#include "error.h"

#include <errno.h>

#define KNOWN_FLAGS ((unsigned)(CAROM_NOWAIT | CAROM_NOTIFY | CAROM_INTERRUPTIBLE))

void carom__client_put_slot(struct carom_client *client, uint32_t slot)
{
    carom__slots_push(&client->slots, slot);
    /* seq_cst: after the push; pairs with await_slot */
    if (atomic_load_explicit(&client->slot_waiters, memory_order_seq_cst) > 0)
        carom__lane_ring_event(&client->lane);
}

static bool slot_ready(struct carom_client *client, int64_t *end_ns)
{
    (void)end_ns;
    carom__client_collect(client);
    return carom__slots_free(&client->slots) > 0;
}

/* Every slot is in use: waits for one. */
static int await_slot(struct carom_client *client, int64_t deadline_ns, unsigned flags,
                      uint32_t *slot)
{
    int rc = 0;
    *slot = carom__slots_pop(&client->slots);
    if (*slot != CAROM__NO_SLOT)
        return 0;
    carom__client_collect(client);
    *slot = carom__slots_pop(&client->slots);
    if (*slot != CAROM__NO_SLOT)
        return 0;
    if (flags & CAROM_NOWAIT)
        return carom__fail(-EAGAIN, "all %u slots are in use", client->lane.geometry.slots);
    /* seq_cst: announced before the next look at the stack; pairs with carom__client_put_slot */
    atomic_fetch_add_explicit(&client->slot_waiters, 1, memory_order_seq_cst);
    while (rc == 0 && (*slot = carom__slots_pop(&client->slots)) == CAROM__NO_SLOT)
        rc = carom__client_sleep(client, slot_ready, deadline_ns, flags);
    /* relaxed: one waiter less publishes nothing */
    atomic_fetch_sub_explicit(&client->slot_waiters, 1, memory_order_relaxed);
    return rc == -ETIMEDOUT ? carom__fail(rc, "all %u slots stayed in use until the deadline",
                                          client->lane.geometry.slots)
                            : rc;
}

/* One way round the obstacles. 1: something has changed meanwhile, look again. */
static int find_slot(struct carom_client *client, int method, int64_t deadline_ns, unsigned flags,
                     uint32_t *slot)
{
    int rc = 0;
    if (!carom__client_is_open(client))
        rc = carom__client_reconnect(client, deadline_ns, flags);
    if (rc < 0)
        return rc;
    rc = carom__method_await(client, method, deadline_ns, flags);
    if (rc == 0)
        rc = await_slot(client, deadline_ns, flags, slot);
    if (rc == -EHOSTDOWN || rc == -ESHUTDOWN)
        return 1;
    return rc;
}

CAROM__RARE int carom__begin_carefully(struct carom_client *client, int method, int64_t timeout_ns,
                                       unsigned flags, struct carom_call **begun)
{
    const int64_t deadline_ns = carom__deadline_ns(timeout_ns);
    uint32_t slot = CAROM__NO_SLOT, id = 0;
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    if (method < 0 || method >= (int)CAROM__MAX_METHODS || (flags & ~KNOWN_FLAGS) != 0)
        return carom__fail(-EINVAL, "method %d or flags 0x%x are not valid", method, flags);
    for (;;) {
        rc = find_slot(client, method, deadline_ns, flags, &slot);
        if (rc < 0)
            return rc;
        if (rc > 0)
            continue;
        /* relaxed: the slot in hand says which connection the id is of */
        id = atomic_load_explicit(&client->method_ids[method], memory_order_relaxed);
        if (id != CAROM__UNRESOLVED)
            return carom__call_found(client, slot, id, timeout_ns, deadline_ns, flags, begun);
        carom__client_put_slot(client, slot); /* of a connection that was made just now */
    }
}
