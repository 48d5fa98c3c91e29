/* SPDX-License-Identifier: Apache-2.0
 *
 * double_fetch.c - a value that another process can write is loaded once. Every read of shared
 * memory is recorded with the operation of the public API that made it, in every scenario, with
 * deaths and without; a field that one operation reads twice must be on the list below, which says
 * why each reading stands for itself. */
#include "../proof.h"

#include "../model/accesses.h"
#include "../model/arena.h"
#include "../model/scenarios.h"
#include "../model/tasks.h"

/** Words about which every reading is a decision of its own, made on the value just read: nothing
 *  that was concluded from an earlier reading is used with a later one. */
static const struct {
    const char *field, *why;
} allowed[] = {
    {"slot.state", "who waits or competes reads it until it has changed; each transition is a "
                   "compare-and-swap from the value just read"},
    {"slot.deaths", "read to decide about a repetition, and again to decide whether to clear it"},
    {"lane.head", "a cursor: read again after each step, moved by compare-and-swap"},
    {"ring.cell", "looked at again after head has moved; used only if its lap is that of the "
                  "position just read"},
    {"lane.event", "a futex word"},
    {"lane.completed", "bits: looked at before they are taken by an exchange"},
    {"bell.parked", "hints: looked at, then taken by a read-modify-write"},
    {"bell.ready", "hints: looked at again before parking"},
    {"bell.park", "a futex word: read before announcing, compared by the kernel"},
    {"directory.change", "a futex word, written by the host alone"},
    {"directory.state", "written by the host alone; only its latest value counts"},
    {"directory.method_count", "written by the host alone; grows, and is range-checked each time"},
    {"directory.texts", "written by the host alone, complete before their count covers them"},
    {"statistics", "a worker's counters, which it alone writes: read to be increased"},
};

#define READS (1u << 14)

static struct {
    const void *at, *pc;
    unsigned task, operation;
    uint64_t life; /* of the slot: a wait may see several attempts, a worker take several calls */
} reads[READS];

#define FOUND_MOST 64u

static struct {
    char field[48], operation[32];
    const void *first, *second;
} found[FOUND_MOST];

static bool is_allowed(const char *field)
{
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        if (strcmp(allowed[i].field, field) == 0)
            return true;
    }
    return false;
}

/* Whether a kind of double reading is a new one. */
static bool note(const char *field, const char *operation, const void *first, const void *second)
{
    for (unsigned i = 0; i < FOUND_MOST; i++) {
        if (found[i].first == NULL) {
            snprintf(found[i].field, sizeof found[i].field, "%s", field);
            snprintf(found[i].operation, sizeof found[i].operation, "%s", operation);
            found[i].first = first;
            found[i].second = second;
            return true;
        }
        if (strcmp(found[i].field, field) == 0 && strcmp(found[i].operation, operation) == 0)
            return false;
    }
    return false;
}

/* The host has no operations: what it does between two sleeps counts as one. */
static unsigned operation_of(unsigned task)
{
    static uint64_t accesses[MODEL_TASKS + 1];
    static unsigned naps[MODEL_TASKS + 1];
    naps[task] += accesses_count[task] <= accesses[task];
    accesses[task] = accesses_count[task];
    return task_process() == HOST ? naps[task] : world_operation_number(task);
}

static void on_read(const void *at, size_t bytes, const void *pc)
{
    unsigned task = task_self(), operation = operation_of(task);
    uint64_t slot = arena_mix(task, (uintptr_t)at + operation * UINT64_C(0x100000001)) % READS;
    (void)bytes;
    if (!model_exploring || (model_mode.hostile >> task_process() & 1))
        return;
    uint64_t life = world_life(at);
    if (reads[slot].at == at && reads[slot].task == task && reads[slot].operation == operation &&
        reads[slot].life == life) {
        const char *field = world_field(at), *name = world_operation_name(task);
        if (!is_allowed(field) && note(field, name, reads[slot].pc, pc))
            model_fail("%s reads %s twice during '%s', at pc %p and %p", task_name(task), field,
                       name, reads[slot].pc, pc);
    }
    reads[slot].at = at;
    reads[slot].task = task;
    reads[slot].operation = operation;
    reads[slot].pc = pc;
    reads[slot].life = life;
}

/* Operation numbers go on from execution to execution, so nothing has to be forgotten. */
static void watch(struct proof *proof, const struct model_scenario *scenario,
                  const struct model_mode *mode)
{
    if (!proof_wants(proof, scenario->name))
        return;
    struct model_result result = model_run(scenario, mode);
    proof->executions += result.runs;
    proof_check(proof, !result.failed, scenario->name, "%s, %llu executions",
                result.failed ? result.failure : "every field once",
                (unsigned long long)result.runs);
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    uint64_t runs = proof_amount(&proof, 2000, 100000, 2000);
    accesses_on_read = on_read;
    for (unsigned i = 0; i < scenario_count; i++) {
        struct model_mode mode = {.budget.preemptions = MODEL_UNLIMITED,
                                  .budget.timeouts = scenarios[i].timeouts,
                                  .random_runs = runs,
                                  .seed = proof.seed,
                                  .rate = 8};
        watch(&proof, &scenarios[i].model, &mode);
    }
    for (unsigned i = 0; i < deadly_scenario_count; i++) {
        struct model_mode mode = {.budget.preemptions = MODEL_UNLIMITED,
                                  .budget.kills = deadly_scenarios[i].kills,
                                  .budget.timeouts = deadly_scenarios[i].timeouts,
                                  .killable = deadly_scenarios[i].killable,
                                  .kill_anywhere = true,
                                  .random_runs = runs,
                                  .seed = proof.seed,
                                  .rate = 40};
        watch(&proof, &deadly_scenarios[i].model, &mode);
    }
    printf("# fields that may be read again:\n");
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        printf("#   %s: %s\n", allowed[i].field, allowed[i].why);
    return proof_end(&proof);
}
