/* SPDX-License-Identifier: Apache-2.0
 *
 * litmus.c - the memory model itself: what C11 allows can be seen, what it forbids cannot. Each
 * test is a few accesses of two to four tasks; every execution is looked at. */
#include "memory_order.h"

#include "../instrument/access.h"
#include "../model/arena.h"
#include "../model/tasks.h"

#include <stdlib.h>
#include <sys/mman.h>

#define RELAXED __ATOMIC_RELAXED
#define ACQUIRE __ATOMIC_ACQUIRE
#define RELEASE __ATOMIC_RELEASE
#define ACQ_REL __ATOMIC_ACQ_REL
#define SEQ_CST __ATOMIC_SEQ_CST

static uint64_t *x, *y, *seen; /* seen: what the tasks have read */
static bool *reached;          /* the outcome in question; shared with the child */

static uint64_t load(const uint64_t *at, int order)
{
    return access_load(at, 8, order, NULL);
}

static void store(uint64_t *at, uint64_t value, int order)
{
    access_store(at, 8, value, order, NULL);
}

static void note(unsigned index, uint64_t value)
{
    arena_touch(&seen[index], 8);
    seen[index] = value;
}

static void begin(void)
{
    for (int barrier = 0; barrier < TASK_BARRIERS; barrier++)
        task_barrier();
}

/* ---------------------------------------------------------------- tasks */

static int store_order, load_order, fence_order;

static void buffer_left(void *argument)
{
    (void)argument;
    begin();
    store(x, 1, store_order);
    if (fence_order != RELAXED)
        access_fence(fence_order, NULL);
    note(0, load(y, load_order));
}

static void buffer_right(void *argument)
{
    (void)argument;
    begin();
    store(y, 1, store_order);
    if (fence_order != RELAXED)
        access_fence(fence_order, NULL);
    note(1, load(x, load_order));
}

/* A read-modify-write on the left, as the ring's cell; a relaxed one and a fence on the right, as
 * parking. */
static void ring_side(void *argument)
{
    uint64_t before = 0;
    (void)argument;
    begin();
    access_compare_exchange(x, 8, &before, 1, store_order, RELAXED, NULL);
    note(0, load(y, load_order));
}

static void park_side(void *argument)
{
    (void)argument;
    begin();
    access_modify(y, 8, ACCESS_OR, 1, RELAXED, NULL);
    access_fence(fence_order, NULL);
    note(1, load(x, ACQUIRE));
}

static void pass(void *argument)
{
    (void)argument;
    begin();
    store(x, 1, RELAXED);
    if (fence_order != RELAXED)
        access_fence(fence_order, NULL);
    store(y, 1, store_order);
}

static void receive(void *argument)
{
    (void)argument;
    begin();
    note(0, load(y, load_order));
    if (fence_order != RELAXED)
        access_fence(fence_order, NULL);
    note(1, load(x, RELAXED));
}

/* In between somebody changes the flag by a relaxed read-modify-write: the release goes through. */
static void add(void *argument)
{
    (void)argument;
    begin();
    access_modify(y, 8, ACCESS_ADD, 1, RELAXED, NULL);
}

static void read_twice(void *argument)
{
    (void)argument;
    begin();
    note(0, load(x, RELAXED));
    note(1, load(x, RELAXED));
}

static void write_twice(void *argument)
{
    (void)argument;
    begin();
    store(x, 1, RELAXED);
    store(x, 2, RELAXED);
}

static void write_x(void *argument)
{
    (void)argument;
    begin();
    store(x, 1, store_order);
}

static void write_y(void *argument)
{
    (void)argument;
    begin();
    store(y, 1, store_order);
}

static void read_x_y(void *argument)
{
    (void)argument;
    begin();
    note(0, load(x, load_order));
    note(1, load(y, load_order));
}

static void read_y_x(void *argument)
{
    (void)argument;
    begin();
    note(2, load(y, load_order));
    note(3, load(x, load_order));
}

/* ---------------------------------------------------------------- tests */

struct test {
    const char *name;
    void (*tasks[4])(void *);
    int store, load, fence;
    uint64_t outcome[4]; /* what `seen` holds then; UINT64_MAX: anything */
    bool allowed;
};

#define ANY UINT64_MAX

