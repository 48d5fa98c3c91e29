/* SPDX-License-Identifier: Apache-2.0
 *
 * child.h - a process started for a pool of one's own: begun, awaited, ended.
 *
 * It leads a session of its own: Ctrl-C and a hang-up of the terminal go to the program alone, and
 * it decides what becomes of its pool. What the child starts is of its process group and ends with
 * it.
 *
 * It is watched and signalled by its pidfd, so it does not matter who reaps it: the program may
 * ignore SIGCHLD or wait for any child. */
#ifndef CAROM_CHILD_H
#define CAROM_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** Descriptor under which the child finds the one handed over. */
#define CAROM__CHILD_FD 3
/** Room for carom__child_ended. */
#define CAROM__CHILD_END_BYTES 96

struct carom__child {
    pid_t pid;
    int pidfd;
};

/** Starts a program with default signals, /dev/null as standard input, `fd` as CAROM__CHILD_FD and
 *  nothing else that this process has open but standard output and error.
 *  arguments  ending in NULL; the first is a path, or a name to be looked for in $PATH
 *  folder_fd  the folder in which it runs; -1: the present one
 *  Returns 0 or a negative errno with its sentence. */
int carom__child_start(const char *const *arguments, int folder_fd, int fd,
                       struct carom__child *child);

/** Waits until `fd` (-1: none) can be read or the child has ended. Returns false when the deadline
 *  came first. */
bool carom__child_wait(const struct carom__child *child, int fd, int64_t deadline_ns);

/** Whether it has ended. */
bool carom__child_has_ended(const struct carom__child *child);

/** Asks it to end. */
void carom__child_terminate(const struct carom__child *child);

/** Waits for its end as long as `deadline_ns` allows, then kills it. Kills what is left of its
 *  process group, reaps it, frees what it held here.
 *  how  receives how it ended: "exited with status 1"; CAROM__CHILD_END_BYTES */
void carom__child_finish(struct carom__child *child, int64_t deadline_ns, char *how);

/** In a forked copy of this process, whose child it is not: frees what it held here. */
void carom__child_forget(struct carom__child *child);

#endif
