/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.c - tracked memory: regions, dirty blocks, their hash. See arena.h. */
#include "arena.h"

#include "model.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES (ARENA_BYTES / ARENA_PAGE)
#define BLOCKS (ARENA_BYTES / ARENA_BLOCK)
#define REGIONS 4096u

/** Fixed, so that pointers, and with them hashes, are the same in every run. */
#define ARENA_AT ((char *)UINT64_C(0x200000000000))

struct block {
    uint64_t contribution; /* to the hash; 0 while it is as it was kept */
    bool dirty;
    bool stale; /* touched since the hash was taken */
};

static char *base, *kept;
static uint64_t used_bytes, kept_bytes, most_bytes;
static struct arena_region regions[REGIONS];
static uint32_t region_count, kept_regions;
static uint16_t region_of_page[PAGES];
static uint16_t freed[REGIONS]; /* since they were kept */
static uint32_t freed_count;
static struct block blocks[BLOCKS];
static uint32_t dirty[BLOCKS], dirty_count, stale[BLOCKS], stale_count;
static uint64_t hash;

static void *map_at(char *at)
{
    void *memory = mmap(at, ARENA_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        model_bug("cannot map the arena");
    return memory;
}

static void clear_marks(void)
{
    for (uint32_t i = 0; i < dirty_count; i++)
        blocks[dirty[i]] = (struct block){0};
    dirty_count = stale_count = 0;
    hash = 0;
}

void arena_reset(void)
{
    if (base == NULL) {
        base = map_at(ARENA_AT);
        kept = map_at(ARENA_AT + 2 * ARENA_BYTES);
    }
    memset(base, 0, most_bytes);
    memset(kept, 0, most_bytes);
    memset(region_of_page, 0, sizeof region_of_page);
    clear_marks();
    used_bytes = kept_bytes = 0;
    freed_count = 0;
    region_count = kept_regions = 0;
}

void *arena_make(const char *name, size_t bytes, enum arena_kind kind, unsigned owner)
{
    uint64_t pages = (bytes + ARENA_PAGE - 1) / ARENA_PAGE + 1;
    if (used_bytes + pages * ARENA_PAGE > ARENA_BYTES || region_count + 1 == REGIONS)
        model_bug("the arena is full: %s of %zu bytes", name, bytes);
    char *at = base + used_bytes;
    uint16_t number = (uint16_t)++region_count;
    regions[number] = (struct arena_region){at, bytes, kind, owner, 0, name};
    for (uint64_t page = 0; page + 1 < pages; page++)
        region_of_page[used_bytes / ARENA_PAGE + page] = number;
    used_bytes += pages * ARENA_PAGE;
    if (used_bytes > most_bytes)
        most_bytes = used_bytes;
    return at;
}

bool arena_holds(const void *at)
{
    return (uintptr_t)at - (uintptr_t)base < ARENA_BYTES;
}

struct arena_region *arena_find(const void *at)
{
    if (!arena_holds(at))
        return NULL;
    uint16_t number = region_of_page[((uintptr_t)at - (uintptr_t)base) / ARENA_PAGE];
    return number == 0 || regions[number].kind == ARENA_NONE ? NULL : &regions[number];
}

bool arena_free(void *at)
{
    struct arena_region *region = arena_find(at);
    if (region == NULL || region->kind != ARENA_PRIVATE || region->at != at)
        return false;
    region->kind = ARENA_NONE;
    freed[freed_count++] = (uint16_t)(region - regions);
    return true;
}

unsigned arena_count(unsigned owner)
{
    unsigned count = 0;
    for (uint32_t i = 1; i <= region_count; i++)
        count += regions[i].kind == ARENA_PRIVATE && regions[i].owner == owner;
    return count;
}

uint32_t arena_granule(const void *at)
{
    return (uint32_t)(((uintptr_t)at - (uintptr_t)base) / ARENA_GRANULE);
}

const char *arena_name(const void *at)
{
    static char text[2][128];
    static unsigned turn;
    char *to = text[turn++ % 2];
    const struct arena_region *region = arena_find(at);
    if (region == NULL)
        snprintf(to, sizeof text[0], "%p (no region)", at);
    else
        snprintf(to, sizeof text[0], "%s+%zu", region->name,
                 (size_t)((const char *)at - region->at));
    return to;
}

static void touch_block(uint32_t number)
{
    struct block *block = &blocks[number];
    if (!block->dirty) {
        block->dirty = true;
        dirty[dirty_count++] = number;
    }
    if (!block->stale) {
        block->stale = true;
        stale[stale_count++] = number;
    }
}

void arena_touch(const void *at, size_t bytes)
{
    uint64_t first = ((uintptr_t)at - (uintptr_t)base) / ARENA_BLOCK;
    uint64_t last = ((uintptr_t)at + bytes - 1 - (uintptr_t)base) / ARENA_BLOCK;
    if (bytes == 0 || !arena_holds(at))
        return;
    for (; first <= last && first < BLOCKS; first++)
        touch_block((uint32_t)first);
}

void arena_keep(void)
{
    memcpy(kept, base, used_bytes);
    kept_bytes = used_bytes;
    kept_regions = region_count;
    freed_count = 0;
    clear_marks();
}

void arena_restore(void)
{
    for (uint32_t i = 0; i < dirty_count; i++) {
        uint64_t offset = (uint64_t)dirty[i] * ARENA_BLOCK;
        memcpy(base + offset, kept + offset, ARENA_BLOCK); /* beyond kept_bytes: zero */
    }
    clear_marks();
    while (freed_count > 0)
        regions[freed[--freed_count]].kind = ARENA_PRIVATE;
    while (region_count > kept_regions) {
        const struct arena_region *region = &regions[region_count--];
        uint64_t first = (uint64_t)(region->at - base) / ARENA_PAGE;
        for (uint64_t i = 0; i < (region->bytes + ARENA_PAGE - 1) / ARENA_PAGE; i++)
            region_of_page[first + i] = 0;
    }
    used_bytes = kept_bytes;
}

uint64_t arena_mix(uint64_t seed, uint64_t value)
{
    uint64_t x = (seed ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 29;
}

uint64_t arena_hash_bytes(uint64_t seed, const void *at, size_t bytes)
{
    const char *from = at;
    uint64_t value = 0;
    for (; bytes >= 8; bytes -= 8, from += 8) {
        memcpy(&value, from, 8);
        seed = arena_mix(seed, value);
    }
    value = 0;
    memcpy(&value, from, bytes);
    return bytes > 0 ? arena_mix(seed, value) : seed;
}

/* The sum over all blocks that differ, in any order. */
uint64_t arena_hash(void)
{
    for (uint32_t i = 0; i < stale_count; i++) {
        struct block *block = &blocks[stale[i]];
        uint64_t offset = (uint64_t)stale[i] * ARENA_BLOCK;
        block->stale = false;
        hash -= block->contribution;
        block->contribution = memcmp(base + offset, kept + offset, ARENA_BLOCK) == 0
                                  ? 0
                                  : arena_hash_bytes(stale[i] + UINT64_C(1), base + offset,
                                                     ARENA_BLOCK);
        hash += block->contribution;
    }
    stale_count = 0;
    return hash + freed_count;
}
