/* SPDX-License-Identifier: Apache-2.0
 *
 * access.h - the seam between the library and whoever watches its memory.
 *
 * The library is compiled with -fsanitize=thread, which turns every access to memory into a call,
 * but linked with tsan.c instead of the compiler's run-time library. tsan.c leads them all to the
 * six functions below, which a suite defines: model/ with a scheduler, a killer, a mutator and a
 * memory model behind them, wakeup/ with random delays.
 *
 * Plain accesses are announced before they are made by the library's own instructions. Atomic ones
 * are made by these functions. `pc` is the address behind the call in the library's code: which
 * access of the source it is. */
#ifndef ACCESS_H
#define ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum access_rmw { ACCESS_EXCHANGE, ACCESS_ADD, ACCESS_SUB, ACCESS_AND, ACCESS_OR, ACCESS_XOR };

/** A plain access is about to be made. */
void access_plain(const void *at, size_t bytes, bool is_write, const void *pc);

/** Atomic accesses of 1, 2, 4 or 8 bytes; order is one of __ATOMIC_*. Values are zero-extended. */
uint64_t access_load(const void *at, size_t bytes, int order, const void *pc);
void access_store(void *at, size_t bytes, uint64_t value, int order, const void *pc);
/** Returns the value before. */
uint64_t access_modify(void *at, size_t bytes, enum access_rmw what, uint64_t operand, int order,
                       const void *pc);
/** On failure *expected receives the value that was there. */
bool access_compare_exchange(void *at, size_t bytes, uint64_t *expected, uint64_t desired,
                             int success, int failure, const void *pc);
void access_fence(int order, const void *pc);

#endif
