/* SPDX-License-Identifier: Apache-2.0
 *
 * rate.c - work=rate: calls at times fixed beforehand, whatever becomes of the calls before.
 *
 * What counts. Call i is due at begin + i / rate, and its latency counts from then, also when it
 * was sent later: because `depth` calls were in flight already, because the driver was in a
 * blocking call, or because it had lost its CPU. A late call never moves the due time of the next
 * one. So a server that stops for 10 ms shows in every call that was due in these 10 ms (without
 * that, it would show in one: "coordinated omission"). Every call due in the measured time is
 * counted, however long it takes. If the server falls behind so far that calls remain unsent when
 * the measured time has passed a second time, the driver stops: these calls stand in the histogram
 * with the time they have waited by then, which is less than they would have taken. `unsent` is
 * their number, `calls` does not contain them.
 *
 * How it waits. In this order:
 *   a call is due and fewer than `depth` are in flight   send it
 *   `depth` calls are in flight, or all have been sent   transport_receive(wait): nothing can be
 *                        sent before an answer comes, so blocking costs nothing. This is the usual
 *                        case at depth 1, where caller and server may share a CPU: a caller that
 *                        polled would take the CPU from the server that it waits for
 *   calls are in flight  poll for an answer, look at the clock, again: a blocking receive could
 *                        return after the next call is due. Needs a CPU of its own, so on one CPU
 *                        ask for depth 1
 *   nothing is in flight sleep until 50 us before the next call is due, if that is longer; then
 *                        watch the clock. Timers are set to their full precision, but a CPU that
 *                        slept takes its time to wake up. This is time of the caller, not of the
 *                        server, and counts all the same: late_max_ns says how much it was at most
 *
 * The clock is read once per turn: after the answers of this turn were taken and before the
 * requests that are due by then are sent. A turn takes one answer, or as many as requests were sent
 * in the turn before: several only if the driver fell behind. So at a rate of millions, where a
 * clock reading is a fifth of a call, reading it does not lower what the driver can do; the time of
 * an answer is then a fraction of a microsecond too late, never too early.
 *
 * late_max_ns is the driver's own lateness: from the moment that a call was due and could be sent
 * to the moment that it was about to be.
 *
 * With several clients the rate is that of all together; their calls are due in turn.
 */
#include "driver.h"

#define WAKE_EARLY_NS 50000
#define TIMER_SLACK_NS 1
#define BURST_MAX 8

/** The schedule of one client and how far it is. */
struct schedule {
    double begin_ns, interval_ns; /* call i (from 0) is due at begin + i * interval */
    uint64_t warm_calls, calls;   /* of these the first are not counted */
    uint64_t first_sequence;      /* of the first that is counted; not known before */
    uint64_t sent;
    unsigned burst; /* how many calls to take or send in one turn, at most */
    int64_t give_up_ns;
    int64_t room_ns; /* when there was room for one more call in flight */
};

static int64_t due_ns(const struct schedule *schedule, uint64_t call)
{
    return (int64_t)(schedule->begin_ns + (double)call * schedule->interval_ns);
}

static struct schedule make_schedule(const struct driver_caller *caller, int64_t begin_ns)
{
    const struct driver_settings *settings = caller->settings;
    double each = (double)settings->rate / (double)settings->clients;
    struct schedule schedule = {
        .interval_ns = 1e9 / each, .burst = 1, .first_sequence = UINT64_MAX};
    /* The share of one client of the time between two calls of all. */
    double offset_ns = schedule.interval_ns * caller->index / (double)settings->clients;
    schedule.begin_ns = (double)begin_ns + offset_ns;
    schedule.warm_calls = (uint64_t)(each * (double)settings->warm_ms / 1000);
    schedule.calls = schedule.warm_calls + (uint64_t)(each * (double)settings->ms / 1000);
    schedule.give_up_ns = begin_ns + (settings->warm_ms + 2 * settings->ms) * 1000000;
    if (schedule.calls == schedule.warm_calls)
        bench_die("rate=%" PRId64 ": that is not one call in %" PRId64 " ms", settings->rate,
                  settings->ms);
    return schedule;
}

