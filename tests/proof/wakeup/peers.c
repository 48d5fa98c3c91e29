/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.c - host and worker of a scene. The worker never spins. */
#include "wakeup.h"

#include "carom.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

_Noreturn void complain(const char *format, ...)
{
    if (atomic_exchange_explicit(&board->complained, 1, memory_order_relaxed) == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(board->complaint, sizeof board->complaint, format, arguments);
        va_end(arguments);
    }
    _exit(1);
}

/* ---------------------------------------------------------------- host */

static struct carom_host *host;

static void stop_host(int signal)
{
    (void)signal;
    carom_host_stop(host);
}

int host_main(void)
{
    delays_begin(NULL, 1);
    int rc = carom_host_open(SERVICE, NULL, &host);
    if (rc < 0)
        complain("the host does not open: %s", carom_error_detail());
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    signal(SIGTERM, stop_host);
    sigprocmask(SIG_UNBLOCK, &term, NULL); /* blocked by the parent until now */
    rc = carom_host_run(host);
    carom_host_close(host);
    return rc == 0 ? 0 : 1;
}

/* ---------------------------------------------------------------- worker */

static void echo(void *context, struct carom_request *request)
{
    size_t bytes;
    const void *data = carom_request_data(request, &bytes);
    memcpy(carom_request_reply_block(request, NULL), data, bytes);
    carom_request_reply(request, bytes);
    done_one(context);
}

/* Runs until its caller gives it up. */
static void hold(void *context, struct carom_request *request)
{
    while (!carom_request_cancelled(request))
        nanosleep(&(struct timespec){0, 5000}, NULL);
    carom_request_fail(request, CAROM_CANCELLED, "held", "until it was cancelled", NULL);
    done_one(context);
}

/* Is not there for its callers, who may try again. */
static void refuse(void *context, struct carom_request *request)
{
    carom_request_fail(request, CAROM_UNAVAILABLE, "refused", "as always", NULL);
    done_one(context);
}

static bool stopping(void)
{
    return atomic_load_explicit(&board->stopping, memory_order_relaxed) != 0;
}

/* Stops a worker at any time, whatever it does. */
static void *stopper_main(void *worker)
{
    delays_begin(NULL, (uintptr_t)worker + (uint64_t)carom_now_ns());
    nanosleep(&(struct timespec){0, (long)(delays_random() >> 44)}, NULL);
    carom_worker_stop(worker);
    return NULL;
}

static uint64_t count_calls(void)
{
    uint64_t calls = 0;
    for (unsigned i = 0; i < SEATS; i++)
        if (board->seats[i].plays)
            calls += atomic_load_explicit(&board->seats[i].progress, memory_order_relaxed);
    return calls;
}

/* Does nothing until the others have done something without it: if it took a wake-up along that was
 * for them, they never will. Afterwards it leaves, of which the host tells everybody. */
static void stand_aside(void)
{
    const uint64_t before = count_calls();
    while (count_calls() == before && !stopping())
        nanosleep(&(struct timespec){0, 20000}, NULL);
}

/* Joins, serves, leaves. Whether it is to join again. */
static bool serve(struct seat *seat, bool leaves)
{
    const struct carom_method methods[] = {{"echo", echo, seat, 0},
                                           {"hold", hold, seat, 0},
                                           {"refuse", refuse, seat, CAROM_IDEMPOTENT}};
    const struct carom_worker_options options = {.size = sizeof options, .no_spin = true};
    struct carom_worker *worker;
    pthread_t stopper;
    int rc = carom_worker_open(SERVICE, methods, 3, 10 * SECOND, &options, &worker);
    if (rc < 0 && stopping())
        return false;
    if (rc < 0)
        complain("a worker does not open: %s", carom_error_detail());
    leaves = leaves && carom_worker_id(worker) == 0; /* the one that is woken first */
    if (leaves && pthread_create(&stopper, NULL, stopper_main, worker) != 0)
        complain("no thread");
    if (carom_worker_run(worker) < 0)
        complain("a worker ended: %s", carom_error_detail());
    if (leaves) {
        pthread_join(stopper, NULL);
        stand_aside();
    }
    carom_worker_close(worker);
    return leaves;
}

int worker_main(struct seat *seat, uint64_t seed, bool leaves)
{
    delays_begin(seat, seed);
    while (serve(seat, leaves) && !stopping())
        continue;
    return 0;
}
