/* SPDX-License-Identifier: Apache-2.0
 *
 * task_table.h - what tasks.c and schedule.c share: the tasks, who runs, the clock. */
#ifndef TASK_TABLE_H
#define TASK_TABLE_H

#include "tasks.h"

#include <setjmp.h>

enum task_state { UNUSED, READY, ASLEEP, AT_BARRIER, ENDED, DEAD };

/** What changes while a task runs, and is part of the state of the world. */
struct task_moving {
    enum task_state state;
    const void *channel;
    int64_t until_ns;
    uint64_t slept_at; /* order of falling asleep */
    int woken;         /* result of task_sleep */
};

struct task {
    struct task_moving now, kept;
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

/** What changes while they run and belongs to none of them. */
struct task_common {
    uint32_t dead; /* bit = process */
    int64_t now_ns;
    uint64_t sleep_order;
    bool time_allowed;
};

extern struct task tasks[MODEL_TASKS + 1]; /* from 1 on */
extern unsigned task_count, task_current;
extern struct task_common task_common;

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

/** Lets a task run until it leaves. */
void task_enter(unsigned number);

/** The running task goes back to who let it run; returns when it is entered again. */
void task_leave(void);

/** A sleeper is ready, and its task_sleep will return this. */
void task_rouse(struct task *task, int result);

/** schedule.c: for an execution that begins; whether the one that runs was aborted. */
void schedule_reset(void);
bool schedule_aborted(void);

#endif
