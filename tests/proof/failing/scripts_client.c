/* SPDX-License-Identifier: Apache-2.0
 *
 * scripts_client.c - what a client does: opens, calls in every way, loses its host, closes. And
 * what an observer does. */
#include "script.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG_BYTES (2u << 20)

static struct carom_client *client;
static char *big;

static void begin_world(void)
{
    world_host_open(NULL, NOBODY);
    world_worker_open();
}

static void end_world(void)
{
    world_worker_close(true);
    world_host_close();
}

static void begin_client(void)
{
    begin_world();
    big = calloc(2, BIG_BYTES);
    client = script_client_open();
}

static void end_client(void)
{
    carom_client_close(client);
    free(big);
    end_world();
}

/* ---------------------------------------------------------------- opening */

static void open_and_close(struct run *run)
{
    struct carom_client *opened = NULL;
    int rc = TRY(run, carom_client_open(SERVICE, 2 * SECOND, &script_client_options, &opened));
    if (rc == 0)
        check_client(run, opened);
    else if (opened != NULL)
        broken(run, "a client although it failed");
    DO(carom_client_close(opened));
}

static void open_nothing(struct run *run)
{
    struct carom_client *opened = NULL;
    if (TRY_UNLESS(run, -ENOENT, carom_client_open("nobody", 3 * MILLISECOND, NULL, &opened)) == 0)
        broken(run, "a client of nobody");
    if (opened != NULL)
        broken(run, "a client although it failed");
}

/* ---------------------------------------------------------------- calling */

static void fill(char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (char)(i * 7 + i / 251);
}

/* A call that is answered with its request. */
static void call_echo(struct run *run, int method, size_t bytes, unsigned flags)
{
    struct carom_call *call = NULL, *done = NULL;
    size_t length = 0;
    int rc = TRY(run, carom_call_begin(client, method, 5 * SECOND, flags, &call));
    if (rc < 0)
        return;
    fill(big, bytes);
    memcpy(carom_call_request(call, NULL), big, bytes);
    rc = TRY(run, carom_call_submit(call, bytes));
    if (rc == 0 && flags & CAROM_NOTIFY) {
        rc = TRY(run, carom_client_next(client, SECOND, &done));
        if (rc == 0 && done != call)
            broken(run, "another call");
    }
    while (rc == 0 && (rc = TRY_UNLESS(run, -EINTR, carom_call_wait(call))) == -EINTR)
        rc = 0;
    if (rc > 0)
        broken(run, "status %d", rc);
    const void *reply = carom_call_reply(call, &length);
    if (rc == 0 && (reply == NULL || length != bytes || memcmp(reply, big, bytes) != 0))
        broken(run, "the reply of %zu bytes is not the request", length);
    DO(carom_call_end(call));
}

static void call_small(struct run *run)
{
    call_echo(run, SLOW, 10, 0);
}

static void call_notify(struct run *run)
{
    call_echo(run, SLOW, 10, CAROM_NOTIFY);
}

/* More than the client may keep: the pages are given back, both sides'. */
static void call_big(struct run *run)
{
    call_echo(run, ECHO, BIG_BYTES, 0);
    call_echo(run, ECHO, BIG_BYTES - 1, CAROM_NOTIFY);
}

static void call_again(struct run *run)
{
    call_echo(run, AGAIN, 10, 0);
}

static void call_poll(struct run *run)
{
    struct carom_call *call = NULL;
    int64_t end_ns = carom_now_ns() + SECOND;
    int rc = TRY(run, carom_call_begin(client, SLOW, 5 * SECOND, 0, &call));
    if (rc < 0)
        return;
    rc = TRY(run, carom_call_submit(call, 0));
    while (rc == 0 && carom_now_ns() < end_ns &&
           (rc = TRY_UNLESS(run, -EAGAIN, carom_call_poll(call))) == -EAGAIN) {
        sched_yield();
        rc = 0;
    }
    if (rc > 0)
        broken(run, "status %d", rc);
    DO(carom_call_end(call));
}

