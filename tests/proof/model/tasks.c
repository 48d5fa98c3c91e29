/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks.c - coroutines: their stacks, sleep and death. Switching is setjmp and longjmp between
 * stacks; a killed task's stack is simply never entered again. To begin an execution the stacks are
 * put back to what they were at the last barrier. */
#include "accesses.h"
#include "arena.h"
#include "kernel.h"
#include "task_table.h"
#include "weak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK_BYTES (256u << 10)
#define STACKS_AT ((char *)UINT64_C(0x210000000000))
#define KEPT_BYTES (64u << 10)
#define START_NS INT64_C(1000000000000)

const char tasks_deaths;
void (*tasks_on_interrupt)(void);

struct task tasks[MODEL_TASKS + 1];
unsigned task_count, task_current;
struct task_common task_common;

static struct task_common kept_common;
static jmp_buf entered;

unsigned task_self(void)
{
    return task_current;
}

unsigned task_process(void)
{
    return task_current == 0 ? MODEL_PROCESSES : tasks[task_current].process;
}

const char *task_name(unsigned task)
{
    return task == 0 ? "nobody" : tasks[task].name;
}

bool process_is_dead(unsigned process)
{
    return task_common.dead >> process & 1;
}

void tasks_allow_time(bool allowed)
{
    task_common.time_allowed = allowed;
}

int64_t tasks_now_ns(void)
{
    return task_common.now_ns;
}

/* ---------------------------------------------------------------- switching */

__attribute__((noinline)) void task_leave(void)
{
    struct task *self = &tasks[task_current];
    self->sp = stack_pointer();
    self->hashed = false;
    if (_setjmp(self->context) == 0)
        _longjmp(entered, 1);
}

static void process_end(unsigned process)
{
    if (process_is_dead(process))
        return;
    task_common.dead |= 1u << process;
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].process == process)
            weak_send_of(i, kernel_death_channel(process));
    }
    kernel_process_ended(process);
    task_wake(&tasks_deaths, MODEL_TASKS);
    if (process == 0) /* the host: nobody repairs anything, callers find out by themselves */
        task_common.time_allowed = true;
}

void process_kill(unsigned process)
{
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].process == process && tasks[i].now.state != ENDED)
            tasks[i].now.state = DEAD;
    }
    process_end(process);
}

static void begin(unsigned number)
{
    task_leave(); /* made, not begun */
    tasks[number].run(tasks[number].argument);
    tasks[number].now.state = ENDED; /* its process stays, and does nothing more */
    task_leave();
    model_bug("a task that has ended runs");
}

void task_enter(unsigned number)
{
    task_current = number;
    if (_setjmp(entered) == 0)
        _longjmp(tasks[number].context, 1);
    task_current = 0;
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
    task_current = task_count;
    task->now.state = AT_BARRIER;
    if (_setjmp(entered) == 0)
        swapcontext(&here, &start);
    task_current = 0;
}

/* ---------------------------------------------------------------- sleeping */

int task_sleep(const void *channel, int64_t until_ns)
{
    struct task *self = &tasks[task_current];
    if (task_current == 0)
        model_bug("something sleeps outside of any task");
    self->now.state = ASLEEP;
    self->now.channel = channel;
    self->now.until_ns = until_ns;
    self->now.slept_at = ++task_common.sleep_order;
    model_result.sleeps += model_exploring;
    accesses_count[task_current] = 0;
    task_leave();
    return self->now.woken;
}

void task_rouse(struct task *task, int result)
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
        task_rouse(first, 0);
        woken++;
    }
    return woken;
}

void task_describe(char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 1; i <= task_count && used < bytes; i++) {
        const struct task_moving *now = &tasks[i].now;
        const char *states[] = {"unused", "ready", "asleep on ", "at the barrier", "ended", "dead"};
        used += (size_t)snprintf(text + used, bytes - used, "%s%s %s%s", i > 1 ? "; " : "",
                                 tasks[i].name, states[now->state],
                                 now->state == ASLEEP ? arena_name(now->channel) : "");
    }
}

void tasks_reset(void)
{
    task_count = task_current = 0;
    task_common = (struct task_common){.now_ns = START_NS};
    schedule_reset();
}

void task_interruptible(void)
{
    tasks[task_current].interruptible = true;
}

void task_barrier(void)
{
    tasks[task_current].now.state = AT_BARRIER;
    task_leave();
}

void tasks_set_up(void)
{
    for (unsigned i = 1; i <= task_count; i++) {
        if (tasks[i].now.state == AT_BARRIER)
            tasks[i].now.state = READY;
    }
    for (bool again = true; again && !schedule_aborted();) {
        again = false;
        for (unsigned i = 1; i <= task_count; i++) {
            while (tasks[i].now.state == READY && !schedule_aborted()) {
                task_enter(i);
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
    kept_common = task_common;
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
    task_common = kept_common;
    schedule_reset();
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
    uint64_t hash = arena_mix(task_common.dead, (uint64_t)task_common.now_ns);
    hash = arena_mix(hash, task_common.time_allowed);
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
            task->hashed = i != task_current;
        }
        hash = arena_mix(hash, task->stack_hash);
    }
    return hash;
}
