/* SPDX-License-Identifier: Apache-2.0
 *
 * weak.c - the C11 memory model. See weak.h. */
#include "weak.h"

#include "arena.h"
#include "explore.h"
#include "tasks.h"

#include <string.h>

#define STORES 6u /* that a location remembers: older ones can no longer be read */
/** Random: one load in so many that could take an older value does. */
#define STALE_RATE 3u
#define LOCATIONS (1u << 14)
#define CELLS (1u << 15)

typedef struct {
    uint32_t at[MODEL_TASKS + 1];
} clock_vector;

struct store {
    uint64_t value;
    unsigned task; /* 0: before the execution began */
    uint32_t when; /* its task's clock */
    uint32_t sc;   /* place in the total order; 0 not seq_cst */
    clock_vector release;
};

struct location {
    const void *at; /* NULL: unused */
    uint32_t run;
    uint64_t newest; /* number of the newest store */
    struct store stores[STORES];
    uint64_t seen[MODEL_TASKS + 1]; /* newest store that a task has read or written */
};

/* Last plain accesses to 8 bytes. */
struct cell {
    const void *at;
    uint32_t run;
    unsigned writer;
    uint32_t written;
    uint32_t read[MODEL_TASKS + 1];
};

struct task_view {
    clock_vector now;
    clock_vector acquirable; /* what relaxed loads have seen: an acquire fence takes it */
    clock_vector released;   /* at the last release fence */
    clock_vector sc_floor;   /* stores that a seq_cst fence showed to this task */
    uint32_t sc_seen;        /* total order at its last seq_cst fence */
};

static struct location locations[LOCATIONS];
static struct cell cells[CELLS];
static struct task_view views[MODEL_TASKS + 1];
static clock_vector sc_fences; /* everything before a seq_cst fence */
static uint32_t run, sc_count;

static void join(clock_vector *into, const clock_vector *from)
{
    for (unsigned i = 0; i <= MODEL_TASKS; i++) {
        if (from->at[i] > into->at[i])
            into->at[i] = from->at[i];
    }
}

static bool is_acquire(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL ||
           order == __ATOMIC_SEQ_CST;
}