static void call_wrong(struct run *run)
{
    struct carom_call *call = NULL;
    struct carom_error error = {.type = "", .message = "", .traceback = ""};
    int rc = TRY(run, carom_call_begin(client, WRONG, 5 * SECOND, 0, &call));
    if (rc < 0)
        return;
    rc = TRY(run, carom_call_submit(call, 0));
    while (rc == 0 && (rc = TRY_UNLESS(run, -EINTR, carom_call_wait(call))) == -EINTR)
        rc = 0;
    if (rc >= 0 && rc != CAROM_INVALID_ARGUMENT)
        broken(run, "status %d", rc);
    if (rc > 0)
        rc = TRY(run, carom_call_error(call, &error));
    if (rc == 0 &&
        (strcmp(error.type, "WrongError") != 0 || strcmp(error.message, "as it was told") != 0 ||
         strcmp(error.traceback, "line 1\n") != 0))
        broken(run, "the error is '%s', '%s', '%s'", error.type, error.message, error.traceback);
    DO(carom_call_end(call));
}

static void call_cancel(struct run *run)
{
    struct carom_call *call = NULL;
    int rc = TRY(run, carom_call_begin(client, OBEY, 5 * SECOND, 0, &call));
    if (rc < 0)
        return;
    rc = TRY(run, carom_call_submit(call, 0));
    if (rc == 0)
        rc = TRY(run, carom_call_cancel(call));
    while (rc == 0 && (rc = TRY_UNLESS(run, -EINTR, carom_call_wait(call))) == -EINTR)
        rc = 0;
    if (rc >= 0 && rc != CAROM_CANCELLED)
        broken(run, "status %d", rc);
    DO(carom_call_end(call));
}

/* The deadline passes while a worker is busy; the call is left behind and its slot comes back. */
static void call_late(struct run *run)
{
    struct carom_call *call = NULL;
    int rc = TRY(run, carom_call_begin(client, OBEY, 2 * MILLISECOND, 0, &call));
    if (rc < 0)
        return;
    rc = TRY(run, carom_call_submit(call, 0));
    while (rc == 0 && (rc = TRY_UNLESS(run, -ETIMEDOUT, carom_call_wait(call))) == -EINTR)
        rc = 0;
    if (rc == 0 || (rc > 0 && rc != CAROM_DEADLINE_EXCEEDED))
        broken(run, "status %d", rc);
    DO(carom_call_end(call));
}

/* Every slot is in use until one comes back. */
static void call_full(struct run *run)
{
    struct carom_call *calls[5] = {0};
    int rc = 0;
    for (int i = 0; i < 4 && rc == 0; i++) {
        rc = TRY(run, carom_call_begin(client, SLOW, 5 * SECOND, 0, &calls[i]));
        if (rc == 0)
            rc = TRY(run, carom_call_submit(calls[i], 0));
    }
    if (rc == 0) {
        DO(carom_call_end(calls[0])); /* it runs, or waits */
        calls[0] = NULL;
        (void)TRY(run, carom_call_begin(client, ECHO, 5 * SECOND, 0, &calls[4]));
    }
    for (int i = 0; i < 5; i++)
        DO(carom_call_end(calls[i]));
}

static void invoke(struct run *run)
{
    char reply[16] = "";
    size_t length = 0;
    int rc = TRY(run,
                 carom_invoke(client, SLOW, "over", 4, reply, sizeof reply, &length, 5 * SECOND));
    if (rc > 0 || (rc == 0 && (length != 4 || memcmp(reply, "over", 4) != 0)))
        broken(run, "status %d, %zu bytes", rc, length);
    rc = TRY_UNLESS(run, CAROM_INVALID_ARGUMENT,
                    carom_invoke(client, WRONG, NULL, 0, reply, sizeof reply, &length, 5 * SECOND));
    if (rc == 0)
        broken(run, "wrong is right");
    else if (rc > 0 && strcmp(carom_error_detail(), "WrongError: as it was told") != 0 &&
             strcmp(carom_error_detail(), "no memory for the error's 50 bytes") != 0)
        broken(run, "the detail is '%s'", carom_error_detail());
}

