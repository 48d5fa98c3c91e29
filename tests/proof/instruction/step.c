/* SPDX-License-Identifier: Apache-2.0
 *
 * step.c - stepping a process. See step.h. */
#include "step.h"

#include "board.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/** Looks before the driver pauses between two of them. */
#define QUICK_LOOKS 30

/* The breakpoint's own count is kept here: there is one subject at a time. */
static uint64_t break_at;
static uint32_t break_left;

extern const uint8_t subject_at_marker[];

__attribute__((noinline)) void marker(void)
{
    __asm__ volatile(".globl subject_at_marker\nsubject_at_marker: int3" ::: "memory");
}

bool is_marker(uint64_t rip)
{
    return rip == (uint64_t)(uintptr_t)subject_at_marker;
}

static const uint8_t *code_at(uint64_t rip)
{
    return (const uint8_t *)(uintptr_t)rip; /* the subject is a fork: it has the same */
}

bool is_syscall(uint64_t rip)
{
    return code_at(rip)[0] == 0x0f && code_at(rip)[1] == 0x05;
}

/* lock prefix, xchg with memory, mfence. */
static bool is_locked(uint64_t rip)
{
    const uint8_t *code = code_at(rip);
    if (code[0] == 0xf0 || (code[0] == 0x0f && code[1] == 0xae && code[2] == 0xf0))
        return true;
    if (code[0] == 0x66 || (code[0] & 0xf0) == 0x40)
        code++;
    return (code[0] == 0x86 || code[0] == 0x87) && code[1] < 0xc0;
}

/* Length of an instruction that repeats itself (rep movs, rep stos); 0: it does not. */
static uint32_t repeated_bytes(uint64_t rip)
{
    const uint8_t *code = code_at(rip);
    if (code[0] != 0xf3)
        return 0;
    uint32_t at = code[1] == 0x48 ? 2 : 1;
    bool repeats = code[at] == 0xa4 || code[at] == 0xa5 || code[at] == 0xaa || code[at] == 0xab;
    return repeats ? at + 1 : 0;
}

bool is_act(uint64_t rip)
{
    return is_syscall(rip) || is_locked(rip);
}

static void debug_register(struct subject *subject, size_t which, uint64_t value)
{
    size_t offset = offsetof(struct user, u_debugreg) +
                    which * sizeof(((struct user *)NULL)->u_debugreg[0]);
    if (ptrace(PTRACE_POKEUSER, subject->pid, offset, value) != 0)
        bad("no hardware breakpoint: %s", strerror(errno));
}

static void break_off(struct subject *subject)
{
    if (subject->breaks)
        debug_register(subject, 7, 0);
    subject->breaks = false;
}

static void go(struct subject *subject, int how, int signal)
{
    subject->asleep = false;
    ptrace((enum __ptrace_request)how, subject->pid, 0, signal);
}

void subject_run(struct subject *subject, uint64_t rip, uint32_t count)
{
    break_at = rip;
    break_left = count;
    if (count > 0) {
        debug_register(subject, 0, rip);
        debug_register(subject, 7, 1);
        subject->breaks = true;
    }
    subject->may_sleep = true;
    go(subject, PTRACE_CONT, 0);
}

/* The processor takes each repetition for a step. */
static void step_over(struct subject *subject, uint32_t bytes)
{
    subject_run(subject, subject->rip + bytes, 1);
    subject->may_sleep = false;
}

void subject_step(struct subject *subject)
{
    uint32_t bytes = repeated_bytes(subject->rip);
    if (bytes > 0) {
        step_over(subject, bytes);
        return;
    }
    break_off(subject);
    subject->may_sleep = is_syscall(subject->rip);
    go(subject, PTRACE_SINGLESTEP, 0);
}

/* ---------------------------------------------------------------- stops */

static void lose(struct subject *subject, const char *what, int number)
{
    subject->lost = true;
    bad("the subject %s %d before it was killed", what, number);
}

