/* SPDX-License-Identifier: Apache-2.0
 *
 * scripts_host.c - what a host does: claims its name, admits and refuses, tells workers, buries;
 * and what its keeper asks of it. In the scripts whose role is HOST the calls of its loop's
 * thread fail and nobody else's: what counts is what its peers get. */
#include "script.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int events[2];
static uid_t somebody = 12345;

static struct carom_host_options every_option(void)
{
    return (struct carom_host_options){
        .size = sizeof(struct carom_host_options),
        .max_slots = 64,
        .allowed_uids = &somebody,
        .allowed_uid_count = 1,
        .quarantine_folder = "/tmp",
        .event_fd = events[1],
    };
}

static void begin_events(void)
{
    if (pipe2(events, O_CLOEXEC | O_NONBLOCK) != 0)
        events[0] = events[1] = 0;
}

static void begin_socket_events(void)
{
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, events) != 0)
        events[0] = events[1] = 0;
}

static void end_events(void)
{
    close(events[0]);
    close(events[1]);
}

static void drain_events(void)
{
    char line[4096];
    while (read(events[0], line, sizeof line) > 0) {
    }
}

/* ---------------------------------------------------------------- opening */

static void *run_host(void *host)
{
    carom_host_run(host);
    return NULL;
}

static void check_host(struct run *run, struct carom_host *host, const char *service)
{
    struct carom_observer *observer = NULL;
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_host, host) != 0)
        return;
    if (script_observer_open(service, &observer) != 0)
        broken(run, "the host does not work: %s", carom_error_detail());
    carom_observer_close(observer);
    carom_host_stop(host);
    pthread_join(thread, NULL);
}

static void open_as(struct run *run, const char *service)
{
    struct carom_host *host = NULL;
    struct carom_host_options options = every_option();
    int rc = TRY(run, carom_host_open(service, &options, &host));
    if (rc == 0)
        check_host(run, host, service);
    else if (host != NULL)
        broken(run, "a host although it failed");
    DO(carom_host_close(host));
}

static void check_again(struct run *run)
{
    struct carom_host *host = NULL;
    if (carom_host_open(SERVICE, NULL, &host) != 0)
        broken(run, "no host after that: %s", carom_error_detail());
    carom_host_close(host);
}

static void open_file(struct run *run)
{
    char path[200];
    open_as(run, SERVICE);
    /* A file that could not be locked stays, because it may be another's; and one that cannot be
     * removed, which the next host does not mind. */
    snprintf(path, sizeof path, "%s/%s.sock.lock", world_folder(), SERVICE);
    unlink(path);
    if (inject->fault.site != INJECT_NO_SITE &&
        strcmp(inject->sites[inject->fault.site].door, "unlink") == 0) {
        check_again(run);
        snprintf(path, sizeof path, "%s/%s.sock", world_folder(), SERVICE);
        unlink(path);
    }
}

static void open_abstract(struct run *run)
{
    char name[40];
    snprintf(name, sizeof name, "@carom-failing-%d", (int)getpid());
    open_as(run, name);
}

/* ---------------------------------------------------------------- the keeper */

static void begin_host(void)
{
    struct carom_host_options options = every_option();
    world_host_open(&options, HOST);
}

static void begin_service(void)
{
    begin_events();
    begin_host();
    world_worker_open();
}

static void end_service(void)
{
    world_worker_close(true);
    world_host_close();
    end_events();
}

static void keep(struct run *run)
{
    struct carom_waiting waiting;
    struct carom_client *client = script_client_open();
    TRY(run, carom_host_describe(world_host(), CAROM_DEGRADED, "so so"));
    DO(carom_host_note_end(world_host(), 1, "was killed"));
    DO(carom_host_waiting(world_host(), &waiting));
    TRY(run, carom_host_wait_ready(world_host(), 1, SECOND));
    TRY_UNLESS(run, -ETIMEDOUT, carom_host_wait_ready(world_host(), 2, 2 * MILLISECOND));
    carom_client_close(client);
}

static void stop(struct run *run)
{
    (void)run;
    struct carom_host *host = NULL;
    pthread_t thread;
    if (carom_host_open("stopped", NULL, &host) != 0 ||
        pthread_create(&thread, NULL, run_host, host) != 0) {
        broken(run, "no host: %s", carom_error_detail());
        return;
    }
    DO(carom_host_stop(host));
    carom_host_stop(host); /* in case the first was made to fail */
    pthread_join(thread, NULL);
    carom_host_close(host);
}

/* The worker is told to leave, and leaves. */
static void dismiss(struct run *run)
{
    world_worker_open();
    int rc = TRY(run, carom_host_dismiss(world_host(), getpid()));
    if (rc == 0)
        broken(run, "nobody was asked");
    rc = world_worker_close(rc <= 0);
    if (rc != 0)
        broken(run, "the worker ended with %d", rc);
}

