/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks.c - coroutines and the scheduler. A task runs until its next point, where the explorer says
 * who goes on. Switching is setjmp and longjmp between stacks; a killed task's stack is simply
 * never entered again. To begin an execution the stacks are put back to what they were at the
 * barrier. */
#include "tasks.h"

#include "accesses.h"
#include "arena.h"
#include "explore.h"
#include "kernel.h"
#include "weak.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK_BYTES (256u << 10)
#define STACKS_AT ((char *)UINT64_C(0x210000000000))
#define KEPT_BYTES (64u << 10)
#define START_NS INT64_C(1000000000000)
/** Jumps of the clock in one execution: more means that somebody waits for ever. */
#define JUMPS_MOST 400u
/** Of the stack below a point that is zeroed. */
#define CLEAN_BYTES 2048u
/** Points of one execution: more means that somebody does not stop. */
#define STEPS_MOST 200000u

enum state { UNUSED, READY, ASLEEP, AT_BARRIER, ENDED, DEAD };

/** What changes while a task runs, and is part of the state of the world. */
struct moving {
    enum state state;
    const void *channel;
    int64_t until_ns;
    uint64_t slept_at; /* order of falling asleep */
    int woken;         /* result of task_sleep */
};

struct task {
    struct moving now, kept;
    jmp_buf context, kept_context;
    char *stack;
    char *sp, *kept_sp; /* while it does not run */
    char *kept_stack;
    uint64_t stack_hash;
    bool hashed; /* stack_hash is of the present stack */
    unsigned process;
    const char *name;
    void (*run)(void *);
    void *argument;
    bool daemon, interruptible;
};

const char tasks_deaths;
void (*tasks_on_interrupt)(void);

static struct task tasks[MODEL_TASKS + 1]; /* from 1 on */
static unsigned task_count, current, next;
static jmp_buf scheduler;
static bool aborted, time_allowed, kept_time_allowed;
static uint32_t dead, kept_dead; /* bit = process */
static int64_t now_ns, kept_now_ns;
static uint64_t sleep_order, kept_sleep_order, steps;
static unsigned jumps;

unsigned task_self(void)
{
    return current;
}

unsigned task_process(void)
{
    return current == 0 ? MODEL_PROCESSES : tasks[current].process;
}

const char *task_name(unsigned task)
{
    return task == 0 ? "nobody" : tasks[task].name;
}

bool process_is_dead(unsigned process)
{
    return dead >> process & 1;
}

void tasks_allow_time(bool allowed)
{
    time_allowed = allowed;
}

int64_t tasks_now_ns(void)
{
    return now_ns;
}

/* ---------------------------------------------------------------- switching */

static inline char *stack_pointer(void)
{
    char *sp;
#if defined(__x86_64__)
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
#elif defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#else
#error "say how to read the stack pointer here"
#endif
    return sp;
}

static __attribute__((noinline)) void leave(void)
{
    struct task *self = &tasks[current];
    self->sp = stack_pointer();
    self->hashed = false;
    if (_setjmp(self->context) == 0)
        _longjmp(scheduler, 1);
}

static void process_end(unsigned process)
{
    if (process_is_dead(process))
        return;
    dead |= 1u << process;
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].process == process)
            weak_send_of(i, kernel_death_channel(process));
    }
    kernel_process_ended(process);
    task_wake(&tasks_deaths, MODEL_TASKS);
    if (process == 0) /* the host: nobody repairs anything, callers find out by themselves */
        time_allowed = true;
}

static void begin(unsigned number)
{
    leave(); /* made, not begun */
    tasks[number].run(tasks[number].argument);
    tasks[number].now.state = ENDED; /* its process stays, and does nothing more */
    leave();
    model_bug("a task that has ended runs");
}

static void enter(unsigned number)
{
    current = number;
    if (_setjmp(scheduler) == 0)
        _longjmp(tasks[number].context, 1);
    current = 0;
}

