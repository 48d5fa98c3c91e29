/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks.h - logical processes and their threads: coroutines on one thread of the real
 * machine (tasks.c), and who of them runs (schedule.c). */
#ifndef TASKS_H
#define TASKS_H

#include "model.h"

/** Makes a task; it begins when the scheduler chooses it. A daemon need not end for the execution
 *  to end. The first task of a process makes the process. */
void task_make(unsigned process, const char *name, void (*run)(void *), void *argument,
               bool daemon);

/** The task that runs, and its process; 0 and MODEL_PROCESSES outside of any. */
unsigned task_self(void);
unsigned task_process(void);
const char *task_name(unsigned task);

/** Set-up: the task waits until all of them are here or asleep. There are TASK_BARRIERS of them,
 *  and behind the last one the execution begins. */
#define TASK_BARRIERS 3
void task_barrier(void);

/** A point: something that others may see is about to happen. Returns when it is to happen. */
void task_point(const void *at, bool contended, const void *pc);

/** Sleeps until task_wake, or until the clock shows until_ns (INT64_MAX: never).
 *  0 or -ETIMEDOUT. */
int task_sleep(const void *channel, int64_t until_ns);

/** Wakes up to `most` sleepers, the longest first. Returns how many. */
unsigned task_wake(const void *channel, unsigned most);

/** Who sleeps on what, for people. */
void task_describe(char *text, size_t bytes);

/** Whether a process was killed. One whose tasks have all returned lives on, idle. */
bool process_is_dead(unsigned process);

/** Kills a process; one of its own tasks leaves next. */
void process_kill(unsigned process);

/** What to sleep on until some process dies. */
extern const char tasks_deaths;

/** The running task may end in the middle of what it does, at the price of a kill, while its
 *  process lives on; then this is called. */
void task_interruptible(void);
extern void (*tasks_on_interrupt)(void);

/** Whether waiting for time is in order: somebody died whom nobody else can replace, or the
 *  scenario is about deadlines. */
void tasks_allow_time(bool allowed);

int64_t tasks_now_ns(void);

/* ---- for explore.c */

void tasks_reset(void);
void tasks_set_up(void); /* runs everybody to the next barrier, without choices */
void tasks_begin(void);  /* lets them go on from there */
void tasks_keep(void);
void tasks_restore(void);
void tasks_execute(void); /* one execution */
uint64_t tasks_hash(void);
/** Ends the execution; from a task or from outside. Does not return when called by a task. */
void tasks_abort(void);

#endif