/** Sends what is due. How much that was is how many answers the next turn may take. */
static void send_due(struct driver_caller *caller, struct schedule *schedule, int64_t now_ns,
                     struct driver_result *result)
{
    unsigned sent = 0;
    int64_t due;
    while (schedule->sent < schedule->calls && caller->in_flight < caller->depth &&
           sent < BURST_MAX && (due = due_ns(schedule, schedule->sent)) <= now_ns) {
        int64_t late_ns = now_ns - (due > schedule->room_ns ? due : schedule->room_ns);
        if (schedule->sent >= schedule->warm_calls && late_ns > result->late_max_ns)
            result->late_max_ns = late_ns;
        schedule->sent++;
        sent++;
        driver_send(caller, (size_t)caller->settings->bytes);
    }
    schedule->burst = sent ? sent : 1;
}

static void note(const struct schedule *schedule, uint64_t sequence, int64_t now_ns,
                 struct driver_result *result)
{
    if (sequence < schedule->first_sequence)
        return;
    uint64_t call = schedule->warm_calls + sequence - schedule->first_sequence;
    histogram_add(&result->times, now_ns - due_ns(schedule, call));
    result->calls++;
}

/** Takes answers, notes them, and returns the time. */
static int64_t take_answers(struct driver_caller *caller, struct schedule *schedule, bool wait,
                            struct driver_result *result)
{
    uint64_t taken[BURST_MAX], sequence;
    unsigned count = 0;
    bool was_full = caller->in_flight == caller->depth;
    while (count < schedule->burst && caller->in_flight &&
           (sequence = driver_receive(caller, wait && count == 0)) != 0)
        taken[count++] = sequence;
    int64_t now = bench_now_ns();
    for (unsigned i = 0; i < count; i++)
        note(schedule, taken[i], now, result);
    if (was_full && count)
        schedule->room_ns = now;
    return now;
}

/** Nothing is in flight: sleeps until shortly before a time, or does nothing if it is near. */
static void rest_until(int64_t now_ns, int64_t due)
{
    int64_t wake_ns = due - WAKE_EARLY_NS;
    struct timespec wake = {.tv_sec = wake_ns / 1000000000, .tv_nsec = wake_ns % 1000000000};
    if (wake_ns > now_ns)
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
}

/** The warm-up is over. What it left unsent is dropped. */
static void begin_measuring(struct driver_caller *caller, struct schedule *schedule,
                            struct driver_result *result)
{
    schedule->sent = schedule->warm_calls;
    schedule->first_sequence = caller->sequence + 1;
    driver_begin(result, due_ns(schedule, schedule->sent));
}

/** Counts the calls that were never sent. */
static void count_unsent(const struct schedule *schedule, int64_t now_ns,
                         struct driver_result *result)
{
    for (uint64_t call = schedule->sent; call < schedule->calls; call++) {
        histogram_add(&result->times, now_ns - due_ns(schedule, call));
        result->unsent++;
    }
}

void driver_run_rate(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result)
{
    struct schedule schedule = make_schedule(caller, begin_ns);
    int64_t measure_ns = due_ns(&schedule, schedule.warm_calls), now = begin_ns;
    bool sending = true;
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    while (sending || caller->in_flight) {
        now = take_answers(caller, &schedule, !sending || caller->in_flight == caller->depth,
                           result);
        if (!result->begin_ns && now >= measure_ns)
            begin_measuring(caller, &schedule, result);
        if (sending)
            send_due(caller, &schedule, now, result);
        sending = schedule.sent < schedule.calls && now < schedule.give_up_ns;
        if (sending && !caller->in_flight)
            rest_until(now, due_ns(&schedule, schedule.sent));
    }
    driver_end(result, now);
    count_unsent(&schedule, now, result);
}