static void look_up_and_count(struct run *run)
{
    struct carom_client_statistics statistics;
    TRY(run, carom_client_statistics(client, &statistics));
    struct carom_client *opened = NULL; /* its names are not known yet */
    if (carom_client_open(SERVICE, 2 * SECOND, &script_client_options, &opened) != 0) {
        broken(run, "no client: %s", carom_error_detail());
        return;
    }
    int rc = TRY(run, carom_client_method(opened, "wrong"));
    if (rc > 0)
        broken(run, "id %d", rc);
    carom_client_close(opened);
}

/* ---------------------------------------------------------------- another host */

static void change_host(void)
{
    world_worker_close(true);
    world_host_close();
    begin_world();
}

static void reconnect(struct run *run)
{
    char reply[16] = "";
    size_t length = 0;
    change_host();
    TRY(run, carom_invoke(client, SLOW, "over", 4, reply, sizeof reply, &length, 5 * SECOND));
    check_client(run, client);
}

/* ---------------------------------------------------------------- observers */

static void observe(struct run *run)
{
    static char text[CAROM_DESCRIPTION_MAX + 1];
    struct carom_observer *observer = NULL;
    struct carom_service_info info;
    struct carom_worker_info workers[2];
    struct carom_client_info clients[2];
    int rc = TRY(run, script_observer_open(SERVICE, &observer));
    if (rc < 0) {
        if (observer != NULL)
            broken(run, "an observer although it failed");
        return;
    }
    rc = TRY(run, carom_observer_service(observer, &info));
    if (rc == 0 && info.worker_count != 1)
        broken(run, "%u workers", info.worker_count);
    TRY(run, carom_observer_workers(observer, workers, 2));
    TRY(run, carom_observer_clients(observer, clients, 2));
    TRY(run, carom_observer_description(observer, text, sizeof text));
    DO(carom_observer_close(observer));
}

/* ---------------------------------------------------------------- once per process */

/* The first open of a process prepares for fork: so each run is a process. */
static void open_first(struct run *run)
{
    int status = 0;
    struct carom_observer *observer = NULL;
    struct run *child_run = mmap(NULL, sizeof *child_run, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (child_run == MAP_FAILED)
        return;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 2; i++) /* the second time all is well */
            TRY_UNLESS(child_run, -ENOENT, carom_observer_open("nobody", &observer));
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        broken(run, "the child ended with %#x", (unsigned)status);
    else
        *run = *child_run;
    munmap(child_run, sizeof *child_run);
}

#define WITH_CLIENT .begin = begin_client, .end = end_client, .role = OPERATOR
#define WITH_WORLD .begin = begin_world, .end = end_world, .role = OPERATOR

const struct script client_scripts[] = {
    {"client opens", WITH_WORLD, .run = open_and_close},
    {"client opens without memfd", WITH_WORLD, .run = open_and_close,
     .lacks = {{"memfd_create", ENOSYS}}},
    {"client opens without pidfd", WITH_WORLD, .run = open_and_close,
     .lacks = {{"pidfd_open", ENOSYS}}},
    {"client finds no service", .run = open_nothing, .role = OPERATOR},
    {"call", WITH_CLIENT, .run = call_small},
    {"call with notice", WITH_CLIENT, .run = call_notify},
    {"call of 2 MiB", WITH_CLIENT, .run = call_big},
    {"call that is repeated", WITH_CLIENT, .run = call_again},
    {"call that is polled", WITH_CLIENT, .run = call_poll},
    {"call that fails", WITH_CLIENT, .run = call_wrong},
    {"call that is cancelled", WITH_CLIENT, .run = call_cancel},
    {"call that is late", WITH_CLIENT, .run = call_late},
    {"call without a free slot", WITH_CLIENT, .run = call_full},
    {"invoke", WITH_CLIENT, .run = invoke},
    {"method and statistics", WITH_CLIENT, .run = look_up_and_count},
    {"client reconnects", WITH_CLIENT, .run = reconnect},
    {"first open", .run = open_first, .role = OPERATOR},
    {"observer", WITH_WORLD, .run = observe},
    {0},
};