/* It has stopped. True: it is where it should be. */
static bool stopped(struct subject *subject, int status)
{
    if (!WIFSTOPPED(status)) {
        subject->pid = 0;
        lose(subject, WIFEXITED(status) ? "exited with" : "died of signal",
             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        return true;
    }
    if (WSTOPSIG(status) != SIGTRAP) {
        if (WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGABRT) {
            lose(subject, "got signal", WSTOPSIG(status));
            return true;
        }
        go(subject, PTRACE_CONT, WSTOPSIG(status));
        return false;
    }
    long rip = ptrace(PTRACE_PEEKUSER, subject->pid, offsetof(struct user_regs_struct, rip), 0);
    subject->rip = (uint64_t)rip;
    if (subject->breaks && subject->rip == break_at) {
        if (--break_left > 0) {
            go(subject, PTRACE_CONT, 0);
            return false;
        }
        return true;
    }
    subject->ended = is_marker(subject->rip - 1);
    return true;
}

void subject_wait(struct subject *subject, long sleeps_in)
{
    const double end_s = proof_seconds() + patience_s;
    int status, looks = 0;
    if (subject->lost || subject->pid == 0)
        return;
    if (!subject->may_sleep) { /* it stops at once */
        waitpid(subject->pid, &status, __WALL);
        stopped(subject, status);
        return;
    }
    for (;;) {
        pid_t got = waitpid(subject->pid, &status, WNOHANG | __WALL);
        if (got == subject->pid && stopped(subject, status))
            return;
        if (got == 0 && sleeps_in >= 0 && sleeps_in_call(subject->pid, sleeps_in)) {
            subject->asleep = true;
            return;
        }
        if (proof_seconds() > end_s) {
            lose(subject, "does not stop; system call", (int)sleeps_in);
            return;
        }
        if (++looks < QUICK_LOOKS)
            sched_yield();
        else
            pause_briefly();
    }
}

/* The kernel shows the system call that a sleeping process is in, and its first argument. False:
 * it is in none. */
static bool sleeping_call(pid_t pid, long *number, unsigned long *first)
{
    char path[64], text[64] = "", *end = text;
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool read = fgets(text, sizeof text, file) != NULL;
    (void)fclose(file);
    *number = strtol(text, &end, 10);
    if (!read || end == text || *number < 0)
        return false;
    *first = strtoul(end, NULL, 16);
    return true;
}

bool sleeps_in_call(pid_t pid, long number)
{
    long is;
    unsigned long first;
    return sleeping_call(pid, &is, &first) && is == number;
}

const void *futex_of(pid_t pid)
{
    long is;
    unsigned long first;
    bool asleep = sleeping_call(pid, &is, &first) && is == SYS_futex;
    return asleep ? (const void *)first : NULL;
}

/* ---------------------------------------------------------------- begin and end */

bool subject_launch(struct subject *subject, void (*body)(void))
{
    *subject = (struct subject){.pid = fork(), .may_sleep = true};
    if (subject->pid < 0)
        return bad("cannot fork: %s", strerror(errno));
    if (subject->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        require(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        body();
        for (;;)
            pause();
    }
    return true;
}

bool subject_start(struct subject *subject, void (*body)(void))
{
    return subject_launch(subject, body) && subject_arrive(subject);
}

bool subject_arrive(struct subject *subject)
{
    subject->may_sleep = true;
    subject_wait(subject, -1);
    subject->ended = false;
    return !subject->lost;
}

void subject_mark(int signal)
{
    (void)signal;
    marker();
}

bool subject_interrupt(struct subject *subject)
{
    kill(subject->pid, SIGUSR1);
    return subject_arrive(subject); /* which hands the signal on */
}

void subject_kill(struct subject *subject)
{
    if (subject->pid <= 0)
        return;
    kill(subject->pid, SIGKILL);
    for (int status = 0; waitpid(subject->pid, &status, __WALL) == subject->pid;) {
        if (!WIFSTOPPED(status))
            break;
    }
    subject->pid = 0;
}
