/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_order.c - the library under the C11 memory model, not under x86: no order of events and no
 * older value that a load may give leads to a lost call, a lost wake-up, foreign bytes or a data
 * race. And every memory order is needed: each access of the library is given a weaker one in turn,
 * and something must break, or allowed.c must say why it may.
 *
 * The real code runs, not a copy of it in a model's language: orders are replaced at run time. */
#include "memory_order.h"

static struct model_mode mode_of(unsigned scenario, uint64_t runs, uint64_t seed)
{
    struct model_mode mode = {
        .budget.preemptions = MODEL_UNLIMITED,
        .budget.stale = MODEL_UNLIMITED,
        .weak = true,
        .random_runs = runs,
        .seed = seed,
        .rate = 5,
    };
    if (scenario < scenario_count) {
        mode.budget.timeouts = scenarios[scenario].timeouts;
        return mode;
    }
    const struct deadly_scenario *deadly = &deadly_scenarios[scenario - scenario_count];
    mode.budget.kills = deadly->kills;
    mode.budget.timeouts = deadly->timeouts;
    mode.killable = deadly->killable;
    mode.rate = 10;
    return mode;
}

static const struct model_scenario *scenario_of(unsigned number)
{
    return number < scenario_count ? &scenarios[number].model
                                   : &deadly_scenarios[number - scenario_count].model;
}

static struct model_result run(unsigned number, uint64_t runs, uint64_t seed)
{
    struct model_mode mode = mode_of(number, runs, seed);
    sites->scenario = number;
    return model_run(scenario_of(number), &mode);
}

static void run_as_it_is(struct proof *proof)
{
    uint64_t runs = proof_amount(proof, 2500, 60000, 20000);
    for (unsigned i = 0; i < scenario_count + deadly_scenario_count; i++) {
        const char *name = scenario_of(i)->name;
        if (proof->scale == PROOF_PLANTED && proof->failures > 0)
            return;
        struct model_result result = run(i, runs, proof->seed);
        proof->executions += result.runs;
        if (proof_wants(proof, name))
            proof_check(proof, !result.failed, name, "%s, %llu executions, %llu older values read",
                        result.failed ? result.failure : "held", (unsigned long long)result.runs,
                        (unsigned long long)result.stale);
    }
}

/* ---------------------------------------------------------------- every order is needed */

static bool is_first_of_its_name(uint32_t number)
{
    for (uint32_t i = 0; i < number; i++) {
        if (strcmp(sites->site[i].name, sites->site[number].name) == 0)
            return false;
    }
    return true;
}

static uint64_t scenarios_of(uint32_t number)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < sites->count; i++) {
        if (strcmp(sites->site[i].name, sites->site[number].name) == 0)
            all |= sites->site[i].scenarios;
    }
    return all;
}

/* In every scenario that comes by there, until something breaks. */
static bool breaks(struct proof *proof, uint32_t number, int weaker, uint64_t runs, char *how,
                   size_t bytes)
{
    uint64_t where = scenarios_of(number);
    sites->chosen = number;
    sites->weakened = weaker;
    bool broken = false;
    for (unsigned i = 0; i < scenario_count + deadly_scenario_count && !broken; i++) {
        if (!(where >> i & 1))
            continue;
        struct model_result result = run(i, runs, proof->seed + number);
        proof->executions += result.runs;
        broken = result.failed;
        if (broken)
            snprintf(how, bytes, "%s: %s", scenario_of(i)->name, result.failure);
    }
    sites->chosen = SITES_MOST;
    return broken;
}

static void weaken(struct proof *proof, uint32_t number, int weaker, uint64_t runs)
{
    char name[256], how[600] = "nothing breaks, and no reason is known";
    snprintf(name, sizeof name, "%s -> %s", sites->site[number].name, sites_order_name(weaker));
    bool broken = breaks(proof, number, weaker, runs / 20, how, sizeof how) ||
                  breaks(proof, number, weaker, runs, how, sizeof how);
    printf("planted weaker-order-%u-%s %s\n", number, sites_order_name(weaker),
           broken ? "caught" : "missed");
    proof_check(proof, broken, name, "%s", how);
}

static void weaken_each(struct proof *proof)
{
    uint64_t runs = proof_amount(proof, 4000, 60000, 0);
    unsigned all = 0, excused = 0;
    const uint32_t named = sites->count; /* weaker orders may lead to further places: not counted */
    for (uint32_t number = 0; number < named; number++) {
        int weaker[2];
        const char *name = sites->site[number].name;
        unsigned count = sites_weaker(&sites->site[number], weaker);
        for (unsigned i = 0; i < count && is_first_of_its_name(number); i++) {
            all++;
            if (allowed_reason(name, weaker[i]) != NULL)
                excused++;
            else if (proof_wants(proof, name) &&
                     (proof->scale == PROOF_LONG || is_caught_at_once(name)))
                weaken(proof, number, weaker[i], runs);
        }
    }
    printf("# %u orders of the library can be weaker by a step, %u of them may\n", all, excused);
    proof_figure("orders", all, "steps");
    proof_figure("orders_that_may_be_weaker", excused, "steps");
}

static bool is_site(const char *name)
{
    for (uint32_t i = 0; i < sites->count; i++) {
        if (strcmp(sites->site[i].name, name) == 0)
            return true;
    }
    return false;
}

/* What is excused must still be there. */
static void check_excuses(struct proof *proof)
{
    const char *name, *missing = NULL;
    for (unsigned i = 0; (name = allowed_name(i)) != NULL; i++) {
        if (!is_site(name))
            missing = name;
    }
    proof_check(proof, missing == NULL, "every access that is excused is there", "%s",
                missing != NULL ? missing : "all of them");
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    sites_open();
    litmus(&proof);
    run_as_it_is(&proof);
    if (proof.scale != PROOF_PLANTED) {
        sites_name();
        check_excuses(&proof);
        weaken_each(&proof);
    }
    return proof_end(&proof);
}
