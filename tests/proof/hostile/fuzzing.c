/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzzing.c - lanes that are poked. See fuzzing.h. */
#include "fuzzing.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define LANES 2u
/** Pokes that wait for their load. */
#define LATER 8u

static const struct {
    uint32_t slots;
    uint64_t request_bytes, reply_bytes;
} shapes[FUZZ_SHAPES] = {
    {4, 4096, 4096}, {1, 4096, 8192}, {2, 8192, 4096}, {128, 4096, 4096}, {2, 2u << 20, 2u << 20},
};

struct poke {
    char *at;
    unsigned bytes; /* 4 or 8 */
    uint64_t value;
};

static struct {
    struct fuzz_lane *target;
    uint32_t owner;
    uint64_t loads, loads_most; /* of this operation */
    uint64_t next;              /* load before which something is to be done */
    uint64_t soonest;           /* the same, of those below */
    uint64_t when[LATER];       /* UINT64_MAX: free */
    struct poke later[LATER];
    uint64_t storm, calm_mask; /* 0: no storm */
    bool carousel;
} world;

uint64_t fuzz_loads_most;

static struct carom__bell *bell;
/* Everything that is shared lies in here; one test for all in on_load. */
static char *shared;
static size_t shared_used;
#define SHARED_BYTES (UINT64_C(64) << 20)

/* ---------------------------------------------------------------- memory */

/* Poisoned on both sides. */
static char *shared_new(size_t bytes)
{
    if (shared == NULL) {
        shared = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (shared == MAP_FAILED)
            kernel_fail("no shared memory");
        __asan_poison_memory_region(shared, SHARED_BYTES);
        shared_used = PAGE;
    }
    char *made = shared + shared_used;
    shared_used += (bytes + (size_t)2 * PAGE - 1) / PAGE * PAGE;
    if (shared_used > SHARED_BYTES)
        kernel_fail("SHARED_BYTES is too small");
    __asan_unpoison_memory_region(made, bytes);
    return made;
}

static void poison_between(char *blocks, uint32_t slots, uint64_t block_bytes)
{
    __asan_poison_memory_region(blocks, carom__blocks_bytes(slots, block_bytes));
    for (uint32_t slot = 0; slot < slots; slot++)
        __asan_unpoison_memory_region(blocks + carom__block_offset(slot, block_bytes), block_bytes);
}

static void make_lane(struct fuzz_lane *made, unsigned shape)
{
    const struct carom__geometry geometry = {
        .slots = shapes[shape].slots,
        .ring_cells = shapes[shape].slots * CAROM__CELLS_PER_SLOT,
        .request_block_bytes = shapes[shape].request_bytes,
        .reply_block_bytes = shapes[shape].reply_bytes,
    };
    made->control_bytes = carom__control_bytes(&geometry);
    made->control = shared_new(made->control_bytes);
    made->requests = shared_new(carom__blocks_bytes(geometry.slots, geometry.request_block_bytes));
    made->replies = shared_new(carom__blocks_bytes(geometry.slots, geometry.reply_block_bytes));
    poison_between(made->requests, geometry.slots, geometry.request_block_bytes);
    poison_between(made->replies, geometry.slots, geometry.reply_block_bytes);
    carom__lane_view(&made->lane, made->control, &geometry);
}

struct fuzz_lane *fuzz_lane(unsigned number, unsigned shape)
{
    static struct fuzz_lane lanes[LANES][FUZZ_SHAPES];
    struct fuzz_lane *lane = &lanes[number % LANES][shape % FUZZ_SHAPES];
    if (lane->control == NULL)
        make_lane(lane, shape % FUZZ_SHAPES);
    return lane;
}

void fuzz_lane_clear(struct fuzz_lane *lane)
{
    memset(lane->control, 0, lane->control_bytes);
}

struct carom__bell *fuzz_bell(void)
{
    if (bell == NULL)
        bell = (void *)shared_new(sizeof *bell);
    return bell;
}

void fuzz_bell_clear(void)
{
    memset((void *)bell, 0, sizeof *bell);
}

