/* SPDX-License-Identifier: Apache-2.0
 *
 * hot.h - what the compiler is told about the path of a call that meets no obstacle.
 *
 * Every operation of a call is written as one short function for the usual case, which saves no
 * registers and calls nothing, and one CAROM__RARE function that deals with everything else from
 * the start. bench/instructions counts what the usual case takes. */
#ifndef CAROM_HOT_H
#define CAROM_HOT_H

#define CAROM__LIKELY(condition) __builtin_expect(!!(condition), 1)
#define CAROM__UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define CAROM__RARE __attribute__((noinline, cold))
#define CAROM__HOT __attribute__((always_inline)) static inline

#endif
