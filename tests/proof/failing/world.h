/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h - the service that the scripts work with: a host on a thread, a worker on another, in a
 * folder of their own; and what a process has open, which must be the same before and after. */
#ifndef WORLD_H
#define WORLD_H

#include "carom.h"

#include <stdbool.h>
#include <stddef.h>

#define SERVICE "failing"
#define MILLISECOND INT64_C(1000000)
#define SECOND INT64_C(1000000000)
/** The methods of every worker here. */
enum {
    ECHO,  /* replies with the request */
    SLOW,  /* the same after 2 ms, so that its caller sleeps */
    WRONG, /* fails with INVALID_ARGUMENT, a type, a message, a traceback */
    OBEY,  /* waits until it is cancelled */
    AGAIN, /* idempotent: fails with UNAVAILABLE, but every second time it is SLOW */
    DEATH, /* idempotent: only mortal.c has it, which dies of it */
    METHODS,
};
extern const struct carom_method world_methods[METHODS];

/** Makes the folder, sets $CAROM_DIR. */
void world_folder_make(void);
const char *world_folder(void);
/** Removes it; returns how many files were left in it. */
int world_folder_remove(void);

/** Opens the host and runs it on a thread; `role` is that thread's. */
void world_host_open(const struct carom_host_options *options, int role);
void world_host_close(void);
struct carom_host *world_host(void);

/** A worker on a thread. Waits until it is ready. */
void world_worker_open(void);
/** Returns what carom_worker_run returned. */
int world_worker_close(bool stop);

/** Whether the host has seen so many come: clients, workers. Waits up to 2 s. */
bool world_await(uint32_t clients, uint32_t workers);

struct counts {
    int fds, owed_fds, threads, files; /* so many descriptors may be missing */
    long mapped_kb, blocks;
};
struct counts counts_now(void);
/** What there is when nothing has changed for a while. */
struct counts counts_settled(void);
/** Waits up to 1 s for them to be as they were. */
bool counts_await(const struct counts *before);
/** Names what there is more or less of. */
void counts_tell(const struct counts *before, char *text, size_t capacity);

void nap(int64_t duration_ns);

#endif