void task_make(unsigned process, const char *name, void (*run)(void *), void *argument, bool daemon)
{
    if (task_count == MODEL_TASKS)
        model_bug("too many tasks");
    struct task *task = &tasks[++task_count];
    char *stack = task->stack, *kept_stack = task->kept_stack;
    *task = (struct task){.process = process, .name = name, .run = run, .argument = argument};
    task->daemon = daemon;
    task->now.state = READY;
    task->stack = stack;
    task->kept_stack = kept_stack != NULL ? kept_stack : malloc(KEPT_BYTES);
    if (stack == NULL)
        task->stack = mmap(STACKS_AT + task_count * UINT64_C(16) * STACK_BYTES, STACK_BYTES,
                           PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (task->stack == MAP_FAILED || task->kept_stack == NULL)
        model_bug("no memory for a stack");
    ucontext_t start, here;
    getcontext(&start);
    start.uc_stack.ss_sp = task->stack;
    start.uc_stack.ss_size = STACK_BYTES;
    start.uc_link = NULL;
    makecontext(&start, (void (*)(void))begin, 1, task_count);
    current = task_count;
    task->now.state = AT_BARRIER;
    if (_setjmp(scheduler) == 0)
        swapcontext(&here, &start);
    current = 0;
}

/* ---------------------------------------------------------------- sleeping */

int task_sleep(const void *channel, int64_t until_ns)
{
    struct task *self = &tasks[current];
    if (current == 0)
        model_bug("something sleeps outside of any task");
    self->now.state = ASLEEP;
    self->now.channel = channel;
    self->now.until_ns = until_ns;
    self->now.slept_at = ++sleep_order;
    model_result.sleeps += model_exploring;
    accesses_count[current] = 0;
    leave();
    return self->now.woken;
}

static void rouse(struct task *task, int result)
{
    task->now.state = READY;
    task->now.channel = NULL;
    task->now.until_ns = 0;
    task->now.slept_at = 0;
    task->now.woken = result;
    task->hashed = false;
}

unsigned task_wake(const void *channel, unsigned most)
{
    unsigned woken = 0;
    while (woken < most) {
        struct task *first = NULL;
        for (unsigned i = 1; i <= task_count; i++) {
            struct task *task = &tasks[i];
            if (task->now.state == ASLEEP && task->now.channel == channel &&
                (first == NULL || task->now.slept_at < first->now.slept_at))
                first = task;
        }
        if (first == NULL)
            break;
        rouse(first, 0);
        woken++;
    }
    return woken;
}

void task_describe(char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 1; i <= task_count && used < bytes; i++) {
        const struct moving *now = &tasks[i].now;
        const char *states[] = {"unused", "ready", "asleep on ", "at the barrier", "ended", "dead"};
        used += (size_t)snprintf(text + used, bytes - used, "%s%s %s%s", i > 1 ? "; " : "",
                                 tasks[i].name, states[now->state],
                                 now->state == ASLEEP ? arena_name(now->channel) : "");
    }
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
        if (i != current && tasks[i].now.state == READY)
            offer(RUN, i);
    }
    offer_timeouts();
}

static void offer_deaths(void)
{
    unsigned process = tasks[current].process;
    if (explore_left.kills > 0 && model_mode.killable >> process & 1)
        offer(KILL, current);
    if (explore_left.kills > 0 && tasks[current].interruptible)
        offer(INTERRUPT, current);
}

static void jump_to(unsigned task)
{
    if (tasks[task].now.until_ns > now_ns)
        now_ns = tasks[task].now.until_ns;
    rouse(&tasks[task], -ETIMEDOUT);
}

void process_kill(unsigned process)
{
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].process == process && tasks[i].now.state != ENDED)
            tasks[i].now.state = DEAD;
    }
    process_end(process);
}

/* What was chosen is carried out. True: the running task has to leave. Options and choices live
 * outside of the stacks: what a task was once offered is no part of its state. */
