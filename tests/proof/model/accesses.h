/* SPDX-License-Identifier: Apache-2.0
 *
 * accesses.h - what suites can watch of the library's accesses to memory. */
#ifndef ACCESSES_H
#define ACCESSES_H

#include "model.h"

/** Notes that the running task is about to touch an address; whether others do as well. */
bool accesses_contended(const void *at, bool is_write);

/** Called for every read of shared memory, before it is made; NULL: nobody. */
extern void (*accesses_on_read)(const void *at, size_t bytes, const void *pc);
/** For every write likewise. */
extern void (*accesses_on_write)(const void *at, size_t bytes, const void *pc);

/** Accesses of a task to shared memory since it slept last, or began an operation. */
extern uint64_t accesses_count[MODEL_TASKS + 1];

/** Weak: another memory order for one access of the source; pc as in access.h. NULL: none. */
extern int (*accesses_order)(const void *pc, bool is_failure, int order);

#endif
