/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes.c - the lane of one process. See lanes.h. */
#include "lanes.h"

#include "support.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096u

void test_lane_make(struct test_lane *made, uint32_t slots)
{
    struct carom__geometry geometry = {
        .slots = slots,
        .ring_cells = slots * CAROM__CELLS_PER_SLOT,
        .request_block_bytes = TEST_BLOCK_BYTES,
        .reply_block_bytes = TEST_BLOCK_BYTES,
    };
    size_t bytes = carom__control_bytes(&geometry);
    size_t inner = (bytes + PAGE - 1) / PAGE * PAGE;
    *made = (struct test_lane){.mapping_bytes = inner + 2 * (size_t)PAGE};
    made->mapping = mmap(NULL, made->mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(made->mapping != MAP_FAILED);
    require(mprotect(made->mapping + PAGE, inner, PROT_READ | PROT_WRITE) == 0);
    carom__lane_view(&made->lane, made->mapping + PAGE + inner - bytes, &geometry);
    made->producer.cells = calloc(geometry.ring_cells, sizeof *made->producer.cells);
    require(made->producer.cells != NULL);
}

void test_lane_drop(struct test_lane *made)
{
    munmap(made->mapping, made->mapping_bytes);
    free((void *)made->producer.cells);
}

void *test_lane_base(struct test_lane *made)
{
    return made->lane.control;
}

size_t test_lane_bytes(const struct test_lane *made)
{
    return carom__control_bytes(&made->lane.geometry);
}

int test_lane_submit(struct test_lane *made, uint32_t slot, uint32_t generation, uint64_t flags)
{
    struct carom__submission submission = {
        .slot = slot,
        .generation = generation,
        .method = 7,
        .flags = flags,
        .deadline_ns = INT64_MAX,
        .request_bytes = 8,
    };
    return carom__lane_submit(&made->lane, &made->producer, &submission);
}

uint64_t state_of(struct test_lane *made, uint32_t slot)
{
    return atomic_load(&made->lane.slots[slot].state);
}

void set_state(struct test_lane *made, uint32_t slot, uint64_t state)
{
    atomic_store(&made->lane.slots[slot].state, state);
}

uint64_t head_of(struct test_lane *made)
{
    return atomic_load(&made->lane.control->head);
}

void set_head(struct test_lane *made, uint64_t position)
{
    atomic_store(&made->lane.control->head, position);
}

void set_tail(struct test_lane *made, uint64_t position)
{
    atomic_store(&made->producer.tail, position);
    atomic_store(&made->producer.head_seen, head_of(made));
}
