/* SPDX-License-Identifier: Apache-2.0
 *
 * trace.c - recorded operations. See trace.h. */
#include "trace.h"

#include "board.h"
#include "step.h"

/** Rounds of a loop that are killed at: so many at its begin and at its end. */
#define ROUNDS 8u
/** What a hit of a breakpoint costs, in steps. */
#define HIT_COST 2u
#define FURTHEST_STEPS 2000u

void trace_add(struct trace *trace, uint64_t rip)
{
    if (trace->count == trace->capacity) {
        trace->capacity = trace->capacity == 0 ? 4096 : 2 * trace->capacity;
        trace->rip = realloc(trace->rip, trace->capacity * sizeof *trace->rip);
        require(trace->rip != NULL);
    }
    trace->rip[trace->count++] = rip;
}

static const uint64_t *sorting;

static int by_rip(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    if (sorting[a] != sorting[b])
        return sorting[a] < sorting[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

void trace_finish(struct trace *trace)
{
    uint32_t *order = calloc(trace->count + 1, sizeof *order);
    trace->nth = calloc(trace->count + 1, sizeof *trace->nth);
    trace->total = calloc(trace->count + 1, sizeof *trace->total);
    trace->which = calloc(trace->count + 1, sizeof *trace->which);
    trace->met = calloc(trace->count + 1, sizeof *trace->met);
    require(order != NULL && trace->nth != NULL && trace->total != NULL);
    require(trace->which != NULL && trace->met != NULL);
    for (uint32_t i = 0; i < trace->count; i++)
        order[i] = i;
    sorting = trace->rip;
    qsort(order, trace->count, sizeof *order, by_rip);
    for (uint32_t begin = 0, end; begin < trace->count; begin = end) {
        for (end = begin; end < trace->count && sorting[order[end]] == sorting[order[begin]]; end++)
            trace->nth[order[end]] = end - begin + 1;
        for (uint32_t i = begin; i < end; i++) {
            trace->total[order[i]] = end - begin;
            trace->which[order[i]] = trace->distinct;
        }
        trace->distinct++;
    }
    free(order);
}

void trace_free(struct trace *trace)
{
    free(trace->rip);
    free(trace->nth);
    free(trace->total);
    free(trace->which);
    free(trace->met);
    *trace = (struct trace){0};
}

void trace_meet(struct trace *trace, uint64_t rip)
{
    for (uint32_t at = 0; at < trace->count; at++) {
        if (trace->rip[at] != rip)
            continue;
        trace->met[trace->which[at]] = true;
        return;
    }
}

uint32_t trace_met(const struct trace *trace)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < trace->distinct; i++)
        count += trace->met[i];
    return count;
}

bool trace_is_boundary(const struct trace *trace, uint32_t at)
{
    return is_act(trace->rip[at]) || (at > 0 && is_act(trace->rip[at - 1]));
}

bool trace_is_chosen(const struct trace *trace, uint32_t at)
{
    uint32_t nth = trace->nth[at];
    return nth <= ROUNDS || nth + ROUNDS > trace->total[at] || (nth & (nth - 1)) == 0;
}

uint32_t trace_way(const struct trace *trace, uint32_t at)
{
    uint32_t best = at, least = HIT_COST * trace->nth[at];
    for (uint32_t back = 1; back <= at && back < least && back <= FURTHEST_STEPS; back++) {
        uint32_t cost = HIT_COST * trace->nth[at - back] + back;
        if (cost < least) {
            least = cost;
            best = at - back;
        }
    }
    return best;
}
