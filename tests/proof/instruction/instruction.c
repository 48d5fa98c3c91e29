/* SPDX-License-Identifier: Apache-2.0
 *
 * instruction.c - kills real processes with SIGKILL at every instruction of every operation.
 *
 * Each scenario (client_ops.c, worker_ops.c, host_ops.c) is recorded once, instruction by
 * instruction. Then a new subject is started for each of its points, brought there, and killed;
 * the survivors go on and everything is checked (scene.c).
 *
 *   quick    a sample: as many system calls and locked instructions as others, shifted by the seed
 *   long     every instruction (of loops that go round more than 16 times the first and the last 8
 *            rounds and some between); with interference, 24 points for each at which it comes
 */
#include "host_scene.h"
#include "scene.h"
#include "trace.h"

#include "proof.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/** Instructions between interference and kill, at most. */
#define BEHIND_EVENT 300u
#define ACTS_BEHIND_EVENT 8u
#define LONG_TRACE 20000u
#define LONGEST_TRACE 400000u
/** With another thread interfering all the time an operation may go on for ever at this pace. */
#define LONGEST_WITH_RIVAL 600u
/** Points for each instruction of a scenario with interference. */
#define REPEATS 24u

struct run {
    const struct scenario *scenario;
    struct proof *proof;
    struct trace trace;
    struct point before; /* the point before this one */
    uint64_t random;
    uint32_t kills;
    uint32_t ended; /* points that were not reached before the operation ended */
    double said_s;
};

static const struct scenario *const tables[] = {client_scenarios, worker_scenarios, host_scenarios};

/* ---------------------------------------------------------------- driving a subject */

static bool begin_point(const struct scenario *scenario, struct subject *subject)
{
    return scenario->host ? host_scene_start(scenario, subject) : scene_start(scenario, subject);
}

static bool end_point(const struct scenario *scenario, struct subject *subject)
{
    return scenario->host ? host_scene_kill(scenario, subject) : scene_kill(scenario, subject);
}

static long sleeping_call(const struct scenario *scenario)
{
    if (scenario->when == NO_EVENT)
        return -1;
    return scenario->host ? SYS_epoll_wait : SYS_futex;
}

/* A subject on its way. */
struct journey {
    const struct scenario *scenario;
    struct subject subject;
    bool event_done;
    bool may_rest; /* when it sleeps, it is where it should be */
};

static void have_event(struct journey *journey)
{
    if (!journey->event_done)
        journey->scenario->event();
    journey->event_done = true;
}

/* Waits until the subject stops. When it sleeps for the first time, the event comes. */
static void settle(struct journey *journey)
{
    const struct scenario *scenario = journey->scenario;
    struct subject *subject = &journey->subject;
    const double end_s = proof_seconds() + patience_s;
    while (proof_seconds() < end_s) {
        bool watch = !journey->event_done || journey->may_rest || scenario->done != NULL;
        subject_wait(subject, watch ? sleeping_call(scenario) : -1);
        if (!subject->asleep || subject->lost || journey->may_rest)
            return;
        if (journey->event_done && scenario->done != NULL && scenario->done()) {
            subject->ended = true;
            return;
        }
        have_event(journey);
        subject->asleep = false;
    }
    subject->lost = true;
    bad("the subject does not come to an end");
}

static void step_once(struct journey *journey)
{
    subject_step(&journey->subject);
    settle(journey);
}

/* Not at its end: the marker itself is not an instruction of the operation. */
static bool is_under_way(const struct journey *journey)
{
    const struct subject *subject = &journey->subject;
    return !subject->ended && !subject->lost && !subject->asleep && problem[0] == '\0' &&
           !is_marker(subject->rip);
}

/* ---------------------------------------------------------------- recording */

static bool record_once(struct run *run)
{
    struct journey journey = {.scenario = run->scenario};
    if (!begin_point(run->scenario, &journey.subject))
        return end_point(run->scenario, &journey.subject);
    const uint32_t longest = run->scenario->rival ? LONGEST_WITH_RIVAL : LONGEST_TRACE;
    while (is_under_way(&journey) && run->trace.count < longest) {
        trace_add(&run->trace, journey.subject.rip);
        step_once(&journey);
    }
    if (run->scenario->when == WHEN_ASLEEP && !journey.event_done)
        bad("the subject was expected to sleep, and did not");
    trace_finish(&run->trace);
    return end_point(run->scenario, &journey.subject);
}

