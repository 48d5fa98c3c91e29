/* SPDX-License-Identifier: Apache-2.0
 *
 * weak.h - the C11 memory model, operationally: an atomic object is the list of its stores in
 * modification order, a load may take any of them that the standard does not forbid, and which one
 * is a choice like any other.
 *
 * Happens-before is kept in vector clocks, one entry a task. A store carries the clock that an
 * acquire load of it receives (release stores, release fences, release sequences through
 * read-modify-writes). A load may not take a store older than one that happens before it, or than
 * one its task has read or written there (coherence), or, for seq_cst, than what [atomics.order] in
 * C11 7.17.3 p6, p9-11 lets it see: the last seq_cst store, and whatever was stored before a
 * seq_cst fence that comes earlier in the total order; a seq_cst fence gives the loads behind it
 * the same floor. Plain accesses that conflict without happens-before are data races.
 *
 * Limits: the modification order is the order of execution, and a load never takes a store that is
 * executed after it (no load buffering). The same limits as relacy's; the litmus tests of the suite
 * memory_order show what is found and what is forbidden. */
#ifndef WEAK_H
#define WEAK_H

#include "model.h"

void weak_begin(void);

uint64_t weak_load(const void *at, size_t bytes, int order, const void *pc);
/** Memory itself always holds the newest value. */
void weak_store(const void *at, uint64_t before, uint64_t value, int order);
void weak_modify(const void *at, uint64_t before, uint64_t value, int order);
/** Whether a compare-exchange fails by reading an older value than the newest. */
bool weak_fail(const void *at, size_t bytes, uint64_t expected, int order, const void *pc,
               uint64_t *older);
void weak_fence(int order);

/** A plain access: a race with another ends the execution. */
void weak_plain(const void *at, size_t bytes, bool is_write, const void *pc);

/** What the kernel orders: a mutex that is unlocked and locked, a message that is sent and
 *  received,
 *  the end of a process and its being noticed. Nothing if the memory model is not in force.
 *  channel  any address that is not otherwise accessed */
void weak_send(const void *channel);
void weak_receive(const void *channel);
/** The same on behalf of a task that has died. */
void weak_send_of(unsigned task, const void *channel);

#endif
