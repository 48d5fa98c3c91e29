/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.c - death at every access. In each scenario a process may be killed before each access that
 * it makes to shared memory and before each thing it asks of the kernel, in every order of events
 * within the preemption bound; then the kernel closes what it had, the host recovers, the survivors
 * go on, and everything has to add up. The recoverer itself dies likewise. */
#include "../proof.h"

#include "../model/scenarios.h"

static struct model_mode mode_of(const struct deadly_scenario *scenario, int preemptions)
{
    return (struct model_mode){
        .budget.preemptions = preemptions,
        .budget.kills = scenario->kills,
        .budget.timeouts = scenario->timeouts,
        .killable = scenario->killable,
        .kill_anywhere = true,
        .rate = 40,
    };
}

static void add(struct model_result *total, struct model_result more)
{
    more.runs += total->runs;
    more.kills += total->kills;
    more.states += total->states;
    more.complete &= total->complete || total->runs == 0;
    *total = more;
}

/* Every death without preemptions, then with as many as the scale allows, then at random. */
static struct model_result explore(const struct proof *proof,
                                   const struct deadly_scenario *scenario)
{
    struct model_result total = {0};
    int most = scenario->preemptions_quick;
    if (proof->scale != PROOF_QUICK)
        most = proof->scale == PROOF_LONG ? scenario->preemptions_long : 1;
    for (int preemptions = 0; preemptions <= most && !total.failed; preemptions++) {
        struct model_mode mode = mode_of(scenario, preemptions);
        mode.most_runs = proof_amount(proof, 30000, 1000000, 150000);
        add(&total, model_run(&scenario->model, &mode));
    }
    if (!total.failed) {
        struct model_mode mode = mode_of(scenario, MODEL_UNLIMITED);
        mode.random_runs = proof_amount(proof, 2000, 50000, 5000);
        mode.seed = proof->seed;
        bool complete = total.complete;
        add(&total, model_run(&scenario->model, &mode));
        total.complete = complete;
    }
    return total;
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    uint64_t kills = 0;
    for (unsigned i = 0; i < deadly_scenario_count; i++) {
        const struct deadly_scenario *scenario = &deadly_scenarios[i];
        if (!proof_wants(&proof, scenario->model.name))
            continue;
        double begun = proof_seconds();
        struct model_result result = explore(&proof, scenario);
        proof.executions += result.runs;
        kills += result.kills;
        proof_check(&proof, !result.failed, scenario->model.name,
                    "%s, %llu schedules, %llu kills, %llu states, %s, %.1f s",
                    result.failed ? result.failure : "held", (unsigned long long)result.runs,
                    (unsigned long long)result.kills, (unsigned long long)result.states,
                    result.complete ? "complete" : "in part", proof_seconds() - begun);
    }
    proof_figure("kills", (double)kills, "processes");
    return proof_end(&proof);
}
