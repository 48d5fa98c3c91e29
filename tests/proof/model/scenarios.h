/* SPDX-License-Identifier: Apache-2.0
 *
 * scenarios.h - what the suites let happen: small services with something to do, each around one
 * meeting of client, worker and host that could go wrong. */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "world.h"

struct scenario {
    struct model_scenario model;
    int timeouts; /* that may come at any moment: budget */
    int preemptions_quick, preemptions_long;
};

/** Nobody dies. */
extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/** Somebody does. */
struct deadly_scenario {
    struct model_scenario model;
    uint32_t killable; /* bit = process */
    int kills;
    int timeouts;
    int preemptions_quick, preemptions_long;
};

extern const struct deadly_scenario deadly_scenarios[];
extern const unsigned deadly_scenario_count;

/** Somebody is hostile. */
struct hostile_scenario {
    struct model_scenario model;
    uint32_t hostile;       /* bit = process */
    unsigned accesses_most; /* of a task to shared memory between two pauses; docs/reliability.md */
};

extern const struct hostile_scenario hostile_scenarios[];
extern const unsigned hostile_scenario_count;

#endif
