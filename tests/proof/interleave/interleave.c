/* SPDX-License-Identifier: Apache-2.0
 *
 * interleave.c - every order of events, as far as can be: two processes exhaustively, three and
 * more with bounded preemptions, under sequential consistency. Whoever sleeps for ever, is answered
 * twice, with another's bytes, or never, is found by the checks of the model (world_check), and
 * nothing waits for time there: a wake-up that is lost is a deadlock. */
#include "../proof.h"

#include "../model/scenarios.h"

static struct model_result explore(const struct proof *proof, const struct scenario *scenario)
{
    struct model_mode mode = {
        .budget.preemptions = proof->scale == PROOF_LONG ? scenario->preemptions_long
                                                         : scenario->preemptions_quick,
        .budget.timeouts = scenario->timeouts,
        .most_runs = proof_amount(proof, 40000, 4000000, 400000),
    };
    return model_run(&scenario->model, &mode);
}

/* Orders beyond the bound, at random. */
static struct model_result wander(const struct proof *proof, const struct scenario *scenario)
{
    struct model_mode mode = {
        .budget.preemptions = MODEL_UNLIMITED,
        .budget.timeouts = scenario->timeouts,
        .random_runs = proof_amount(proof, 3000, 500000, 20000),
        .seed = proof->seed,
        .rate = 6,
    };
    return model_run(&scenario->model, &mode);
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    for (unsigned i = 0; i < scenario_count; i++) {
        const struct scenario *scenario = &scenarios[i];
        if (!proof_wants(&proof, scenario->model.name))
            continue;
        double begun = proof_seconds();
        struct model_result result = explore(&proof, scenario), further = {0};
        if (!result.failed)
            further = wander(&proof, scenario);
        if (further.failed)
            result = further;
        proof.executions += result.runs + further.runs;
        proof_check(&proof, !result.failed, scenario->model.name,
                    "%s, %llu schedules %s, %llu states, and %llu at random, %.1f s",
                    result.failed ? result.failure : "held", (unsigned long long)result.runs,
                    result.complete ? "(all)" : "(a part)", (unsigned long long)result.states,
                    (unsigned long long)further.runs, proof_seconds() - begun);
    }
    return proof_end(&proof);
}