void fuzz_assert_block(const char *blocks, uint32_t slots, uint64_t block_bytes, const void *at,
                       uint64_t bytes)
{
    uint64_t offset = (uint64_t)((const char *)at - blocks);
    uint64_t slot = offset / carom__block_stride(block_bytes);
    if (slot >= slots || offset != carom__block_offset((uint32_t)slot, block_bytes) ||
        bytes > block_bytes)
        kernel_fail("%llu bytes at offset %llu are not in a block of %llu",
                    (unsigned long long)bytes, (unsigned long long)offset,
                    (unsigned long long)block_bytes);
}

/* ---------------------------------------------------------------- values */

static uint32_t generation_of(uint64_t random)
{
    return random % 8 == 7 ? (uint32_t)(random >> 8) & CAROM__GENERATION_MASK
                           : (uint32_t)(random % 4);
}

static uint64_t state_of(uint64_t random)
{
    const uint32_t owners[] = {
        0, 0, world.owner, world.owner, CAROM__OWNER_CLIENT, (uint32_t)(random >> 32)};
    uint64_t flags = random >> 8 & (random >> 16 & 1 ? CAROM__FLAGS_MASK : 0);
    return carom__state((enum carom__phase)(random & (random & 0x80 ? 7 : 3)),
                        generation_of(random >> 20), owners[(random >> 40) % 6]) |
           flags;
}

static uint64_t cell_of(uint64_t random)
{
    const struct carom__lane *lane = &world.target->lane;
    /* relaxed: one thread */
    uint64_t head = atomic_load_explicit(lane->ring.head, memory_order_relaxed);
    uint64_t lap = carom__ring_lap(&lane->ring, head) + (random % 8 == 7 ? -1 : random % 8 == 6);
    uint32_t slot = (uint32_t)(random >> 8) % (lane->geometry.slots + (random % 16 == 15 ? 9 : 0));
    return carom__cell(lap, generation_of(random >> 24), slot);
}

static uint64_t length_of(uint64_t random)
{
    const struct carom__geometry *geometry = &world.target->lane.geometry;
    const uint64_t lengths[] = {
        0,
        1,
        geometry->request_block_bytes,
        geometry->reply_block_bytes,
        geometry->request_block_bytes + 1,
        geometry->reply_block_bytes + 1,
        UINT64_MAX,
        random >> 8,
    };
    return random & 0x80 ? random >> 8 & 0x3ff : lengths[random % 8];
}

static uint64_t slot_word(size_t offset, uint64_t random)
{
    switch (offset) {
    case offsetof(struct carom__slot, state):
        return state_of(random);
    case offsetof(struct carom__slot, deadline_ns):
        return random % 3 == 0   ? (uint64_t)INT64_MAX
               : random % 3 == 1 ? (uint64_t)kernel.now_ns + (random >> 8 & 0xfffff)
                                 : random;
    case offsetof(struct carom__slot, request_bytes):
    case offsetof(struct carom__slot, reply_bytes):
        return length_of(random);
    case offsetof(struct carom__slot, method): /* and status behind it */
        return (random & 1   ? random >> 8 & 3
                : random & 2 ? CAROM__METHOD_TRIM
                             : random >> 8) |
               (random >> 40) % 18 << 32;
    default:
        return random;
    }
}

/* Something that a peer could write there, most of it likely. */
static uint64_t likely_value(const char *at, uint64_t random)
{
    const struct fuzz_lane *lane = world.target;
    size_t offset = (size_t)(at - lane->control);
    if (offset >= lane->control_bytes || random >> 60 == 0)
        return random;
    if (offset == offsetof(struct carom__lane_control, head))
        /* relaxed: one thread */
        return atomic_load_explicit(lane->lane.ring.head, memory_order_relaxed) + random % 64 - 16;
    if (offset < sizeof(struct carom__lane_control))
        return random;
    if (offset < carom__slots_offset(&lane->lane.geometry))
        return cell_of(random);
    return slot_word(
        (offset - carom__slots_offset(&lane->lane.geometry)) % sizeof(struct carom__slot), random);
}

/* ---------------------------------------------------------------- pokes */

