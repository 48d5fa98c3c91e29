/* SPDX-License-Identifier: Apache-2.0
 *
 * explore.c - making choices. Exhaustive: depth first; each execution repeats the choices of the
 * one before up to the last point that has an option left, and takes that. An execution ends early
 * in a state of the world (memory, stacks, registers, sleepers, budget) that was seen before:
 * whatever can happen from there has been, or will be, looked at. Random: each choice is drawn. */
#include "explore.h"

#include "arena.h"
#include "kernel.h"
#include "tasks.h"

#include "../proof.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEPTH_MOST 200000u
#define NOTES_BYTES 16384u

struct model_mode model_mode;
struct model_result model_result;
struct model_budget explore_left;
bool model_exploring;

static struct {
    uint8_t chosen, options;
} path[DEPTH_MOST];
static uint32_t path_length, depth;
static uint64_t *seen, seen_slots;
static uint64_t random_state;
static unsigned calm; /* random: how much more seldom choices are in this execution, as a shift */
static bool again;
static char notes[NOTES_BYTES];
static size_t notes_used;

void model_bug(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("not ok the-instrument: ");
    vprintf(format, arguments);
    printf(" (running: %s)\n", task_name(task_self()));
    va_end(arguments);
    fflush(stdout);
    abort();
}

void model_note(const char *format, ...)
{
    va_list arguments;
    if (!model_exploring || notes_used + 256 > NOTES_BYTES)
        return;
    va_start(arguments, format);
    notes_used += (size_t)vsnprintf(notes + notes_used, 250, format, arguments);
    va_end(arguments);
    notes_used += (size_t)snprintf(notes + notes_used, 4, "\n");
}

void model_fail(const char *format, ...)
{
    va_list arguments;
    if (model_result.failed)
        return;
    va_start(arguments, format);
    vsnprintf(model_result.failure, sizeof model_result.failure, format, arguments);
    va_end(arguments);
    model_result.failed = true;
    tasks_abort();
}

void explore_again(void)
{
    again = true;
}

/* ---------------------------------------------------------------- states that were seen */

static void forget_states(void)
{
    memset(seen, 0, seen_slots * sizeof *seen);
    model_result.states = 0;
}

static bool insert(uint64_t *table, uint64_t slots, uint64_t hash)
{
    uint64_t at = hash & (slots - 1);
    while (table[at] != 0 && table[at] != hash)
        at = (at + 1) & (slots - 1);
    if (table[at] == hash)
        return false;
    table[at] = hash;
    return true;
}

static void grow(void)
{
    uint64_t slots = seen_slots == 0 ? 1u << 16 : 2 * seen_slots;
    uint64_t *table = calloc(slots, sizeof *table);
    if (table == NULL)
        model_bug("no memory for %llu states", (unsigned long long)slots);
    for (uint64_t i = 0; i < seen_slots; i++) {
        if (seen[i] != 0)
            insert(table, slots, seen[i]);
    }
    free(seen);
    seen = table;
    seen_slots = slots;
}

static bool is_new_state(void)
{
    uint64_t hash = arena_mix(arena_hash(), tasks_hash());
    const struct model_budget *left = &explore_left;
    hash = arena_mix(hash, (uint64_t)left->preemptions << 32 | (uint64_t)left->kills << 16 |
                               (uint64_t)left->timeouts << 8 | (uint64_t)left->mutations);
    hash = arena_mix(hash, task_self());
    if (hash == 0)
        hash = 1;
    if (model_result.states * 2 >= seen_slots)
        grow();
    if (!insert(seen, seen_slots, hash))
        return false;
    model_result.states++;
    return true;
}

/* ---------------------------------------------------------------- choosing */

static unsigned choose_randomly(unsigned options, unsigned rate)
{
    uint64_t drawn = proof_random(&random_state) >> 20;
    if (drawn % rate != 0)
        return 0;
    return 1 + (unsigned)(drawn / rate % (options - 1));
}