/* ---------------------------------------------------------------- the loop */

/* Arms the loop's thread; what it does for the peers that follow may fail. */
static void loop_begins(struct run *run)
{
    (void)run;
    drain_events();
    inject_arm(HOST);
}

/* Until all that was opened meanwhile is closed again, by the loop as well. */
static void loop_is_quiet(void)
{
    counts_await(&script_before);
    inject_disarm();
}

static void admit_client(struct run *run)
{
    struct carom_client *client = NULL;
    loop_begins(run);
    int rc = TRY(run, carom_client_open(SERVICE, 2 * SECOND, &script_client_options, &client));
    if (rc == 0)
        check_client(run, client);
    carom_client_close(client);
    loop_is_quiet();
}

/* With more slots than it allows. */
static void refuse_client(struct run *run)
{
    struct carom_client *client = NULL;
    struct carom_client_options options = {.size = sizeof options, .slots = 1024};
    loop_begins(run);
    int rc = TRY_UNLESS(run, -EINVAL, carom_client_open(SERVICE, 2 * SECOND, &options, &client));
    if (rc == 0)
        broken(run, "it was admitted");
    carom_client_close(client);
    loop_is_quiet();
}

static void admit_worker(struct run *run)
{
    struct carom_worker *worker = NULL;
    struct carom_request *request;
    struct carom_client *client = script_client_open(); /* a lane to tell of */
    loop_begins(run);
    int rc = TRY(run,
                 carom_worker_open(SERVICE, world_methods, METHODS - 1, SECOND, NULL, &worker));
    if (rc == 0)
        TRY_UNLESS(run, -ETIMEDOUT, carom_worker_take(worker, 2 * MILLISECOND, &request));
    carom_worker_close(worker);
    carom_client_close(client);
    loop_is_quiet();
}

static void admit_observer(struct run *run)
{
    struct carom_observer *observer = NULL;
    struct carom_service_info info;
    loop_begins(run);
    int rc = TRY(run, script_observer_open(SERVICE, &observer));
    if (rc == 0)
        TRY(run, carom_observer_service(observer, &info));
    carom_observer_close(observer);
    loop_is_quiet();
}

/* The loop asks the worker to leave and buries it. */
static void loop_dismisses(struct run *run)
{
    world_worker_open();
    loop_begins(run);
    int rc = carom_host_dismiss(world_host(), getpid());
    if (rc != 1)
        broken(run, "%d workers were asked", rc);
    rc = world_worker_close(rc <= 0);
    if (rc != 0)
        broken(run, "the worker ended with %d", rc);
    loop_is_quiet();
}

static void begin_dismissing(void)
{
    begin_events();
    begin_host();
}

static void end_dismissing(void)
{
    world_host_close();
    end_events();
}

static void begin_service_with_socket(void)
{
    begin_socket_events();
    begin_host();
    world_worker_open();
}

#define WITH_EVENTS .begin = begin_events, .end = end_events, .role = OPERATOR
#define WITH_SERVICE .begin = begin_service, .end = end_service
#define WITHOUT_WORKER .begin = begin_dismissing, .end = end_dismissing

const struct script host_scripts[] = {
    {"host opens", WITH_EVENTS, .run = open_file},
    {"host opens an abstract socket", WITH_EVENTS, .run = open_abstract},
    {"host opens without memfd", WITH_EVENTS, .run = open_file,
     .lacks = {{"memfd_create", ENOSYS}}},
    {"host opens without pidfd", WITH_EVENTS, .run = open_file, .lacks = {{"pidfd_open", ENOSYS}}},
    {"keeper", WITH_SERVICE, .run = keep, .role = OPERATOR},
    {"keeper dismisses", WITHOUT_WORKER, .run = dismiss, .role = OPERATOR},
    {"host is stopped", .run = stop, .role = OPERATOR},
    {"host admits a client", WITH_SERVICE, .run = admit_client, .role = HOST},
    {"host admits a client without memfd", WITH_SERVICE, .run = admit_client, .role = HOST,
     .lacks = {{"memfd_create", ENOSYS}}},
    {"host refuses a client", WITH_SERVICE, .run = refuse_client, .role = HOST},
    {"host refuses and tells a socket", .begin = begin_service_with_socket, .end = end_service,
     .run = refuse_client, .role = HOST},
    {"host admits a worker", WITH_SERVICE, .run = admit_worker, .role = HOST},
    {"host admits an observer", WITH_SERVICE, .run = admit_observer, .role = HOST},
    {"host dismisses a worker", WITHOUT_WORKER, .run = loop_dismisses, .role = HOST},
    {0},
};
