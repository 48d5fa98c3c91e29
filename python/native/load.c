/* SPDX-License-Identifier: Apache-2.0
 *
 * load.c - the load generator behind `carom bench`: one connection's calls, closed or open loop.
 *
 * Closed loop: a call is sent whenever fewer than `depth` are in flight, its latency counts from
 * then. Open loop: call number j is due at begin + j * interval, whatever became of the calls
 * before it. It is sent then, or as soon as fewer than `depth` are in flight, but its latency
 * always counts from when it was due. A service that stalls for a second thus has a second's worth
 * of slow calls, not a single one (coordinated omission).
 *
 * With a depth of 1 a thread waits for its call as any synchronous caller does. Otherwise calls are
 * begun with CAROM_NOTIFY and finished in whatever order they are done.
 *
 * Waiting for the next due time takes no CPU: the thread sleeps until shortly before it and spins
 * for the rest. How much before is learned (about twice what the timer is usually late, never more
 * than 50 us), because a spinning generator takes CPU from the service that it measures. What it is
 * late all the same is in the latencies, and in late_max_ns.
 *
 * One thread runs a load and writes everything in it but `stopping`. Another may read the
 * histograms meanwhile, for a display; the report is read after the run.
 */
#include "load.h"

#include "histogram.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define WAKE_SIGNAL SIGURG
#define MARGIN_MOST_NS 50000
#define MARGIN_LEAST_NS 1000
#define SLICE_NS 100000000 /* a stop is noticed at least this often; shorter than coarse clocks */

_Static_assert(CAROM_PY_LOAD_BUCKETS == HISTOGRAM_BUCKETS, "declared for Python in load.h");

/* A call in flight. */
struct flight {
    struct carom_call *call;
    int64_t due_ns;
};

struct carom_py_load {
    struct carom_client *client;
    struct carom_py_load_plan plan;
    struct carom_py_load_report report;
    struct histogram latencies[2]; /* OK, failed */
    uint64_t sent;                 /* all of them: number of the next call in the schedule */
    uint64_t counted;              /* calls sent that count */
    int64_t freed_ns;              /* when there was last room for a call after there was none */
    int64_t behind_ns;             /* how late the last call was sent */
    int64_t margin_ns;             /* how long before a due time to wake up */
    atomic_bool stopping;
    pthread_mutex_t lock; /* of running and thread */
    bool running;
    pthread_t thread;
    uint32_t in_flight;
    struct flight flights[]; /* plan.depth; the first in_flight are in use */
};

static bool is_stopping(struct carom_py_load *load)
{
    /* relaxed: a flag that only ever turns true, publishes nothing */
    return atomic_load_explicit(&load->stopping, memory_order_relaxed);
}

static bool is_measured(const struct carom_py_load *load, int64_t due_ns)
{
    return due_ns >= load->plan.measure_ns;
}

/* ---- what came of a call */

/* What a negative errno of a call amounts to, for those who count by status. */
static int status_of(int outcome)
{
    switch (outcome) {
    case -ETIMEDOUT:
        return CAROM_DEADLINE_EXCEEDED;
    case -EHOSTDOWN:
    case -ESHUTDOWN:
        return CAROM_UNAVAILABLE;
    case -ENOMEM:
        return CAROM_RESOURCE_EXHAUSTED;
    default:
        return outcome < 0 ? CAROM_INTERNAL : outcome;
    }
}

/* Says what went wrong; right after it did, for a local error. */
static void describe(struct carom_call *call, int outcome, char *text)
{
    struct carom_error error;
    const char *detail = carom_error_detail();
    if (outcome > 0 && call != NULL && carom_call_error(call, &error) == 0)
        snprintf(text, CAROM_PY_LOAD_TEXT_BYTES, "%s%s%s", error.type,
                 error.type[0] != '\0' && error.message[0] != '\0' ? ": " : "", error.message);
    else
        snprintf(text, CAROM_PY_LOAD_TEXT_BYTES, "%s",
                 detail[0] != '\0' ? detail : carom_strerror(outcome));
}

static void note_error(struct carom_py_load *load, struct carom_call *call, int outcome,
                       int64_t due_ns, int64_t now_ns)
{
    struct carom_py_load_report *report = &load->report;
    if (outcome < 0 && outcome != -ETIMEDOUT && !report->lost) {
        report->lost = true;
        describe(call, outcome, report->lost_text);
    }
    if (!is_measured(load, due_ns))
        return;
    struct carom_py_load_error *error = &report->errors[status_of(outcome)];
    if (error->count++ > 0)
        return;
    error->first_ns = now_ns;
    describe(call, outcome, error->first);
}