/* On a busy machine a peer may lose patience with a host that is stepped, and come again and again:
 * then the next run is shorter. */
static bool record(struct run *run)
{
    bool ok = record_once(run);
    for (int i = 0; ok && i < 2 && run->trace.count > LONG_TRACE; i++) {
        trace_free(&run->trace);
        ok = record_once(run);
    }
    return ok;
}

/* ---------------------------------------------------------------- points */

static void go_to(struct run *run, struct journey *journey, uint32_t at)
{
    /* where another thread interferes, only slow runs are alike */
    uint32_t from = run->scenario->rival ? 0 : trace_way(&run->trace, at);
    if (from > 0) {
        subject_run(&journey->subject, run->trace.rip[from], run->trace.nth[from]);
        settle(journey);
    }
    for (; from < at && is_under_way(journey); from++)
        step_once(journey);
}

static void go_to_sleep(struct journey *journey)
{
    journey->may_rest = true;
    subject_run(&journey->subject, 0, 0);
    settle(journey);
}

/* So many instructions, or so many that others see. */
static void go_beyond_event(struct journey *journey, struct point point)
{
    uint32_t steps = 0, acts = 0;
    journey->may_rest = true;
    have_event(journey);
    while (is_under_way(journey) && (point.acts > 0 ? acts < point.acts : steps < point.at)) {
        acts += is_act(journey->subject.rip);
        steps++;
        step_once(journey);
    }
}

static void travel(struct run *run, struct journey *journey, struct point point)
{
    if (point.asleep) {
        go_to_sleep(journey);
    } else if (run->scenario->when == ANYWHERE) {
        go_to(run, journey, point.event_at);
        if (is_under_way(journey))
            go_beyond_event(journey, point);
    } else {
        go_to(run, journey, point.at);
    }
    run->ended += journey->subject.ended;
    if (!journey->subject.ended)
        trace_meet(&run->trace, journey->subject.rip);
    run->kills++;
    run->proof->executions++;
}

static void report(struct run *run, struct point point, uint64_t rip)
{
    proof_check(run->proof, false, run->scenario->name,
                "%s (seed %llu; killed before instruction %u%s, at %#llx; event before %u, then %u "
                "acts; the kill before: %u, %u, %u)",
                problem, (unsigned long long)run->proof->seed, point.at,
                point.asleep ? ", asleep" : "", (unsigned long long)rip, point.event_at, point.acts,
                run->before.at, run->before.event_at, run->before.acts);
}

static bool make_point(struct run *run, struct point point)
{
    struct journey journey = {.scenario = run->scenario};
    if (begin_point(run->scenario, &journey.subject))
        travel(run, &journey, point);
    uint64_t rip = journey.subject.rip;
    bool ok = end_point(run->scenario, &journey.subject);
    if (!ok)
        report(run, point, rip);
    run->before = point;
    return ok;
}

static void progress(struct run *run, uint32_t at)
{
    if (proof_seconds() - run->said_s < 5)
        return;
    run->said_s = proof_seconds();
    printf("# %s: %u kills, instruction %u of %u, %llu kills in all\n", run->scenario->name,
           run->kills, at, run->trace.count, (unsigned long long)run->proof->executions);
}

static uint32_t below(struct run *run, uint32_t bound)
{
    return bound == 0 ? 0 : (uint32_t)(proof_random(&run->random) % bound);
}

/* With interference at an instruction: the kill comes so many instructions later, or right after
 * one that others see. */
static struct point choose_point(struct run *run, uint32_t at)
{
    if (run->scenario->when != ANYWHERE)
        return (struct point){.at = at};
    if (proof_random(&run->random) % 2 == 0)
        return (struct point){.event_at = at, .at = below(run, BEHIND_EVENT)};
    return (struct point){.event_at = at, .acts = 1 + below(run, ACTS_BEHIND_EVENT)};
}

