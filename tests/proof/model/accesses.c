/* SPDX-License-Identifier: Apache-2.0
 *
 * accesses.c - what happens at each access of the library to memory.
 *
 * First it is checked: inside one region, by a process that maps it, writable if written. Then
 * comes the point, where anything may happen. Then a hostile peer may change what is about to be
 * read. Then the access is made. Addresses outside the arena (stacks, globals) are no concern of
 * others. */
#include "accesses.h"

#include "../instrument/access.h"
#include "arena.h"
#include "explore.h"
#include "kernel.h"
#include "tasks.h"
#include "weak.h"

#include <string.h>

void (*accesses_on_read)(const void *at, size_t bytes, const void *pc);
void (*accesses_on_write)(const void *at, size_t bytes, const void *pc);
int (*accesses_order)(const void *pc, bool is_failure, int order);
uint64_t accesses_count[MODEL_TASKS + 1];

/* ---------------------------------------------------------------- who shares what */

static struct {
    uint8_t readers, writers; /* bit = task - 1 */
} shares[ARENA_GRANULES];

void kernel_begin(void)
{
    memset(accesses_count, 0, sizeof accesses_count);
    if (model_mode.weak)
        weak_begin();
}

static bool is_contended(unsigned readers, unsigned writers)
{
    unsigned all = readers | writers;
    return writers != 0 && (all & (all - 1)) != 0;
}

bool accesses_contended(const void *at, bool is_write)
{
    uint32_t granule = arena_granule(at);
    unsigned readers = shares[granule].readers, writers = shares[granule].writers;
    bool before = is_contended(readers, writers);
    if (!model_exploring)
        return before;
    uint8_t bit = (uint8_t)(1u << (task_self() - 1));
    if (is_write)
        shares[granule].writers |= bit;
    else
        shares[granule].readers |= bit;
    if (!before && is_contended(shares[granule].readers, shares[granule].writers))
        explore_again();
    return before;
}

static bool any_contended(const void *at, size_t bytes, bool is_write)
{
    bool contended = false;
    const char *end = (const char *)at + bytes;
    for (const char *part = at; part < end; part += ARENA_GRANULE - (uintptr_t)part % ARENA_GRANULE)
        contended |= accesses_contended(part, is_write);
    return contended;
}

/* ---------------------------------------------------------------- checks */

static void check(const void *at, size_t bytes, bool is_write)
{
    const struct arena_region *region = arena_find(at);
    const char *verb = is_write ? "writes" : "reads";
    unsigned process = task_process();
    if (process == MODEL_PROCESSES)
        return;
    if (region == NULL || (size_t)((const char *)at - region->at) + bytes > region->bytes)
        model_fail("%s %s %zu bytes out of bounds at %s", task_name(task_self()), verb, bytes,
                   arena_name(at));
    else if (region->kind == ARENA_PRIVATE && region->owner != process)
        model_fail("%s %s the memory of another process: %s", task_name(task_self()), verb,
                   arena_name(at));
    else if (region->kind == ARENA_SHARED &&
             !(is_write ? kernel_may_write(process, at) : kernel_may_read(process, at)))
        model_fail("%s %s what it does not map %s: %s", task_name(task_self()), verb,
                   is_write ? "writable" : "at all", arena_name(at));
}

static bool is_shared(const void *at)
{
    const struct arena_region *region = arena_find(at);
    return region != NULL && region->kind == ARENA_SHARED;
}

/* ---------------------------------------------------------------- a hostile peer */

/* Whether some hostile process may write there. */
static bool is_exposed(const void *at)
{
    for (unsigned process = 0; process < MODEL_PROCESSES; process++) {
        if (model_mode.hostile >> process & 1 && kernel_may_write(process, at))
            return true;
    }
    return false;
}

#define MUTATIONS 13u

static uint64_t mutate(uint64_t value, unsigned how)
{
    switch (how) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return value + 1;
    case 3:
        return value - 1;
    case 4:
        return ~value;
    case 5:
        return value ^ UINT64_C(1) << 63;
    case 6:
        return value ^ 1;
    case 7:
        return value ^ 7; /* another phase */
    case 8:
        return value ^ 0x78; /* every flag */
    case 9:
        return value ^ 0x100; /* another generation */
    case 10:
        return value ^ UINT64_C(1) << 40; /* another lap */
    case 11:
        return value + 4096;
    default:
        return value ^ UINT64_C(0xffffffff) << 32; /* another owner */
    }
}

static void consider_mutation(const void *at, size_t bytes, const void *pc)
{
    uint64_t value = 0;
    unsigned process = task_process();
    if (!model_exploring || explore_left.mutations == 0 || bytes > 8 ||
        model_mode.hostile >> process & 1 || !is_exposed(at))
        return;
    unsigned chosen = explore_choose(MUTATIONS + 1, false, model_mode.mutation_rate);
    if (chosen == 0)
        return;
    explore_left.mutations--;
    model_result.mutations++;
    memcpy(&value, at, bytes);
    uint64_t changed = mutate(value, chosen - 1);
    model_note("%s: 0x%llx becomes 0x%llx before %s reads it at pc %p", arena_name(at),
               (unsigned long long)value, (unsigned long long)changed, task_name(task_self()), pc);
    arena_touch(at, bytes);
    memcpy((void *)(uintptr_t)at, &changed, bytes);
}

/* ---------------------------------------------------------------- before an access */