static void write_poke(const struct poke *poke)
{
    memcpy(poke->at, &poke->value, poke->bytes);
}

static char *place_in_slot(unsigned kind, unsigned index)
{
    static const size_t fields[] = {
        offsetof(struct carom__slot, state),       offsetof(struct carom__slot, request_bytes),
        offsetof(struct carom__slot, reply_bytes), offsetof(struct carom__slot, method),
        offsetof(struct carom__slot, deadline_ns), offsetof(struct carom__slot, status),
        offsetof(struct carom__slot, deaths),      offsetof(struct carom__slot, state) + 4,
    };
    const struct carom__lane *lane = &world.target->lane;
    return (char *)&lane->slots[index % lane->geometry.slots] + fields[kind];
}

/* Where: a kind, most of them fields of slots, and which of them. */
static char *place_of(unsigned kind, unsigned index)
{
    const struct fuzz_lane *lane = world.target;
    struct carom__lane_control *control = lane->lane.control;
    if (kind < 8)
        return place_in_slot(kind, index);
    switch (kind) {
    case 8:
    case 9:
        return (char *)&lane->lane.ring.cells[index % lane->lane.geometry.ring_cells];
    case 10:
        return (char *)&control->head;
    case 11:
        return (char *)&control->event;
    case 12:
        return (char *)&control->completed[index % (CAROM__MAX_SLOTS / 64)];
    case 13:
        return (char *)&bell->ready[index % CAROM__LANE_WORDS];
    case 14:
        return (char *)&bell->parked[index % CAROM__WORKER_WORDS];
    default: /* a worker's park word too, now and then */
        return index == 255 ? (char *)&bell->parks[0].word
                            : lane->control + (size_t)index * 8 % lane->control_bytes;
    }
}

static struct poke read_poke(struct fuzz_input *input)
{
    unsigned where = (unsigned)fuzz_take(input, 1), index = (unsigned)fuzz_take(input, 1);
    unsigned how = (unsigned)fuzz_take(input, 1);
    struct poke poke = {.at = place_of(where % 16, index)};
    poke.bytes = (uintptr_t)poke.at % 8 != 0 || where % 16 == 15 ? 4 : 8;
    if (how < 32) /* raw */
        poke.value = fuzz_take(input, how % 9);
    else /* mixed, so that few bytes of input reach every bit */
        poke.value = likely_value(poke.at, (how * UINT64_C(0x9e3779b97f4a7c15)) ^
                                               fuzz_take(input, how % 6) << 8);
    return poke;
}

void fuzz_poke(struct fuzz_input *input)
{
    struct poke poke = read_poke(input);
    write_poke(&poke);
}

static void find_next(void)
{
    world.soonest = UINT64_MAX;
    for (unsigned i = 0; i < LATER; i++) {
        if (world.when[i] < world.soonest)
            world.soonest = world.when[i];
    }
    world.next = world.soonest < world.loads_most ? world.soonest : world.loads_most;
    if (world.storm != 0 || world.carousel)
        world.next = 0;
}

void fuzz_poke_later(struct fuzz_input *input)
{
    uint64_t when = world.loads + fuzz_take(input, 1) % 96;
    struct poke poke = read_poke(input);
    for (unsigned i = 0; i < LATER; i++) {
        if (world.when[i] != UINT64_MAX)
            continue;
        world.when[i] = when;
        world.later[i] = poke;
        break;
    }
    find_next();
}

void fuzz_storm(struct fuzz_input *input)
{
    static const uint64_t masks[] = {0, 1, 3, 7, 15, 63, 255, 1023};
    unsigned how = (unsigned)fuzz_take(input, 1);
    world.carousel = (how & 0x70) == 0x40;
    world.calm_mask = masks[how % 8];
    world.storm = how & 0x80 ? 0 : (fuzz_take(input, 2) + 1) * UINT64_C(0x9e3779b97f4a7c15);
    find_next();
}

void fuzz_calm(void)
{
    world.storm = 0;
    world.carousel = false;
    memset(world.when, 0xff, sizeof world.when);
    find_next();
}