/* Every instruction; with interference, so often with the event and the kill anywhere. */
static bool kill_everywhere(struct run *run, uint32_t repeats)
{
    const uint32_t count = run->trace.count;
    for (uint32_t repeat = 0; repeat < repeats; repeat++) {
        for (uint32_t at = 0; at < count; at++) {
            if (trace_is_chosen(&run->trace, at) && !make_point(run, choose_point(run, at)))
                return false;
            progress(run, at);
        }
    }
    return true;
}

static uint32_t one_in(uint32_t count, uint32_t points)
{
    return 2 * count > points ? 2 * count / points : 1;
}

/* So many points: a part of the boundaries, a part of the others. */
static bool kill_here_and_there(struct run *run, uint32_t points)
{
    const uint32_t count = run->trace.count;
    uint32_t boundaries = 0;
    for (uint32_t at = 0; at < count; at++)
        boundaries += trace_is_boundary(&run->trace, at);
    const uint32_t every = one_in(boundaries, points), stride = one_in(count, points);
    uint32_t offset = below(run, stride), boundary = below(run, every);
    for (uint32_t at = 0; at < count; at++) {
        bool wanted = at % stride == offset;
        if (trace_is_boundary(&run->trace, at))
            wanted |= boundary++ % every == 0;
        if (wanted && !make_point(run, choose_point(run, at)))
            return false;
        progress(run, at);
    }
    return true;
}

static bool kill_all(struct run *run)
{
    bool ok = true;
    if (run->scenario->when == WHEN_ASLEEP)
        ok = make_point(run, (struct point){.asleep = true});
    if (!ok)
        return false;
    const bool interferes = run->scenario->when == ANYWHERE;
    if (run->proof->scale == PROOF_LONG)
        return kill_everywhere(run, interferes ? REPEATS : 1);
    if (run->proof->scale == PROOF_PLANTED)
        return interferes ? kill_everywhere(run, 2) : kill_here_and_there(run, 60);
    return kill_here_and_there(run, run->scenario->host ? 8 : 14);
}

/* ---------------------------------------------------------------- scenarios */

/* What the last host leaves behind is seen on one more. */
static bool end_well(struct run *run)
{
    if ((!run->scenario->host || host_scene_succeed()) && scene_is_clean())
        return true;
    report(run, run->before, 0);
    return false;
}

static void play(struct proof *proof, const struct scenario *scenario)
{
    struct run run = {.scenario = scenario, .proof = proof, .said_s = proof_seconds()};
    run.random = proof->seed * 2654435761u + (uint64_t)(uintptr_t)scenario;
    const double begun_s = proof_seconds();
    bool ok = scenario->host ? host_scene_begin(scenario) : scene_begin(scenario);
    ok = ok && record(&run);
    if (!ok)
        proof_check(proof, false, scenario->name, "%s (in the run that was recorded)", problem);
    else if (kill_all(&run) && end_well(&run))
        proof_check(proof, true, scenario->name,
                    "%u kills in %u instructions, at %u of %u different ones, %u when it was "
                    "over: %.1f s",
                    run.kills, run.trace.count, trace_met(&run.trace), run.trace.distinct,
                    run.ended, proof_seconds() - begun_s);
    scene_end();
    trace_free(&run.trace);
}

/* A host that was killed leaves these two. */
static void remove_folder(struct proof *proof, const char *folder)
{
    char path[200];
    snprintf(path, sizeof path, "%s/" SERVICE ".sock", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/" SERVICE ".sock.lock", folder);
    unlink(path);
    if (rmdir(folder) != 0)
        proof_check(proof, false, "folder", "something is left in %s", folder);
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    char folder[] = "/tmp/carom-instruction-XXXXXX";
    patience_s = proof.scale == PROOF_PLANTED ? 4 : 30;
    board_make();
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    require(mkdtemp(folder) != NULL && setenv("CAROM_DIR", folder, 1) == 0);
    for (size_t table = 0; table < sizeof tables / sizeof tables[0]; table++) {
        for (const struct scenario *scenario = tables[table]; scenario->name != NULL; scenario++) {
            if (proof_wants(&proof, scenario->name))
                play(&proof, scenario);
        }
    }
    remove_folder(&proof, folder);
    return proof_end(&proof);
}