static void count(const void *at)
{
    uint64_t accesses = ++accesses_count[task_self()];
    if (accesses > model_result.most_accesses)
        model_result.most_accesses = accesses;
    if (model_mode.accesses_most != 0 && accesses > model_mode.accesses_most)
        model_fail("%s makes more than %llu accesses without a pause, now at %s",
                   task_name(task_self()), (unsigned long long)model_mode.accesses_most,
                   arena_name(at));
}

static void before(const void *at, size_t bytes, bool is_write, const void *pc)
{
    if (bytes == 0)
        return;
    check(at, bytes, is_write);
    bool shared = is_shared(at);
    if (shared && !(model_mode.hostile >> task_process() & 1))
        count(at);
    bool contended = any_contended(at, bytes, is_write);
    if (contended || (shared && model_mode.kill_anywhere))
        task_point(at, contended, pc);
    if (shared && !is_write && accesses_on_read != NULL)
        accesses_on_read(at, bytes, pc);
    if (shared && is_write && accesses_on_write != NULL)
        accesses_on_write(at, bytes, pc);
    if (is_write)
        arena_touch(at, bytes);
}

void access_plain(const void *at, size_t bytes, bool is_write, const void *pc)
{
    if (!arena_holds(at) || task_self() == 0)
        return;
    before(at, bytes, is_write, pc);
    if (!is_write)
        consider_mutation(at, bytes, pc);
    if (model_mode.weak && model_exploring)
        weak_plain(at, bytes, is_write, pc);
}

static uint64_t read_value(const void *at, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes); /* little-endian, as the library demands */
    return value;
}

static void write_value(void *at, size_t bytes, uint64_t value)
{
    memcpy(at, &value, bytes);
}

/* Whether the memory model has a say: addresses in the arena, while exploring. */
static bool is_weak(const void *at)
{
    return model_mode.weak && model_exploring && arena_holds(at);
}

static int order_of(const void *pc, bool is_failure, int order)
{
    return accesses_order != NULL ? accesses_order(pc, is_failure, order) : order;
}

uint64_t access_load(const void *at, size_t bytes, int order, const void *pc)
{
    if (!arena_holds(at) || task_self() == 0)
        return read_value(at, bytes);
    before(at, bytes, false, pc);
    consider_mutation(at, bytes, pc);
    return is_weak(at) ? weak_load(at, bytes, order_of(pc, false, order), pc)
                       : read_value(at, bytes);
}

void access_store(void *at, size_t bytes, uint64_t value, int order, const void *pc)
{
    if (arena_holds(at) && task_self() != 0)
        before(at, bytes, true, pc);
    if (is_weak(at))
        weak_store(at, read_value(at, bytes), value, order_of(pc, false, order));
    write_value(at, bytes, value);
}

static uint64_t apply(enum access_rmw what, uint64_t value, uint64_t operand)
{
    switch (what) {
    case ACCESS_EXCHANGE:
        return operand;
    case ACCESS_ADD:
        return value + operand;
    case ACCESS_SUB:
        return value - operand;
    case ACCESS_AND:
        return value & operand;
    case ACCESS_OR:
        return value | operand;
    default:
        return value ^ operand;
    }
}

uint64_t access_modify(void *at, size_t bytes, enum access_rmw what, uint64_t operand, int order,
                       const void *pc)
{
    if (arena_holds(at) && task_self() != 0) {
        before(at, bytes, true, pc);
        consider_mutation(at, bytes, pc);
    }
    uint64_t value = read_value(at, bytes);
    write_value(at, bytes, apply(what, value, operand));
    if (is_weak(at))
        weak_modify(at, value, read_value(at, bytes), order_of(pc, false, order));
    return value;
}

bool access_compare_exchange(void *at, size_t bytes, uint64_t *expected, uint64_t desired,
                             int success, int failure, const void *pc)
{
    uint64_t value, older;
    if (arena_holds(at) && task_self() != 0) {
        before(at, bytes, true, pc);
        consider_mutation(at, bytes, pc);
    }
    value = read_value(at, bytes);
    if (is_weak(at) && weak_fail(at, bytes, *expected, order_of(pc, true, failure), pc, &older)) {
        *expected = older;
        return false;
    }
    if (value == *expected) {
        write_value(at, bytes, desired);
        if (is_weak(at))
            weak_modify(at, value, desired, order_of(pc, false, success));
        return true;
    }
    *expected = value;
    return false;
}

void access_fence(int order, const void *pc)
{
    if (model_mode.weak && model_exploring && task_self() != 0)
        weak_fence(order_of(pc, false, order));
}

/* ---------------------------------------------------------------- libc's own accesses */

void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memset(void *to, int value, size_t bytes);

void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
    access_plain(from, bytes, false, __builtin_return_address(0));
    access_plain(to, bytes, true, __builtin_return_address(0));
    return memcpy(to, from, bytes);
}

void *__wrap_memset(void *to, int value, size_t bytes)
{
    access_plain(to, bytes, true, __builtin_return_address(0));
    return memset(to, value, bytes);
}

/* Names of methods are compared while others may come. */
int __wrap_strncmp(const char *one, const char *other, size_t most);
int __wrap_strncmp(const char *one, const char *other, size_t most)
{
    access_plain(one, strnlen(one, most), false, __builtin_return_address(0));
    access_plain(other, strnlen(other, most), false, __builtin_return_address(0));
    return strncmp(one, other, most);
}
