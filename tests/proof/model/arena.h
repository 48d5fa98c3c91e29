/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.h - all memory of the modelled world in one place, so that it can be put back to what it
 * was after set-up in microseconds, compared by a hash, and guarded byte by byte.
 *
 * Everything that a logical process allocates or maps is a region: shared objects, heap blocks, the
 * modelled kernel's own tables. A region begins on a page of its own and a page that belongs to
 * nobody follows it. Writes are announced (arena_touch) before they are made: by the library's
 * instrumented code through accesses.c, by the harness itself by hand. A block of 64 bytes that was
 * touched after arena_keep is dirty: it counts in the hash and is restored by arena_restore. */
#ifndef ARENA_H
#define ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_BYTES (UINT64_C(16) << 20)
#define ARENA_PAGE 4096u
#define ARENA_BLOCK 64u
#define ARENA_GRANULE 8u
#define ARENA_GRANULES (ARENA_BYTES / ARENA_GRANULE)

enum arena_kind {
    ARENA_NONE = 0,
    ARENA_KERNEL,  /* tables of the harness */
    ARENA_PRIVATE, /* heap of one process */
    ARENA_SHARED,  /* a memory object */
};

struct arena_region {
    char *at;
    size_t bytes;
    enum arena_kind kind;
    unsigned owner; /* process of a private region */
    unsigned tag;   /* for kernel_memory.c: which object it is */
    const char *name;
};

/** Starts all over: no regions. */
void arena_reset(void);

/** Zeroed memory. Before arena_keep regions are made for good; afterwards until arena_restore. */
void *arena_make(const char *name, size_t bytes, enum arena_kind kind, unsigned owner);

/** Nobody may touch it any more. False: not the beginning of a private region. */
bool arena_free(void *at);

/** Private regions of a process that were not freed. */
unsigned arena_count(unsigned owner);

/** The region of an address; NULL: not in the arena, or between regions. */
struct arena_region *arena_find(const void *at);

/** Whether an address lies in the arena's range at all. */
bool arena_holds(const void *at);

/** Number of an 8-byte granule. */
uint32_t arena_granule(const void *at);

/** "object+offset", in a static buffer. */
const char *arena_name(const void *at);

/** About to be written. */
void arena_touch(const void *at, size_t bytes);

/** What is there now is what arena_restore brings back. */
void arena_keep(void);
void arena_restore(void);

/** Of everything that differs from what was kept. */
uint64_t arena_hash(void);

uint64_t arena_mix(uint64_t hash, uint64_t value);
uint64_t arena_hash_bytes(uint64_t hash, const void *at, size_t bytes);

#endif