/* Counts a call that is over, and ends it. */
static void finish(struct carom_py_load *load, struct carom_call *call, int outcome, int64_t due_ns,
                   int64_t now_ns)
{
    struct carom_py_load_report *report = &load->report;
    bool failed = outcome != CAROM_OK;
    size_t reply_bytes = 0;
    if (failed)
        note_error(load, call, outcome, due_ns, now_ns);
    else
        carom_call_reply(call, &reply_bytes);
    carom_call_end(call);
    if (is_measured(load, now_ns) && now_ns <= load->plan.end_ns)
        report->timely++;
    if (!is_measured(load, due_ns))
        return;
    int64_t took_ns = now_ns > due_ns ? now_ns - due_ns : 0;
    histogram_count(&load->latencies[failed], (uint64_t)took_ns);
    report->total_ns[failed] += (uint64_t)took_ns;
    if (took_ns > report->max_ns[failed])
        report->max_ns[failed] = took_ns;
    report->reply_bytes += reply_bytes;
}

/* ---- the schedule */

/* Of the call of that number. Not summed up: no error accumulates. */
static int64_t due_ns_of(const struct carom_py_load *load, uint64_t number)
{
    return load->plan.begin_ns + (int64_t)((double)number * load->plan.interval_ns);
}

/* When the next call is due. A backlog of the warm-up is dropped when measuring begins: it would
 * keep a slow service from ever being measured. */
static int64_t next_due_ns(struct carom_py_load *load, int64_t now_ns)
{
    const struct carom_py_load_plan *plan = &load->plan;
    if (plan->interval_ns <= 0)
        return now_ns;
    int64_t due_ns = due_ns_of(load, load->sent);
    if (due_ns >= plan->measure_ns || now_ns < plan->measure_ns)
        return due_ns;
    load->sent = (uint64_t)((double)(plan->measure_ns - plan->begin_ns) / plan->interval_ns);
    while ((due_ns = due_ns_of(load, load->sent)) < plan->measure_ns)
        load->sent++;
    return due_ns;
}

static bool has_all(const struct carom_py_load *load)
{
    return load->counted == load->plan.calls;
}

/* Whether the next call is not to be sent any more. */
static bool is_over(struct carom_py_load *load, int64_t due_ns, int64_t now_ns)
{
    int64_t end_ns = load->plan.end_ns;
    return has_all(load) || load->report.lost || due_ns >= end_ns || now_ns >= end_ns ||
           is_stopping(load);
}

static void note_sending(struct carom_py_load *load, int64_t due_ns, int64_t now_ns)
{
    load->sent++;
    load->behind_ns = now_ns - due_ns;
    if (!is_measured(load, due_ns))
        return;
    load->counted++;
    if (due_ns < load->freed_ns)
        load->report.delayed++;
    if (load->behind_ns > load->report.late_max_ns)
        load->report.late_max_ns = load->behind_ns;
}

/* Sending has ended: when, and what was due by then and was not sent? */
static void note_end(struct carom_py_load *load, int64_t now_ns)
{
    const struct carom_py_load_plan *plan = &load->plan;
    struct carom_py_load_report *report = &load->report;
    int64_t due_ns = next_due_ns(load, now_ns);
    bool in_order = !report->lost && !is_stopping(load);
    report->end_ns = in_order || now_ns > plan->end_ns ? plan->end_ns : now_ns;
    report->behind_ns = load->behind_ns;
    report->full = load->in_flight == plan->depth || due_ns < load->freed_ns;
    if (plan->interval_ns <= 0 || has_all(load) || due_ns >= report->end_ns)
        return;
    report->behind_ns = report->end_ns - due_ns;
    if (due_ns >= plan->measure_ns)
        report->unsent = (uint64_t)((double)report->behind_ns / plan->interval_ns) + 1;
}

/* ---- waiting for a time */