static const struct test tests[] = {
    {"store buffering, relaxed",
     {buffer_left, buffer_right},
     RELAXED,
     RELAXED,
     RELAXED,
     {0, 0, ANY, ANY},
     true},
    {"store buffering, acquire and release",
     {buffer_left, buffer_right},
     RELEASE,
     ACQUIRE,
     RELAXED,
     {0, 0, ANY, ANY},
     true},
    {"store buffering, acq_rel fences",
     {buffer_left, buffer_right},
     RELAXED,
     RELAXED,
     ACQ_REL,
     {0, 0, ANY, ANY},
     true},
    {"store buffering, seq_cst",
     {buffer_left, buffer_right},
     SEQ_CST,
     SEQ_CST,
     RELAXED,
     {0, 0, ANY, ANY},
     false},
    {"store buffering, seq_cst fences",
     {buffer_left, buffer_right},
     RELAXED,
     RELAXED,
     SEQ_CST,
     {0, 0, ANY, ANY},
     false},
    {"the bell, as it is",
     {ring_side, park_side},
     SEQ_CST,
     SEQ_CST,
     SEQ_CST,
     {0, 0, ANY, ANY},
     false},
    {"the bell, parking with acq_rel",
     {ring_side, park_side},
     SEQ_CST,
     SEQ_CST,
     ACQ_REL,
     {0, 0, ANY, ANY},
     true},
    {"the bell, looking with acquire",
     {ring_side, park_side},
     SEQ_CST,
     ACQUIRE,
     SEQ_CST,
     {0, 0, ANY, ANY},
     true},
    {"message passing, relaxed",
     {pass, receive},
     RELAXED,
     RELAXED,
     RELAXED,
     {1, 0, ANY, ANY},
     true},
    {"message passing, release only",
     {pass, receive},
     RELEASE,
     RELAXED,
     RELAXED,
     {1, 0, ANY, ANY},
     true},
    {"message passing, acquire and release",
     {pass, receive},
     RELEASE,
     ACQUIRE,
     RELAXED,
     {1, 0, ANY, ANY},
     false},
    {"message passing, fences",
     {pass, receive},
     RELAXED,
     RELAXED,
     ACQ_REL,
     {1, 0, ANY, ANY},
     false},
    {"a release sequence",
     {pass, receive, add},
     RELEASE,
     ACQUIRE,
     RELAXED,
     {2, 0, ANY, ANY},
     false},
    {"coherence: never back",
     {write_twice, read_twice},
     RELAXED,
     RELAXED,
     RELAXED,
     {2, 1, ANY, ANY},
     false},
    {"independent reads, acquire and release",
     {write_x, write_y, read_x_y, read_y_x},
     RELEASE,
     ACQUIRE,
     RELAXED,
     {1, 0, 1, 0},
     true},
    {"independent reads, seq_cst",
     {write_x, write_y, read_x_y, read_y_x},
     SEQ_CST,
     SEQ_CST,
     RELAXED,
     {1, 0, 1, 0},
     false},
};

static const struct test *running;

static void set_up(void)
{
    uint64_t *memory = arena_make("litmus", (size_t)64 * 8, ARENA_KERNEL, 0);
    x = memory;
    y = memory + 16;
    seen = memory + 32;
    for (unsigned i = 0; i < 4 && running->tasks[i] != NULL; i++)
        task_make(i, "litmus", running->tasks[i], NULL, false);
    store_order = running->store;
    load_order = running->load;
    fence_order = running->fence;
}

static void check(void)
{
    bool is_it = true;
    for (unsigned i = 0; i < 4; i++)
        is_it &= running->outcome[i] == ANY || running->outcome[i] == seen[i];
    *reached |= is_it;
}

void litmus(struct proof *proof)
{
    reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        struct model_scenario scenario = {tests[i].name, set_up, check};
        struct model_mode mode = {
            .budget.preemptions = MODEL_UNLIMITED, .budget.stale = MODEL_UNLIMITED, .weak = true};
        running = &tests[i];
        *reached = false;
        if (!proof_wants(proof, tests[i].name))
            continue;
        struct model_result result = model_run(&scenario, &mode);
        proof->executions += result.runs;
        proof_check(proof, !result.failed && result.complete && *reached == tests[i].allowed,
                    tests[i].name, "%s %s in %llu executions%s",
                    tests[i].allowed ? "allowed," : "forbidden,", *reached ? "seen" : "not seen",
                    (unsigned long long)result.runs, result.failed ? result.failure : "");
    }
    munmap(reached, 4096);
}