void fuzz_begin(struct fuzz_lane *target, uint32_t owner)
{
    world.target = target;
    world.owner = owner;
    world.loads = 0;
    world.loads_most = UINT64_MAX;
    fuzz_calm();
}

void fuzz_operation(uint64_t loads)
{
    for (unsigned i = 0; i < LATER; i++) {
        if (world.when[i] != UINT64_MAX)
            world.when[i] -= world.when[i] < world.loads ? world.when[i] : world.loads;
    }
    if (world.loads > fuzz_loads_most)
        fuzz_loads_most = world.loads;
    world.loads = 0;
    world.loads_most = loads;
    find_next();
    kernel_operation();
}

/* ---------------------------------------------------------------- every load of the library */

/* Whether the peer that is hostile can write there: not to the lane of an honest one. */
static bool is_hostile(const char *at)
{
    const struct fuzz_lane *lane = world.target;
    const struct carom__geometry *geometry = &lane->lane.geometry;
    return (size_t)(at - lane->control) < lane->control_bytes ||
           (size_t)(at - (const char *)bell) < sizeof *bell ||
           (size_t)(at - lane->replies) <
               carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes);
}

/* The word that is about to be read, or any other, becomes something else. */
static void blow(char *at)
{
    uint64_t random = world.storm;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    world.storm = random;
    if ((random & world.calm_mask) != 0 || !is_hostile(at))
        return;
    uint64_t mixed = random * UINT64_C(0x2545f4914f6cdd1d);
    char *word = (char *)((uintptr_t)at & ~(uintptr_t)7);
    if (random >> 32 & 1)
        word = place_of((unsigned)(random >> 33) % 13, (unsigned)(random >> 40));
    struct poke poke = {(char *)((uintptr_t)word & ~(uintptr_t)7), 8, likely_value(word, mixed)};
    write_poke(&poke);
}

/* Whoever looks at head finds a cell there, again and again, of a call that is over. */
static void turn(const char *at)
{
    const struct carom__ring *ring = &world.target->lane.ring;
    if (at != (const char *)ring->head)
        return;
    /* relaxed: one thread */
    uint64_t head = atomic_load_explicit(ring->head, memory_order_relaxed);
    atomic_store_explicit(&ring->cells[carom__ring_at(ring, head)],
                          carom__cell(carom__ring_lap(ring, head), CAROM__GENERATION_MASK, 0),
                          memory_order_relaxed);
}

static void write_due(void)
{
    for (unsigned i = 0; i < LATER; i++) {
        if (world.when[i] > world.loads)
            continue;
        world.when[i] = UINT64_MAX;
        write_poke(&world.later[i]);
    }
    find_next();
}

static void at_load(char *at)
{
    if (world.loads >= world.loads_most)
        kernel_fail("an operation loads from shared memory more than %llu times",
                    (unsigned long long)world.loads_most);
    if (world.loads >= world.soonest)
        write_due();
    if (world.carousel)
        turn(at);
    if (world.storm != 0)
        blow(at);
}

static inline void on_load(const void *at)
{
    if ((uintptr_t)at - (uintptr_t)shared >= shared_used)
        return;
    if (world.loads >= world.next)
        at_load((char *)(uintptr_t)at);
    world.loads++;
}

void __sanitizer_cov_load1(uint8_t *at);
void __sanitizer_cov_load2(uint16_t *at);
void __sanitizer_cov_load4(uint32_t *at);
void __sanitizer_cov_load8(uint64_t *at);
void __sanitizer_cov_load16(void *at);

void __sanitizer_cov_load1(uint8_t *at)
{
    on_load(at);
}

void __sanitizer_cov_load2(uint16_t *at)
{
    on_load(at);
}

void __sanitizer_cov_load4(uint32_t *at)
{
    on_load(at);
}

void __sanitizer_cov_load8(uint64_t *at)
{
    on_load(at);
}

void __sanitizer_cov_load16(void *at)
{
    on_load(at);
}

/* For fuzzers.py, when the program ends. */
__attribute__((destructor)) static void say_most(void)
{
    fprintf(stderr, "loads of one operation at most: %llu\n", (unsigned long long)fuzz_loads_most);
}
