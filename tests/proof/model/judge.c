/* SPDX-License-Identifier: Apache-2.0
 *
 * judge.c - the end of an execution: nothing is lost, nothing is twice, everything adds up. */
#include "kernel.h"
#include "tasks.h"
#include "world.h"

/* ---------------------------------------------------------------- judging */

static void check_calls(void)
{
    for (unsigned number = 0; number < WORLD_CALLS; number++) {
        const struct world_call *call = &world->calls[number];
        if (call->runs > 1 && !call->idempotent && !world_options.idempotent)
            model_fail("call %u ran %u times", number, call->runs);
        if (call->runs > 0 && !call->submitted && !process_is_dead(CLIENT) &&
            !process_is_dead(CLIENT_2))
            model_fail("call %u ran, and was not submitted", number);
    }
}

/* Every slot is free or abandoned to a call that nobody will end any more. */
static void check_slots(unsigned index, unsigned process)
{
    struct carom_client *client = world->clients[index];
    if (client == NULL || world->client_closed[index] || process_is_dead(process))
        return;
    uint32_t free_slots = carom__slots_free(&client->slots);
    if (process_is_dead(HOST))
        return; /* calls that ran then are nobody's any more */
    if (free_slots != client->lane.geometry.slots)
        model_fail("client %u has %u slots of %u", index + 1, free_slots,
                   client->lane.geometry.slots);
    for (uint32_t slot = 0; slot < client->lane.geometry.slots; slot++) {
        enum carom__phase phase = carom__state_phase(client->lane.slots[slot].state);
        if (phase != CAROM__DONE && phase != CAROM__FREE)
            model_fail("slot %u of client %u stays in phase %d", slot, index + 1, (int)phase);
    }
}

static unsigned live_clients(void)
{
    unsigned count = 0;
    for (unsigned index = 0; index < 2; index++)
        count += world->clients[index] != NULL && !world->client_closed[index] &&
                 !process_is_dead(CLIENT + index);
    return count;
}

static unsigned live_workers(void)
{
    unsigned count = 0;
    for (unsigned index = 0; index < 2; index++)
        count += world->workers[index] != NULL && !world->worker_closed[index] &&
                 !process_is_dead(WORKER + index);
    return count;
}

/* Per client: socket, pidfd, three objects; per worker: socket, pidfd. Mappings: three objects of
 * its own, and lane control of each client; a worker has three objects and three of each lane. */
static void check_belongings(void)
{
    if (process_is_dead(HOST))
        return;
    unsigned descriptors = world->host_descriptors + 5 * live_clients() + 2 * live_workers();
    if (kernel_descriptors(HOST) != descriptors)
        model_fail("the host has %u descriptors instead of %u", kernel_descriptors(HOST),
                   descriptors);
    if (kernel_mappings(HOST) != 3 + live_clients())
        model_fail("the host has %u mappings instead of %u", kernel_mappings(HOST),
                   3 + live_clients());
    for (unsigned index = 0; index < 2; index++) {
        unsigned process = WORKER + index;
        if (world->workers[index] == NULL || world->worker_closed[index] ||
            process_is_dead(process))
            continue;
        if (kernel_mappings(process) != 3 + 3 * live_clients())
            model_fail("worker %u has %u mappings instead of %u", index + 1,
                       kernel_mappings(process), 3 + 3 * live_clients());
    }
}

void world_check(void)
{
    if (world_options.worker_ends && !world->worker_closed[0] && !process_is_dead(WORKER) &&
        !(model_mode.killable & 1u << HOST)) /* then it finds out by itself, half a second later */
        model_fail("a worker did not hear that it should leave");
    check_calls();
    check_slots(0, CLIENT);
    check_slots(1, CLIENT_2);
    check_belongings();
}

void world_check_alive(void)
{
    if (!process_is_dead(CLIENT_2) && !world->client_closed[1])
        model_fail("the honest client did not come to its end");
}

void world_check_honest(void)
{
    world_check_alive();
    for (unsigned number = WORLD_HONEST; number < WORLD_HONEST + 2; number++) {
        const struct world_call *call = &world->calls[number];
        if (call->runs != 1 || call->outcomes != 1 || call->outcome != CAROM_OK)
            model_fail("call %u of the honest client ran %u times and ended %u times, with %d",
                       number, call->runs, call->outcomes, call->outcome);
    }
}
