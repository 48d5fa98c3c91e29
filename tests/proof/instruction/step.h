/* SPDX-License-Identifier: Apache-2.0
 *
 * step.h - the subject: a process that is executed instruction by instruction and then killed.
 *
 * A subject is forked from the driver, so both see the same code at the same addresses, and the
 * driver can look at the instruction that comes next in its own memory. The subject prepares
 * everything at full speed, stops at its begin marker, and does one operation up to its end marker
 * (both are int3). In between the driver steps it (PTRACE_SINGLESTEP) or lets it run until an
 * instruction has been reached so and so often (a hardware breakpoint): 20 microseconds a stop. */
#ifndef STEP_H
#define STEP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct subject {
    pid_t pid;
    uint64_t rip;   /* of the instruction that comes next */
    bool ended;     /* it is at its end marker */
    bool asleep;    /* it sleeps inside a system call */
    bool lost;      /* it has died by itself, or does not stop */
    bool breaks;    /* a breakpoint is set */
    bool may_sleep; /* the last step went into a system call, or further */
};

/** For subjects: the operation begins, and is over. */
void marker(void);

/** Forks a subject and lets it run to its begin marker. */
bool subject_start(struct subject *subject, void (*body)(void));

/** The same in two steps. */
bool subject_launch(struct subject *subject, void (*body)(void));
bool subject_arrive(struct subject *subject);

/** Gets one to a marker wherever it is; it has subject_mark as the handler of SIGUSR1. */
bool subject_interrupt(struct subject *subject);
void subject_mark(int signal);

/** Lets it execute one instruction, or go on until `rip` comes next for the count-th time. Follow
 *  with subject_wait. */
void subject_step(struct subject *subject);
void subject_run(struct subject *subject, uint64_t rip, uint32_t count);

/** Waits until it stops; or sleeps in this system call (-1: goes on waiting then). */
void subject_wait(struct subject *subject, long sleeps_in);

/** SIGKILL, and waits until it is gone. */
void subject_kill(struct subject *subject);

/** Whether a process sleeps in this system call. */
bool sleeps_in_call(pid_t pid, long number);

/** Address of the futex word on which a process sleeps; NULL: it does not. */
const void *futex_of(pid_t pid);

/** What comes next at an address of the program. */
bool is_syscall(uint64_t rip);
bool is_act(uint64_t rip); /* a system call, or a locked instruction: others see it */
bool is_marker(uint64_t rip);

#endif