unsigned explore_choose(unsigned options, bool merge, unsigned rate)
{
    if (model_mode.random_runs > 0)
        return options > 1 ? choose_randomly(options, merge ? rate << calm : rate) : 0;
    if (depth < path_length) {
        if (path[depth].options != options)
            model_bug("an execution cannot be repeated: %u options instead of %u at choice %u",
                      options, path[depth].options, depth);
        return path[depth++].chosen;
    }
    if (merge && !model_mode.weak && !is_new_state()) { /* old stores are no part of the hash */
        model_result.pruned++;
        tasks_abort();
        return 0;
    }
    if (depth == DEPTH_MOST || options > 255)
        model_bug("too many choices");
    path[depth].chosen = 0;
    path[depth].options = (uint8_t)options;
    path_length = ++depth;
    return 0;
}

/* The next path, depth first. False: there is none. */
static bool go_on(void)
{
    if (model_mode.random_runs > 0)
        return model_result.runs < model_mode.random_runs;
    while (path_length > 0) {
        path[path_length - 1].chosen++;
        if (path[path_length - 1].chosen < path[path_length - 1].options)
            return true;
        path_length--;
    }
    return false;
}

static void execute(const struct model_scenario *scenario)
{
    tasks_restore();
    arena_restore();
    explore_left = model_mode.budget;
    depth = 0;
    notes_used = 0;
    notes[0] = '\0';
    calm = (unsigned)(proof_random(&random_state) >> 40) % 4;
    uint64_t pruned = model_result.pruned;
    model_exploring = true;
    kernel_begin();
    tasks_execute();
    model_exploring = false;
    model_result.runs++;
    if (!model_result.failed && model_result.pruned == pruned && !again && scenario->check != NULL)
        scenario->check();
}

static bool is_enough(void)
{
    const struct model_mode *mode = &model_mode;
    return (mode->most_runs != 0 && model_result.runs >= mode->most_runs) ||
           (mode->most_states != 0 && model_result.states >= mode->most_states);
}

static void set_up(const struct model_scenario *scenario)
{
    arena_reset();
    tasks_reset();
    kernel_reset();
    scenario->set_up();
    for (int barrier = 0; barrier < TASK_BARRIERS && !model_result.failed; barrier++)
        tasks_set_up();
    if (model_result.failed)
        return;
    tasks_begin();
    arena_keep();
    tasks_keep();
}

static void explore_once(const struct model_scenario *scenario)
{
    path_length = 0;
    again = false;
    forget_states();
    do {
        execute(scenario);
    } while (!model_result.failed && !again && !is_enough() && go_on());
    model_result.complete = path_length == 0 && model_mode.random_runs == 0;
}

static void run_here(const struct model_scenario *scenario, const struct model_mode *mode)
{
    model_mode = *mode;
    model_result = (struct model_result){0};
    random_state = mode->seed * 2 + 1;
    grow();
    set_up(scenario);
    while (!model_result.failed) {
        explore_once(scenario);
        if (!again || is_enough())
            break;
    }
    if (model_result.failed)
        printf("# %s: %s\n%s", scenario->name, model_result.failure, notes);
}

/* In a process of its own: the library keeps things in globals, and a bug may crash it. */
struct model_result model_run(const struct model_scenario *scenario, const struct model_mode *mode)
{
    struct model_result result = {.failed = true};
    int ends[2], status = 0;
    fflush(stdout);
    if (pipe(ends) != 0)
        model_bug("no pipe");
    pid_t child = fork();
    if (child == 0) {
        run_here(scenario, mode);
        fflush(stdout);
        ssize_t written = write(ends[1], &model_result, sizeof model_result);
        _exit(written != sizeof model_result);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &result, sizeof result);
    close(ends[0]);
    waitpid(child, &status, 0);
    if (got != sizeof result || status != 0) {
        result.failed = true;
        snprintf(result.failure, sizeof result.failure, "the process ended with status 0x%x",
                 (unsigned)status);
    }
    return result;
}
