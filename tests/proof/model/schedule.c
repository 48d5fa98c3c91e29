/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule.c - who runs. A task runs until its next point, where the explorer says what happens:
 * it goes on, another one does, it dies, the time that somebody waits for comes. */
#include "arena.h"
#include "explore.h"
#include "task_table.h"

#include <errno.h>
#include <string.h>

/** Jumps of the clock in one execution: more means that somebody waits for ever. */
#define JUMPS_MOST 400u
/** Of the stack below a point that is zeroed. */
#define CLEAN_BYTES 2048u
/** Points of one execution: more means that somebody does not stop. */
#define STEPS_MOST 200000u

static unsigned next; /* task that runs when the present one leaves; 0 to be chosen */
static bool aborted;
static uint64_t steps;
static unsigned jumps;

void schedule_reset(void)
{
    next = jumps = 0;
    steps = 0;
    aborted = false;
}

bool schedule_aborted(void)
{
    return aborted;
}

/* ---------------------------------------------------------------- choices */

struct option {
    enum { RUN, KILL, INTERRUPT, TIMEOUT } what;
    unsigned task;
};

static struct option options[2 * MODEL_TASKS + 4], chosen;
static unsigned option_count;
static const char *const option_names[] = {"goes on", "dies in", "is interrupted in",
                                           "time comes for"};

static void offer(int what, unsigned task)
{
    options[option_count].what = (unsigned)what;
    options[option_count++].task = task;
}

static void offer_timeouts(void)
{
    for (unsigned i = 1; i <= task_count && explore_left.timeouts > 0; i++) {
        if (tasks[i].now.state == ASLEEP && tasks[i].now.until_ns != INT64_MAX)
            offer(TIMEOUT, i);
    }
}

static void offer_tasks(void)
{
    for (unsigned i = 1; i <= task_count && explore_left.preemptions > 0; i++) {
        if (i != task_current && tasks[i].now.state == READY)
            offer(RUN, i);
    }
    offer_timeouts();
}

static void offer_deaths(void)
{
    unsigned process = tasks[task_current].process;
    if (explore_left.kills > 0 && model_mode.killable >> process & 1)
        offer(KILL, task_current);
    if (explore_left.kills > 0 && tasks[task_current].interruptible)
        offer(INTERRUPT, task_current);
}

static void jump_to(unsigned task)
{
    if (tasks[task].now.until_ns > task_common.now_ns)
        task_common.now_ns = tasks[task].now.until_ns;
    task_rouse(&tasks[task], -ETIMEDOUT);
}

/* What was chosen is carried out. True: the running task has to leave. Options and choices live
 * outside of the stacks: what a task was once offered is no part of its state. */
static bool carry_out(void)
{
    switch (chosen.what) {
    case RUN:
        if (chosen.task == task_current)
            return false;
        if (task_current != 0 && model_mode.budget.preemptions != MODEL_UNLIMITED)
            explore_left.preemptions--;
        next = chosen.task;
        return true;
    case KILL:
        explore_left.kills--;
        model_result.kills++;
        process_kill(tasks[chosen.task].process);
        return true;
    case INTERRUPT: /* the task ends in the middle of what it does; its process lives on */
        explore_left.kills--;
        model_result.kills++;
        tasks[task_current].now.state = DEAD;
        if (tasks_on_interrupt != NULL)
            tasks_on_interrupt();
        return true;
    case TIMEOUT:
        explore_left.timeouts--;
        jump_to(chosen.task);
        next = chosen.task;
        return true;
    }
    return false;
}

/* They count in the hash. */
static __attribute__((noinline)) void note_registers(struct task *task)
{
    (void)_setjmp(task->context);
}

static __attribute__((noinline)) bool decide(const void *at, bool contended, const void *pc)
{
    option_count = 0;
    options[option_count++] = (struct option){RUN, task_current};
    if (++steps > STEPS_MOST)
        model_fail("%s does not come to an end: more than %u steps, now at %s",
                   task_name(task_current), STEPS_MOST, arena_name(at));
    if (contended)
        offer_tasks();
    if (contended || model_mode.kill_anywhere)
        offer_deaths();
    if (option_count == 1)
        return false;
    tasks[task_current].hashed = false;
    if (model_mode.random_runs == 0)
        note_registers(&tasks[task_current]);
    unsigned number = explore_choose(option_count, true, model_mode.rate);
    chosen = options[number];
    if (number != 0)
        model_note("%s before %s at pc %p: %s %s", task_name(task_current), arena_name(at), pc,
                   option_names[chosen.what], task_name(chosen.task));
    return carry_out();
}

/* Frames to come begin with zeros and not with what others left: equal states look equal. */
static inline void clean_below(char *sp)
{
    memset(sp - CLEAN_BYTES, 0, CLEAN_BYTES - 256);
}

void task_point(const void *at, bool contended, const void *pc)
{
    if (!model_exploring || task_current == 0)
        return;
    tasks[task_current].sp = stack_pointer();
    if (decide(at, contended, pc))
        task_leave();
    if (model_mode.random_runs == 0)
        clean_below(tasks[task_current].sp);
}

/* ---------------------------------------------------------------- the scheduler */

static bool all_ended(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        enum task_state state = tasks[i].now.state;
        if (!tasks[i].daemon && state != ENDED && state != DEAD)
            return false;
    }
    return true;
}

static unsigned first_timeout(void)
{
    unsigned first = 0;
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].now.state == ASLEEP && tasks[i].now.until_ns != INT64_MAX &&
            (first == 0 || tasks[i].now.until_ns < tasks[first].now.until_ns))
            first = i;
    }
    return first;
}

/* Nobody can run. False: that is how it should be. */
static bool wait_for_time(void)
{
    char text[400];
    unsigned first = first_timeout();
    if (all_ended())
        return false;
    if (task_common.time_allowed && first != 0 && ++jumps < JUMPS_MOST) {
        jump_to(first);
        next = first;
        return true;
    }
    task_describe(text, sizeof text);
    model_fail("a lost wake-up or a deadlock: %s", text);
    return false;
}

/* Who runs next, when nobody does. False: nobody. */
static bool choose_next(void)
{
    option_count = 0;
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].now.state == READY)
            offer(RUN, i);
    }
    if (option_count == 0)
        return wait_for_time();
    offer_timeouts();
    unsigned number = option_count > 1 ? explore_choose(option_count, true, 2) : 0;
    chosen = options[number];
    if (!aborted)
        carry_out();
    return true;
}

static void schedule(void)
{
    while (!aborted) {
        if (next == 0 && !choose_next())
            return;
        unsigned task = next;
        next = 0;
        if (!aborted && task != 0)
            task_enter(task);
    }
}

void tasks_abort(void)
{
    aborted = true;
    if (task_current != 0)
        task_leave();
}

void tasks_execute(void)
{
    schedule();
    if (steps > model_result.longest)
        model_result.longest = steps;
}

