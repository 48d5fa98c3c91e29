/* SPDX-License-Identifier: Apache-2.0
 *
 * explore.h - which of the possible choices is made. */
#ifndef EXPLORE_H
#define EXPLORE_H

#include "model.h"

/** One of `options` (>= 1); 0 is the usual one. `merge`: the state at this point is worth a look in
 *  the table of states; ends the execution when it was seen before. `rate`: at random, how seldom
 *  another one is taken. */
unsigned explore_choose(unsigned options, bool merge, unsigned rate);

/** What is left of the budget in this execution. */
extern struct model_budget explore_left;

/** Something is contended that was not known to be: exploring begins anew. */
void explore_again(void);

#endif
