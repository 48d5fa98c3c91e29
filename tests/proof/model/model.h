/* SPDX-License-Identifier: Apache-2.0
 *
 * model.h - the instrument: the library as it ships, run by logical processes on one thread, under
 * a scheduler that decides before every access to shared memory what happens next.
 *
 * The library is compiled so that each access to memory is a call (../instrument). Host, workers
 * and clients are coroutines that use the public API; the kernel under them - memory objects,
 * sockets, epoll, futexes, clock, process ends - is a small model behind the library's own calls of
 * libc (kernel_*.c, linked with --wrap). So the code of connecting, calling, waiting, dying and
 * recovering is the real one, down to the last branch, and every run of it can be repeated.
 *
 *   arena      memory that can be put back and hashed
 *   tasks      coroutines: logical processes and their threads
 *   schedule   which of them runs, and what else may happen at a point
 *   explore    which choices are made: all of them (depth first, with a table of states that were
 *              seen), or random ones
 *   accesses   what happens at an access: bounds, permissions, who shares what, changing a value
 *   weak       the C11 memory model: a load may give an older value where the standard allows it
 *   kernel_*   the modelled kernel
 *   world      a service in the model, and the ledger of what became of every call
 *   scenarios  what the suites let happen
 *
 * At a point a choice is made: the task goes on, another one runs (a preemption), the process dies
 * here for good (a kill), the time that somebody waits for comes, a hostile peer changes the value.
 * Each has a budget per execution; a preemption budget of MODEL_UNLIMITED makes it exhaustive.
 *
 * Points. Two accesses of different tasks that do not touch the same 8 bytes, or both only read,
 * commute: no choice is needed before them. Which 8 bytes are contended is learned while exploring,
 * and exploring begins anew when some more turn out to be, so at the end there was a point before
 * every access that conflicts with another task's. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_TASKS 8u
#define MODEL_PROCESSES 8u
#define MODEL_UNLIMITED 1000000

/** How often each thing may happen in one execution. */
struct model_budget {
    int preemptions;
    int kills;
    int timeouts;  /* that come although somebody could still run */
    int mutations; /* values that a hostile peer changes before they are read */
    int stale;     /* loads that give an older value (weak) */
};

struct model_mode {
    struct model_budget budget;
    uint32_t killable;    /* bit = process */
    bool kill_anywhere;   /* also at accesses that nobody contends for */
    bool weak;            /* C11 instead of sequential consistency */
    uint32_t hostile;     /* bit = process; the others are its victims */
    uint64_t random_runs; /* 0: exhaustive */
    uint64_t seed;
    unsigned rate;          /* random: another task, one time in so many */
    unsigned mutation_rate; /* random: a mutation, one read in so many */
    uint64_t accesses_most; /* of a task to shared memory between two pauses; 0 any number */
    uint64_t most_runs;     /* give up then; 0 never */
    uint64_t most_states;   /* the same; 0 never */
};

struct model_scenario {
    const char *name;
    /** Makes processes and tasks (world.h); runs outside of any task. */
    void (*set_up)(void);
    /** After an execution in which everybody has ended: calls model_fail. NULL: nothing more. */
    void (*check)(void);
};

struct model_result {
    uint64_t runs;   /* executions: schedules, each different */
    uint64_t pruned; /* of these ended early in a state that was seen before */
    uint64_t states;
    uint64_t kills, mutations, stale, sleeps;
    uint64_t longest;       /* points in one execution */
    uint64_t most_accesses; /* of one task between two pauses: sleeping, being woken, ending */
    bool complete;          /* every choice within the budget was made */
    bool failed;
    char failure[512];
};

/** Runs a scenario under every choice (or many). Prints how a failure came about. */
struct model_result model_run(const struct model_scenario *scenario, const struct model_mode *mode);

/** The execution has shown a bug: ends it. Does not return when called by a task. */
__attribute__((format(printf, 1, 2))) void model_fail(const char *format, ...);

/** The harness itself is wrong: ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void model_bug(const char *format, ...);

/* ---- what the parts know of each other */

extern struct model_mode model_mode;
extern struct model_result model_result;
extern bool model_exploring; /* choices are made: not during set-up, nor after the end */

/** A text to be shown with a failure: what happened so far. */
__attribute__((format(printf, 1, 2))) void model_note(const char *format, ...);

#endif