static bool carry_out(void)
{
    switch (chosen.what) {
    case RUN:
        if (chosen.task == current)
            return false;
        if (current != 0 && model_mode.budget.preemptions != MODEL_UNLIMITED)
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
        tasks[current].now.state = DEAD;
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
    options[option_count++] = (struct option){RUN, current};
    if (++steps > STEPS_MOST)
        model_fail("%s does not come to an end: more than %u steps, now at %s", task_name(current),
                   STEPS_MOST, arena_name(at));
    if (contended)
        offer_tasks();
    if (contended || model_mode.kill_anywhere)
        offer_deaths();
    if (option_count == 1)
        return false;
    tasks[current].hashed = false;
    if (model_mode.random_runs == 0)
        note_registers(&tasks[current]);
    unsigned number = explore_choose(option_count, true, model_mode.rate);
    chosen = options[number];
    if (number != 0)
        model_note("%s before %s at pc %p: %s %s", task_name(current), arena_name(at), pc,
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
    if (!model_exploring || current == 0)
        return;
    tasks[current].sp = stack_pointer();
    if (decide(at, contended, pc))
        leave();
    if (model_mode.random_runs == 0)
        clean_below(tasks[current].sp);
}

/* ---------------------------------------------------------------- the scheduler */

static bool all_ended(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        enum state state = tasks[i].now.state;
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
    if (time_allowed && first != 0 && ++jumps < JUMPS_MOST) {
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
            enter(task);
    }
}

void tasks_abort(void)
{
    aborted = true;
    if (current != 0)
        leave();
}

void tasks_reset(void)
{
    task_count = current = next = 0;
    dead = 0;
    now_ns = START_NS;
    sleep_order = 0;
    aborted = time_allowed = false;
    jumps = 0;
}

void task_interruptible(void)
{
    tasks[current].interruptible = true;
}

void task_barrier(void)
{
    tasks[current].now.state = AT_BARRIER;
    leave();
}

void tasks_set_up(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].now.state == AT_BARRIER)
            tasks[i].now.state = READY;
    }
    for (bool again = true; again && !aborted;) {
        again = false;
        for (unsigned i = 1; i <= task_count; i++) {
            while (tasks[i].now.state == READY && !aborted) {
                enter(i);
                again = true;
            }
        }
    }
}

void tasks_begin(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].now.state == AT_BARRIER)
            tasks[i].now.state = READY;
    }
}

void tasks_keep(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        struct task *task = &tasks[i];
        size_t bytes = (size_t)(task->stack + STACK_BYTES - task->sp);
        if (bytes > KEPT_BYTES)
            model_bug("the stack of %s is %zu bytes deep", task->name, bytes);
        task->kept = task->now;
        task->kept_sp = task->sp;
        memcpy(task->kept_context, task->context, sizeof task->context);
        memcpy(task->kept_stack, task->sp, bytes);
    }
    kept_dead = dead;
    kept_now_ns = now_ns;
    kept_sleep_order = sleep_order;
    kept_time_allowed = time_allowed;
}

void tasks_restore(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        struct task *task = &tasks[i];
        task->now = task->kept;
        task->sp = task->kept_sp;
        task->hashed = false;
        memcpy(task->context, task->kept_context, sizeof task->context);
        memcpy(task->sp, task->kept_stack, (size_t)(task->stack + STACK_BYTES - task->sp));
    }
    dead = kept_dead;
    now_ns = kept_now_ns;
    sleep_order = kept_sleep_order;
    time_allowed = kept_time_allowed;
    steps = 0;
    jumps = 0;
    next = 0;
    aborted = false;
}

void tasks_execute(void)
{
    schedule();
    if (steps > model_result.longest)
        model_result.longest = steps;
}

/* Sleepers count by their order, not by when they fell asleep. */
static unsigned rank(unsigned task)
{
    unsigned before = 0;
    for (unsigned i = 1; i <= task_count; i++)
        before += tasks[i].now.state == ASLEEP && tasks[i].now.slept_at < tasks[task].now.slept_at;
    return tasks[task].now.state == ASLEEP ? before : 0;
}

uint64_t tasks_hash(void)
{
    uint64_t hash = arena_mix(dead, (uint64_t)now_ns);
    hash = arena_mix(hash, time_allowed);
    for (unsigned i = 1; i <= task_count; i++) {
        struct task *task = &tasks[i];
        hash = arena_mix(hash, (uint64_t)task->now.state + (uint64_t)rank(i) * 8);
        if (task->now.state == ENDED || task->now.state == DEAD)
            continue;
        hash = arena_mix(hash, (uintptr_t)task->now.channel);
        hash = arena_mix(hash, (uint64_t)task->now.until_ns + (unsigned)task->now.woken);
        if (!task->hashed) {
            size_t bytes = (size_t)(task->stack + STACK_BYTES - task->sp);
            task->stack_hash = arena_hash_bytes(bytes, task->sp, bytes);
            task->stack_hash = arena_hash_bytes(task->stack_hash, task->context, 64);
            task->hashed = i != current;
        }
        hash = arena_mix(hash, task->stack_hash);
    }
    return hash;
}
