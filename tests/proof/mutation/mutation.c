/* SPDX-License-Identifier: Apache-2.0
 *
 * mutation.c - a hostile peer changes any value that it can write, just before it is read: every
 * read, each of 13 ways, one and two at a time without preemptions, as far as a bound of executions
 * goes; then many at random in any order of events. Whoever reads must stay inside its memory, come
 * to an end after a bounded number of accesses, and go on serving the others: the second client's
 * calls are exact.
 *
 * A hostile client writes its lane, its requests and the bell; a hostile worker writes every lane,
 * the replies, the bell and the statistics. Who is hostile runs the library as well, and what
 * becomes of its own calls is its own affair. */
#include "../proof.h"

#include "../model/accesses.h"
#include "../model/scenarios.h"

static struct model_result explore(const struct proof *proof,
                                   const struct hostile_scenario *scenario, int mutations,
                                   uint64_t random_runs)
{
    struct model_mode mode = {
        .budget.mutations = mutations,
        .budget.timeouts = 0,
        .hostile = scenario->hostile,
        .random_runs = random_runs,
        .seed = proof->seed,
        .rate = 20,
        .mutation_rate = 8,
        .accesses_most = scenario->accesses_most,
    };
    if (random_runs > 0)
        mode.budget.preemptions = MODEL_UNLIMITED;
    else
        mode.most_runs = proof_amount(proof, 15000, 1200000, 400000);
    return model_run(&scenario->model, &mode);
}

static void report(struct proof *proof, const char *name, const char *how,
                   const struct model_result *result, double begun)
{
    char text[128];
    snprintf(text, sizeof text, "%s, %s", name, how);
    proof->executions += result->mutations;
    proof_check(proof, !result->failed, text,
                "%s, %llu mutations in %llu executions%s, at most %llu accesses without a pause, "
                "%.1f s",
                result->failed ? result->failure : "held", (unsigned long long)result->mutations,
                (unsigned long long)result->runs, result->complete ? " (all)" : "",
                (unsigned long long)result->most_accesses, proof_seconds() - begun);
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    for (unsigned i = 0; i < hostile_scenario_count; i++) {
        const struct hostile_scenario *scenario = &hostile_scenarios[i];
        if (!proof_wants(&proof, scenario->model.name))
            continue;
        double begun = proof_seconds();
        struct model_result result = explore(&proof, scenario, 1, 0);
        report(&proof, scenario->model.name, "one at a time", &result, begun);
        begun = proof_seconds();
        if (!result.failed && proof.scale == PROOF_LONG) {
            result = explore(&proof, scenario, 2, 0);
            report(&proof, scenario->model.name, "two at a time", &result, begun);
        }
        begun = proof_seconds();
        if (!result.failed) {
            result = explore(&proof, scenario, 1000, proof_amount(&proof, 8000, 3000000, 40000));
            report(&proof, scenario->model.name, "many at random", &result, begun);
        }
    }
    return proof_end(&proof);
}
