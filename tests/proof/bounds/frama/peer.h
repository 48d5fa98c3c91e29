/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.h - what an entry of the bound check stands on: values that nobody knows, memory that a peer
 * can write, and the shapes a lane can have. */
#ifndef BOUNDS_PEER_H
#define BOUNDS_PEER_H

#include <stdint.h>
#include <stdlib.h>

#include "__fc_builtin.h" /* Frama-C's */

#include "lane.h"

/** Slots of the lanes that an entry is analysed with: powers of two from FIRST to LAST. */
#ifndef BOUNDS_SLOTS_FIRST
#define BOUNDS_SLOTS_FIRST 4u
#endif
#ifndef BOUNDS_SLOTS_LAST
#define BOUNDS_SLOTS_LAST 4u
#endif

/** Volatile: each read is any value of the type. */
extern volatile uint64_t any64;
extern volatile uint32_t any32;
extern volatile int32_t any_int;
extern volatile int64_t any_signed64;
extern volatile unsigned char any_byte;

static inline bool maybe(void)
{
    return any32 & 1;
}

static inline uint32_t any_below(uint32_t count)
{
    return any32 % count;
}

static inline uint64_t any_up_to(uint64_t most)
{
    uint64_t value = any64;
    return value <= most ? value : most;
}

/** Memory of exactly so many bytes. One byte further is an alarm. */
static inline void *memory(size_t bytes)
{
    void *base = calloc(1, bytes);
    if (base == NULL)
        exit(1);
    return base;
}

static inline struct carom__geometry geometry_of(uint32_t slots, uint64_t block_bytes)
{
    return (struct carom__geometry){slots, slots * CAROM__CELLS_PER_SLOT, block_bytes, block_bytes};
}

/** Memory of any content that nobody writes while it is looked at. */
static inline void *unknown(size_t bytes)
{
    char *base = memory(bytes);
    Frama_C_make_unknown(base, bytes);
    return base;
}

/** A lane in memory of exactly its size. */
static inline void open_lane(struct carom__lane *lane, const struct carom__geometry *geometry)
{
    carom__lane_view(lane, memory(carom__control_bytes(geometry)), geometry);
}

/** Runs `entry` for every shape: each number of slots, with the smallest and the largest blocks. */
#define FOR_EACH_GEOMETRY(entry)                                                                   \
    do {                                                                                           \
        /*@ loop unroll 16; */                                                                     \
        for (uint32_t slots = BOUNDS_SLOTS_FIRST; slots <= BOUNDS_SLOTS_LAST; slots *= 2) {        \
            struct carom__geometry small = geometry_of(slots, CAROM__PAGE_BYTES);                  \
            struct carom__geometry large = geometry_of(slots, UINT64_C(1) << 40);                  \
            entry(&small);                                                                         \
            entry(&large);                                                                         \
        }                                                                                          \
    } while (0)

#endif