/* The timer was this late: wake up about twice as long before the next due time. */
static void learn_margin(struct carom_py_load *load, int64_t late_ns)
{
    int64_t margin_ns = load->margin_ns + (2 * late_ns - load->margin_ns) / 8;
    load->margin_ns = margin_ns < MARGIN_LEAST_NS  ? MARGIN_LEAST_NS
                      : margin_ns > MARGIN_MOST_NS ? MARGIN_MOST_NS
                                                   : margin_ns;
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Returns the time when it is due, or when the load is to stop. */
static int64_t wait_until(struct carom_py_load *load, int64_t due_ns)
{
    int64_t wake_ns = due_ns - load->margin_ns;
    int64_t now_ns = carom_now_ns();
    bool slept = now_ns < wake_ns;
    while (now_ns < wake_ns && !is_stopping(load)) {
        struct timespec wake = {wake_ns / 1000000000, wake_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
        now_ns = carom_now_ns();
    }
    if (slept && now_ns >= wake_ns)
        learn_margin(load, now_ns - wake_ns);
    while (now_ns < due_ns && !is_stopping(load)) {
        pause_briefly();
        now_ns = carom_now_ns();
    }
    return now_ns;
}

/* ---- one call */

static int send(struct carom_py_load *load, unsigned flags, struct carom_call **call)
{
    const struct carom_py_load_plan *plan = &load->plan;
    int rc = carom_call_begin(load->client, plan->method, plan->timeout_ns, flags, call);
    if (rc < 0)
        return rc;
    size_t capacity_bytes;
    void *request = carom_call_request(*call, &capacity_bytes);
    if (request != NULL && plan->data_bytes > 0 && plan->data_bytes <= capacity_bytes)
        memcpy(request, plan->data, plan->data_bytes); /* carom_call_submit refuses a longer one */
    return carom_call_submit(*call, plan->data_bytes);
}

/* ---- a depth of 1 */

/* Returns when the call was over. */
static int64_t make_call(struct carom_py_load *load, int64_t due_ns)
{
    struct carom_call *call;
    int outcome = send(load, 0, &call);
    if (outcome == 0)
        while ((outcome = carom_call_wait(call)) == -EINTR && !is_stopping(load))
            continue;
    int64_t now_ns = carom_now_ns();
    if (outcome != -EINTR) {
        finish(load, call, outcome, due_ns, now_ns);
    } else {
        carom_call_end(call);
        load->report.unfinished += is_measured(load, due_ns);
    }
    return now_ns;
}

static void run_in_turn(struct carom_py_load *load)
{
    int64_t now_ns = wait_until(load, load->plan.begin_ns);
    int64_t due_ns;
    while (!is_over(load, due_ns = next_due_ns(load, now_ns), now_ns)) {
        if (due_ns > now_ns && (now_ns = wait_until(load, due_ns)) < due_ns)
            continue; /* stopped */
        note_sending(load, due_ns, now_ns);
        load->freed_ns = now_ns = make_call(load, due_ns);
    }
    note_end(load, now_ns);
}

/* ---- more than one in flight */

/* The call knows its place. */
static void place(struct carom_py_load *load, uint32_t index, struct flight flight)
{
    load->flights[index] = flight;
    carom_call_set_data(flight.call, &load->flights[index]);
}

static uint32_t index_of(const struct carom_py_load *load, const struct carom_call *call)
{
    const struct flight *flight = carom_call_data(call);
    return (uint32_t)(flight - load->flights);
}

static void land(struct carom_py_load *load, uint32_t index, int outcome)
{
    struct flight landed = load->flights[index];
    int64_t now_ns = carom_now_ns();
    if (load->in_flight == load->plan.depth)
        load->freed_ns = now_ns;
    if (index != --load->in_flight)
        place(load, index, load->flights[load->in_flight]);
    finish(load, landed.call, outcome, landed.due_ns, now_ns);
}

static void take_off(struct carom_py_load *load, int64_t due_ns, int64_t now_ns)
{
    struct carom_call *call;
    note_sending(load, due_ns, now_ns);
    int rc = send(load, CAROM_NOTIFY, &call);
    if (rc == 0)
        place(load, load->in_flight++, (struct flight){call, due_ns});
    else
        finish(load, call, rc, due_ns, carom_now_ns());
}

/* The host has gone: what is not done by now never will be. */
static void land_all(struct carom_py_load *load, int reason)
{
    while (load->in_flight > 0) {
        int outcome = carom_call_poll(load->flights[0].call);
        land(load, 0, outcome == -EAGAIN ? reason : outcome);
    }
}

/* Waits for one outcome, at most until wake_ns. */
static void await_outcome(struct carom_py_load *load, int64_t now_ns, int64_t wake_ns)
{
    struct carom_call *call;
    int64_t timeout_ns = wake_ns - now_ns < SLICE_NS ? wake_ns - now_ns : SLICE_NS;
    int rc = carom_client_next(load->client, timeout_ns, &call);
    if (rc == 0)
        land(load, index_of(load, call), carom_call_poll(call));
    else if (rc != -ETIMEDOUT)
        land_all(load, rc);
    else if (timeout_ns < SLICE_NS)
        learn_margin(load, carom_now_ns() - wake_ns);
}

/* Looks at one call in flight, each time at another. */
static void glance(struct carom_py_load *load, uint64_t turn)
{
    uint32_t index = (uint32_t)(turn % load->in_flight);
    int outcome = carom_call_poll(load->flights[index].call);
    if (outcome != -EAGAIN)
        land(load, index, outcome);
    else
        pause_briefly();
}

static void run_overlapping(struct carom_py_load *load)
{
    int64_t now_ns = wait_until(load, load->plan.begin_ns);
    int64_t due_ns;
    for (uint64_t turn = 0; !is_over(load, due_ns = next_due_ns(load, now_ns), now_ns); turn++) {
        if (load->in_flight == load->plan.depth)
            await_outcome(load, now_ns, INT64_MAX);
        else if (due_ns <= now_ns)
            take_off(load, due_ns, now_ns);
        else if (load->in_flight == 0)
            wait_until(load, due_ns);
        else if (now_ns < due_ns - load->margin_ns)
            await_outcome(load, now_ns, due_ns - load->margin_ns);
        else
            glance(load, turn);
        now_ns = carom_now_ns();
    }
    note_end(load, now_ns);
    while (load->in_flight > 0 && !is_stopping(load))
        await_outcome(load, carom_now_ns(), INT64_MAX);
    for (; load->in_flight > 0; load->in_flight--) {
        load->report.unfinished += is_measured(load, load->flights[load->in_flight - 1].due_ns);
        carom_call_end(load->flights[load->in_flight - 1].call);
    }
}

/* ---- called from Python */

struct carom_py_load *carom_py_load_new(struct carom_client *client,
                                        const struct carom_py_load_plan *plan)
{
    struct carom_py_load *load = calloc(1, sizeof *load + plan->depth * sizeof *load->flights);
    if (load == NULL)
        return NULL;
    load->client = client;
    load->plan = *plan;
    load->freed_ns = INT64_MIN;
    load->margin_ns = MARGIN_MOST_NS;
    pthread_mutex_init(&load->lock, NULL);
    return load;
}

void carom_py_load_free(struct carom_py_load *load)
{
    if (load == NULL)
        return;
    pthread_mutex_destroy(&load->lock);
    free(load);
}

static void do_nothing(int signal_number)
{
    (void)signal_number;
}

/* Only the signal of carom_py_load_stop may interrupt this thread. */
static void prepare_thread(void)
{
    struct sigaction action = {.sa_handler = do_nothing};
    sigset_t others;
    sigemptyset(&action.sa_mask);
    sigaction(WAKE_SIGNAL, &action, NULL);
    sigfillset(&others);
    sigdelset(&others, WAKE_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &others, NULL);
    prctl(PR_SET_TIMERSLACK, 1UL); /* sleep as exactly as the kernel can, not within 50 us */
}

static void set_running(struct carom_py_load *load, bool running)
{
    pthread_mutex_lock(&load->lock);
    load->running = running;
    load->thread = pthread_self();
    pthread_mutex_unlock(&load->lock);
}

void carom_py_load_run(struct carom_py_load *load)
{
    prepare_thread();
    set_running(load, true);
    if (load->plan.depth == 1)
        run_in_turn(load);
    else
        run_overlapping(load);
    if (load->report.end_ns == INT64_MAX)
        load->report.end_ns = carom_now_ns(); /* a count of calls ends with the last one done */
    set_running(load, false);
}

void carom_py_load_stop(struct carom_py_load *load)
{
    /* relaxed: see is_stopping */
    atomic_store_explicit(&load->stopping, true, memory_order_relaxed);
    pthread_mutex_lock(&load->lock); /* a thread that has ended must not be sent a signal */
    if (load->running)
        pthread_kill(load->thread, WAKE_SIGNAL);
    pthread_mutex_unlock(&load->lock);
}

void carom_py_load_counts(struct carom_py_load *load, bool failed, uint64_t *counts)
{
    const struct histogram *histogram = &load->latencies[failed];
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) /* relaxed: see histogram_count */
        counts[i] += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
}

uint64_t carom_py_load_bucket_last(uint32_t index)
{
    return histogram_last(index);
}

const struct carom_py_load_report *carom_py_load_report(const struct carom_py_load *load)
{
    return &load->report;
}
