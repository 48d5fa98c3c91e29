/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzzing.h - what the fuzz targets have in common: an input that is read as a list of operations,
 * lanes whose every byte can be poked, and memory that changes under the library's eyes.
 *
 * The library is compiled so that each of its loads calls on_load in fuzzing.c first (trace-loads
 * of clang's coverage). So an input can say "before the fifth load from now this word becomes
 * that", and a storm changes the word that is about to be read, again and again. That finds a value
 * that is fetched twice. And it counts: an operation that loads from shared memory more often than
 * it may (fuzz_operation) fails.
 *
 * Blocks of a lane lie as in life, a stride apart; what lies between them is poisoned for
 * AddressSanitizer, as is what lies before and behind control and bell. */
#ifndef FUZZING_H
#define FUZZING_H

#include "bell.h"
#include "client.h"
#include "kernel.h"
#include "lane.h"

/* ---- the input */

struct fuzz_input {
    const uint8_t *at, *end;
};

static inline bool fuzz_more(const struct fuzz_input *input)
{
    return input->at < input->end;
}

/** The next bytes as a number, little-endian; zeros behind the end. */
static inline uint64_t fuzz_take(struct fuzz_input *input, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && input->at < input->end; i++)
        value |= (uint64_t)*input->at++ << (8 * i);
    return value;
}

/* ---- a lane */

struct fuzz_lane {
    struct carom__lane lane;
    char *control;
    size_t control_bytes;
    char *requests, *replies; /* NULL: none */
};

#define FUZZ_SHAPES 5u

/** Lanes of different shapes, with blocks, made once. `number` keeps several apart. */
struct fuzz_lane *fuzz_lane(unsigned number, unsigned shape);

/** Fresh memory. */
void fuzz_lane_clear(struct fuzz_lane *lane);

/** A bell that ends at poisoned memory; one for all lanes. */
struct carom__bell *fuzz_bell(void);
void fuzz_bell_clear(void);

/** Fails unless [at, at + bytes) is the beginning of one of these blocks. */
void fuzz_assert_block(const char *blocks, uint32_t slots, uint64_t block_bytes, const void *at,
                       uint64_t bytes);

/* ---- changing it */

/** Which lane pokes and storms hit (NULL: none), and which owner its states name. */
void fuzz_begin(struct fuzz_lane *target, uint32_t owner);

/** Reads a place and a value from the input and writes it: now, or before a later load. */
void fuzz_poke(struct fuzz_input *input);
void fuzz_poke_later(struct fuzz_input *input);

/** From now on words change while they are read, or the ring never ends, or both. */
void fuzz_storm(struct fuzz_input *input);

/** Nothing changes by itself any more. */
void fuzz_calm(void);

/** An operation of the library begins. It may load from shared memory as often as `loads`. */
void fuzz_operation(uint64_t loads);

/** The most loads of shared memory that any one operation made. */
extern uint64_t fuzz_loads_most;

/** What one look at a lane may cost: once round the ring, every cell a call whose word changes with
 *  each of 16 attempts. */
static inline uint64_t fuzz_look_loads(const struct fuzz_lane *lane)
{
    return 24u * lane->lane.geometry.ring_cells + 64u;
}

#endif
