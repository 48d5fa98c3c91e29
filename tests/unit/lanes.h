/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes.h - a lane for tests of lane, ring and bell: both sides work on one mapping of one process,
 * which is what the thread sanitizer can see. The memory ends right before a page that cannot be
 * touched and begins right behind another or at the start of its first page, so that a step outside
 * is a crash. */
#ifndef LANES_H
#define LANES_H

#include "lane.h"

struct test_lane {
    struct carom__lane lane;
    struct carom__producer producer;
    char *mapping; /* with its guard pages */
    size_t mapping_bytes;
};

#define TEST_BLOCK_BYTES UINT64_C(4096)

void test_lane_make(struct test_lane *made, uint32_t slots);
void test_lane_drop(struct test_lane *made);

/** The whole of lane control. */
void *test_lane_base(struct test_lane *made);
size_t test_lane_bytes(const struct test_lane *made);

/** Submits a call without deadline, of 8 bytes, for method 7. */
int test_lane_submit(struct test_lane *made, uint32_t slot, uint32_t generation, uint64_t flags);

/** State word, set and read without ceremony. */
uint64_t state_of(struct test_lane *made, uint32_t slot);
void set_state(struct test_lane *made, uint32_t slot, uint64_t state);

uint64_t head_of(struct test_lane *made);
void set_head(struct test_lane *made, uint64_t position);
void set_tail(struct test_lane *made, uint64_t position);

#endif
