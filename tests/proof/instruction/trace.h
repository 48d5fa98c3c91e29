/* SPDX-License-Identifier: Apache-2.0
 *
 * trace.h - the instructions of one run of an operation, and at which of them it is to be killed.
 *
 * Runs of an operation differ a little. A point is therefore "before this instruction is executed
 * for the n-th time", counted in the run that was recorded; a later run that ends before it comes
 * there is killed at its end, and counted as such. */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stdint.h>

struct trace {
    uint64_t *rip;
    uint32_t *nth;   /* how often this instruction has come by then, from 1 */
    uint32_t *total; /* how often it comes in all */
    uint32_t count, capacity;
    uint32_t *which;   /* which of the different instructions it is, from 0 */
    uint32_t distinct; /* different instructions */
    bool *met;         /* which of them a subject was killed at */
};

void trace_add(struct trace *trace, uint64_t rip);

/** Counts, when it is complete. */
void trace_finish(struct trace *trace);
void trace_free(struct trace *trace);

/** A subject was killed before this instruction; how many different ones that makes. */
void trace_meet(struct trace *trace, uint64_t rip);
uint32_t trace_met(const struct trace *trace);

/** Whether something visible to others happens right before or at an instruction: a system call, a
 *  locked instruction. */
bool trace_is_boundary(const struct trace *trace, uint32_t at);

/** Whether an instruction is killed at in the long run: always, but of loops that go round often
 *  the first and the last rounds, and some between. */
bool trace_is_chosen(const struct trace *trace, uint32_t at);

/** The cheapest way to a point: run to instruction `from` by breakpoint, step the rest. */
uint32_t trace_way(const struct trace *trace, uint32_t at);

#endif