static bool is_release(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

void weak_begin(void)
{
    run++;
    sc_count = 0;
    memset(views, 0, sizeof views);
    memset(&sc_fences, 0, sizeof sc_fences);
    for (unsigned i = 1; i <= MODEL_TASKS; i++)
        views[i].now.at[i] = 1;
}

static uint64_t read_value(const void *at, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

/* What is in memory when the execution begins is its first store. */
static struct location *find(const void *at, uint64_t before)
{
    uint32_t slot = (uint32_t)(arena_mix(1, (uintptr_t)at) % LOCATIONS);
    while (locations[slot].run == run && locations[slot].at != at)
        slot = (slot + 1) % LOCATIONS;
    struct location *location = &locations[slot];
    if (location->run == run)
        return location;
    memset(location, 0, sizeof *location);
    location->at = at;
    location->run = run;
    location->stores[0].value = before;
    return location;
}

static const struct store *store_of(const struct location *location, uint64_t number)
{
    return &location->stores[number % STORES];
}

static bool known(const clock_vector *clock, const struct store *store)
{
    return store->task == 0 || clock->at[store->task] >= store->when;
}

/* The oldest store that a load may take. */
static uint64_t find_floor(const struct location *location, int order)
{
    const struct task_view *view = &views[task_self()];
    uint64_t oldest = location->newest >= STORES ? location->newest - STORES + 1 : 0;
    uint64_t number = location->newest;
    for (; number > oldest && number > location->seen[task_self()]; number--) {
        const struct store *store = store_of(location, number);
        if (known(&view->now, store) || known(&view->sc_floor, store) ||
            (store->sc != 0 && store->sc <= view->sc_seen))
            break;
        if (order == __ATOMIC_SEQ_CST && (store->sc != 0 || known(&sc_fences, store)))
            break;
    }
    return number;
}

static void read_from(struct location *location, uint64_t number, int order)
{
    struct task_view *view = &views[task_self()];
    const struct store *store = store_of(location, number);
    if (number > location->seen[task_self()])
        location->seen[task_self()] = number;
    join(is_acquire(order) ? &view->now : &view->acquirable, &store->release);
}

/* Which of the stores from floor to the newest; the newest is the usual choice. */
static uint64_t choose(const struct location *location, uint64_t floor, const void *pc)
{
    unsigned options = (unsigned)(location->newest - floor) + 1;
    if (options == 1 || explore_left.stale == 0)
        return location->newest;
    unsigned back = explore_choose(options, false, STALE_RATE);
    if (back == 0)
        return location->newest;
    explore_left.stale--;
    model_result.stale++;
    model_note("%s reads %s as it was %u stores ago, at pc %p", task_name(task_self()),
               arena_name(location->at), back, pc);
    return location->newest - back;
}

uint64_t weak_load(const void *at, size_t bytes, int order, const void *pc)
{
    struct location *location = find(at, read_value(at, bytes));
    uint64_t number = choose(location, find_floor(location, order), pc);
    read_from(location, number, order);
    return store_of(location, number)->value;
}

static void add_store(struct location *location, uint64_t value, int order, bool is_modify)
{
    struct task_view *view = &views[task_self()];
    const struct store before = *store_of(location, location->newest);
    struct store *store = &location->stores[++location->newest % STORES];
    *store = (struct store){.value = value, .task = task_self()};
    store->when = ++view->now.at[task_self()];
    store->release = is_release(order) ? view->now : view->released;
    if (is_modify)
        join(&store->release, &before.release); /* it goes on with the release sequence */
    if (order == __ATOMIC_SEQ_CST)
        store->sc = ++sc_count;
    location->seen[task_self()] = location->newest;
}

void weak_store(const void *at, uint64_t before, uint64_t value, int order)
{
    add_store(find(at, before), value, order, false);
}

void weak_modify(const void *at, uint64_t before, uint64_t value, int order)
{
    struct location *location = find(at, before);
    read_from(location, location->newest, order);
    add_store(location, value, order, true);
}

bool weak_fail(const void *at, size_t bytes, uint64_t expected, int order, const void *pc,
               uint64_t *older)
{
    struct location *location = find(at, read_value(at, bytes));
    uint64_t number = choose(location, find_floor(location, order), pc);
    if (number == location->newest && store_of(location, number)->value == expected)
        return false;
    if (store_of(location, number)->value == expected) /* it would have to replace the newest */
        number = location->newest;
    if (store_of(location, number)->value == expected)
        return false;
    read_from(location, number, order);
    *older = store_of(location, number)->value;
    return true;
}

void weak_fence(int order)
{
    struct task_view *view = &views[task_self()];
    if (is_acquire(order))
        join(&view->now, &view->acquirable);
    if (order == __ATOMIC_SEQ_CST) {
        join(&view->sc_floor, &sc_fences);
        view->sc_seen = sc_count;
        join(&sc_fences, &view->now);
    }
    if (is_release(order)) {
        view->released = view->now;
        view->now.at[task_self()]++;
    }
}

/* ---------------------------------------------------------------- what the kernel orders */

static bool is_in_force(void)
{
    return model_mode.weak && model_exploring && task_self() != 0;
}

void weak_send_of(unsigned task, const void *channel)
{
    if (!model_mode.weak || !model_exploring)
        return;
    struct location *location = find(channel, 0);
    join(&location->stores[0].release, &views[task].now);
    views[task].now.at[task]++;
}

void weak_send(const void *channel)
{
    if (is_in_force())
        weak_send_of(task_self(), channel);
}

void weak_receive(const void *channel)
{
    if (is_in_force())
        join(&views[task_self()].now, &find(channel, 0)->stores[0].release);
}

/* ---------------------------------------------------------------- plain accesses */

static struct cell *find_cell(const void *at)
{
    uint32_t slot = (uint32_t)(arena_mix(2, (uintptr_t)at) % CELLS);
    while (cells[slot].run == run && cells[slot].at != at)
        slot = (slot + 1) % CELLS;
    struct cell *cell = &cells[slot];
    if (cell->run != run) {
        memset(cell, 0, sizeof *cell);
        cell->at = at;
        cell->run = run;
    }
    return cell;
}

static void check_cell(const void *at, bool is_write, const void *pc)
{
    struct cell *cell = find_cell(at);
    unsigned self = task_self();
    const clock_vector *now = &views[self].now;
    if (cell->writer != 0 && cell->writer != self && now->at[cell->writer] < cell->written)
        model_fail(
            "a data race: %s %s %s at pc %p, which %s has written, and nothing orders the two",
            task_name(self), is_write ? "writes" : "reads", arena_name(at), pc,
            task_name(cell->writer));
    for (unsigned i = 1; is_write && i <= MODEL_TASKS; i++) {
        if (i != self && now->at[i] < cell->read[i])
            model_fail("a data race: %s writes %s at pc %p, which %s has read, and nothing orders "
                       "the two",
                       task_name(self), arena_name(at), pc, task_name(i));
    }
    if (is_write) {
        cell->writer = self;
        cell->written = ++views[self].now.at[self];
    } else {
        cell->read[self] = ++views[self].now.at[self];
    }
}

void weak_plain(const void *at, size_t bytes, bool is_write, const void *pc)
{
    uintptr_t first = (uintptr_t)at & ~(uintptr_t)7;
    for (uintptr_t part = first; part < (uintptr_t)at + bytes; part += 8)
        check_cell((const void *)part, is_write, pc);
}
