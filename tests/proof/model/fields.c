/* SPDX-License-Identifier: Apache-2.0
 *
 * fields.c - what an address in shared memory is, and which operation of the library a task is in:
 * for suites that count what is read by whom. */
#include "arena.h"
#include "tasks.h"
#include "world.h"

#include <stdio.h>

/* ---------------------------------------------------------------- operations and fields */

static struct {
    const char *name;
    unsigned number;
} operations[MODEL_TASKS + 1];

void world_operation(const char *name)
{
    operations[task_self()].name = name;
    operations[task_self()].number++;
}

const char *world_operation_name(unsigned task)
{
    return operations[task].name == NULL ? "nothing" : operations[task].name;
}

unsigned world_operation_number(unsigned task)
{
    return operations[task].number;
}

static const char *field_of_control(const struct carom__geometry *geometry, size_t offset)
{
    static const char *const fields[] = {"slot.state",         "slot.deadline_ns",
                                         "slot.request_bytes", "slot.reply_bytes",
                                         "slot.method",        "slot.deaths"};
    size_t slots = carom__slots_offset(geometry);
    if (offset < 128)
        return "lane.geometry";
    if (offset < 256)
        return "lane.head";
    if (offset < 384)
        return "lane.event";
    if (offset < carom__cells_offset())
        return "lane.completed";
    if (offset < slots)
        return "ring.cell";
    size_t at = (offset - slots) % sizeof(struct carom__slot);
    if (at == offsetof(struct carom__slot, status))
        return "slot.status";
    return at < 48 ? fields[at / 8] : "slot.reserved";
}

static const char *field_of_bell(size_t offset)
{
    return offset < 128 ? "bell.parked" : offset < 256 ? "bell.ready" : "bell.park";
}

static const char *field_of_directory(size_t offset)
{
    static const char *const fields[] = {"change",       "state",        "method_count",
                                         "worker_count", "client_count", "host_pid"};
    static char name[48];
    if (offset >= offsetof(struct carom__directory, service))
        return "directory.texts";
    if (offset >= 24)
        return "directory.times";
    snprintf(name, sizeof name, "directory.%s", fields[offset / 4]);
    return name;
}

/* Lanes of one service are alike here, and known by their size, also when their client has gone. */
static struct carom__geometry geometry_of_lanes(void)
{
    return (struct carom__geometry){world_options.slots,
                                    world_options.slots * CAROM__CELLS_PER_SLOT, 4096, 4096};
}

const char *world_field(const void *at)
{
    const struct arena_region *region = arena_find(at);
    const struct carom__geometry geometry = geometry_of_lanes();
    size_t offset = (size_t)((const char *)at - region->at);
    if (region->bytes == carom__control_bytes(&geometry))
        return field_of_control(&geometry, offset);
    if (region->bytes == carom__blocks_bytes(geometry.slots, 4096))
        return "block";
    if (region->at == (const char *)world->host->bell)
        return field_of_bell(offset);
    if (region->at == (const char *)world->host->directory)
        return field_of_directory(offset);
    return "statistics";
}

uint64_t world_life(const void *at)
{
    const struct arena_region *region = arena_find(at);
    const struct carom__geometry geometry = geometry_of_lanes();
    size_t offset = (size_t)((const char *)at - region->at);
    size_t slots = carom__slots_offset(&geometry);
    if (region->bytes != carom__control_bytes(&geometry) || offset < slots)
        return 0;
    offset -= (offset - slots) % sizeof(struct carom__slot);
    return carom__state_generation(*(const uint64_t *)(const void *)(region->at + offset));
}
