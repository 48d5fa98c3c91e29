/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_order.h - the parts of the suite memory_order. */
#ifndef MEMORY_ORDER_H
#define MEMORY_ORDER_H

#include "../proof.h"

#include "../model/scenarios.h"

#include <stdbool.h>
#include <stdint.h>

/** An access of the library whose order is stronger than relaxed. */
struct site {
    const void *pc;
    bool is_failure; /* the order of a compare-exchange that fails */
    int order;
    uint64_t scenarios; /* bit = scenario in which it was made */
    char name[160];     /* "ring.h carom__ring_peek acquire", "#2" behind the second such */
};

#define SITES_MOST 400u

/** In memory that child processes share. */
struct sites {
    uint32_t count;
    uint32_t chosen;   /* the site whose order is weakened; SITES_MOST none */
    int weakened;      /* what it becomes */
    unsigned scenario; /* that is being run */
    struct site site[SITES_MOST];
};

extern struct sites *sites;

/** sites.c: makes the table, begins to record; gives names to what was recorded. */
void sites_open(void);
void sites_name(void);

/** Orders that are one step weaker than an access's; returns how many. */
unsigned sites_weaker(const struct site *site, int weaker[2]);
const char *sites_order_name(int order);

/** litmus.c: the memory model does what C11 says. */
void litmus(struct proof *proof);

/** allowed.c: why an order may be weaker as far as this suite can see; NULL: no reason is known. */
const char *allowed_reason(const char *name, int weaker);
/** The names there, NULL behind the last: each must be that of an access. */
const char *allowed_name(unsigned number);
/** Whether a weaker order shows within a few executions: what quick tries. */
bool is_caught_at_once(const char *name);

#endif
