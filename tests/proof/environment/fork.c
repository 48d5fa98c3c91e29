/* SPDX-License-Identifier: Apache-2.0
 *
 * fork.c - a peer that forks without exec, and a child that tries everything it inherited.
 *
 *   fork client|observer|host SERVICE   as in peer.c, with these commands besides:
 *     fork      a child tries every function; "refused N", or the first that was not refused
 *     outlive   a child that lives until it is killed; "child PID"
 *     exec      a child runs a program; "inherits N" descriptors more than before the service
 *     clone     a child that libc knows nothing of makes a call; "ended N" or "killed N"
 *   fork worker SERVICE                 the same as methods, beside those of peer.h */
#include "peer.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct carom_client *client;
static struct carom_call *submitted, *answered;
static struct carom_observer *observer;
static struct carom_host *host;
static struct carom_worker *worker;
static struct carom_request *current;

/* ---------------------------------------------------------------- what a child may not do */

/* Tries one function; ends the child when it is not refused. Counts those that are. */
static unsigned refused;

static void expect(bool is_refused, const char *what)
{
    if (is_refused) {
        refused++;
        return;
    }
    printf("the child was not refused: %s\n", what);
    fflush(stdout);
    _exit(255);
}

#define REFUSED(call) expect((call) == -ECHILD, #call)
#define NOTHING(call) expect((call) == NULL, #call)

static void try_client(void)
{
    struct carom_client_statistics statistics;
    struct carom_error error;
    struct carom_call *call;
    size_t bytes;
    REFUSED(carom_client_method(client, "mix"));
    REFUSED(carom_client_statistics(client, &statistics));
    REFUSED(carom_call_begin(client, 0, 0, 0, &call));
    REFUSED(carom_client_next(client, 0, &call));
    REFUSED(carom_invoke(client, 0, NULL, 0, NULL, 0, &bytes, 0));
    REFUSED(carom_call_submit(submitted, 0));
    REFUSED(carom_call_wait(submitted));
    REFUSED(carom_call_poll(submitted));
    REFUSED(carom_call_cancel(submitted));
    REFUSED(carom_call_error(submitted, &error));
    NOTHING(carom_call_request(submitted, &bytes));
    NOTHING(carom_call_reply(answered, &bytes));
    carom_call_end(submitted);
    carom_call_end(answered);
    carom_client_close(client);
}

static void try_observer(void)
{
    static struct carom_worker_info workers[1];
    static struct carom_client_info clients[1];
    struct carom_service_info service;
    char text[8];
    REFUSED(carom_observer_service(observer, &service));
    REFUSED(carom_observer_workers(observer, workers, 1));
    REFUSED(carom_observer_clients(observer, clients, 1));
    REFUSED(carom_observer_description(observer, text, sizeof text));
    expect(carom_observer_method(observer, 0)[0] == '\0', "carom_observer_method");
    carom_observer_close(observer);
}

static void try_host(void)
{
    struct carom_waiting waiting = {.calls = 77};
    REFUSED(carom_host_run(host));
    REFUSED(carom_host_wait_ready(host, 0, 0));
    REFUSED(carom_host_dismiss(host, getppid()));
    REFUSED(carom_host_describe(host, CAROM_FAILING, "by a child"));
    carom_host_note_end(host, getppid(), "by a child");
    carom_host_waiting(host, &waiting);
    expect(waiting.calls == 0, "carom_host_waiting");
    carom_host_stop(host);
    carom_host_close(host);
}

static void try_worker(void)
{
    struct carom_request *request;
    size_t bytes;
    REFUSED(carom_worker_take(worker, 0, &request));
    REFUSED(carom_worker_poll(worker, 0, &request));
    REFUSED(carom_worker_run(worker));
    REFUSED(carom_request_reply(current, 0));
    REFUSED(carom_request_detach(current, CAROM_REPLY_BLOCK, 1));
    NOTHING(carom_request_data(current, &bytes));
    NOTHING(carom_request_reply_block(current, &bytes));
    expect(carom_request_cancelled(current), "carom_request_cancelled");
    expect(carom_worker_running(worker, NULL) == -1, "carom_worker_running");
    carom_request_fail(current, CAROM_INTERNAL, "Child", "", NULL);
    carom_worker_stop(worker);
    carom_worker_close(worker);
}

static _Noreturn void try_everything(void)
{
    if (client != NULL)
        try_client();
    if (observer != NULL)
        try_observer();
    if (host != NULL)
        try_host();
    if (worker != NULL)
        try_worker();
    _exit((int)refused);
}

/* ---------------------------------------------------------------- children */

static int await_child(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void fork_and_try(char *answer, size_t bytes)
{
    const pid_t child = fork();
    if (child == 0)
        try_everything();
    const int status = await_child(child);
    snprintf(answer, bytes, status > 0 && status < 255 ? "refused %d" : "the child ended with %d",
             status);
}

/* As long as the suite lets it, and not much longer than that could be. */
static void fork_and_outlive(char *answer, size_t bytes)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(600);
        for (;;)
            pause();
    }
    snprintf(answer, bytes, "child %d", (int)child);
}

/* How many descriptors a program has that is started now: the shell's own are among them. */
static int count_inherited(void)
{
    const pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "n=0; for fd in /proc/$$/fd/*; do n=$((n + 1)); done; exit $n",
              (char *)NULL);
        _exit(255);
    }
    return await_child(child);
}

static int inherited_at_first;

static void fork_and_exec(char *answer, size_t bytes)
{
    snprintf(answer, bytes, "inherits %d", count_inherited() - inherited_at_first);
}

/* Behind libc's back: nothing tells the library, but it has no memory of its parent's lane. */
static void clone_and_call(char *answer, size_t bytes)
{
    const pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        if (client != NULL)
            call_once(client, 1, 1);
        if (worker != NULL)
            carom_request_reply(current, 0);
        _exit(0);
    }
    const int status = await_child(child);
    snprintf(answer, bytes, status < 0 ? "killed %d" : "ended %d", status < 0 ? -status : status);
}

static void obey(const char *word, char *answer, size_t bytes)
{
    if (strcmp(word, "fork") == 0)
        fork_and_try(answer, bytes);
    else if (strcmp(word, "outlive") == 0)
        fork_and_outlive(answer, bytes);
    else if (strcmp(word, "exec") == 0)
        fork_and_exec(answer, bytes);
    else if (strcmp(word, "clone") == 0)
        clone_and_call(answer, bytes);
    else
        snprintf(answer, bytes, "unknown");
}

/* ---------------------------------------------------------------- the roles */

static void handle(void *context, struct carom_request *request)
{
    char answer[128];
    size_t capacity;
    current = request;
    obey(context, answer, sizeof answer);
    memcpy(carom_request_reply_block(request, &capacity), answer, strlen(answer));
    carom_request_reply(request, strlen(answer));
}

static int be_worker(const char *service)
{
    static char words[4][8] = {"fork", "outlive", "exec", "clone"};
    struct carom_method methods[METHODS + 4];
    memcpy(methods, peer_methods, sizeof peer_methods);
    for (int i = 0; i < 4; i++)
        methods[METHODS + i] = (struct carom_method){
            .name = words[i], .handler = handle, .context = words[i]};
    int rc = carom_worker_open(service, methods, METHODS + 4, PATIENCE_NS, NULL, &worker);
    if (rc < 0)
        return say_failed(rc);
    puts("ready");
    rc = carom_worker_run(worker);
    carom_worker_close(worker);
    return rc < 0 ? FAILED : 0;
}

/* One call that is answered, and one that is not: of a method that lasts. */
static int begin_calls(void)
{
    struct carom_call **const calls[] = {&answered, &submitted};
    const char *const names[] = {"mix", "hold"};
    for (int i = 0; i < 2; i++) {
        const int method = carom_client_method(client, names[i]);
        int rc = carom_call_begin(client, method, PATIENCE_NS, 0, calls[i]);
        if (rc == 0)
            rc = carom_call_submit(*calls[i], 0);
        if (rc == 0 && i == 0)
            rc = carom_call_wait(*calls[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The call that lasts is still this process's: it ends when this process cancels it. */
static void end_calls(char *answer, size_t bytes)
{
    carom_call_cancel(submitted);
    const int rc = carom_call_wait(submitted);
    carom_call_end(submitted);
    carom_call_end(answered);
    snprintf(answer, bytes, "%s", rc == CAROM_CANCELLED ? "ended" : "the parent's call was lost");
}

static void make_calls(unsigned long long count, char *answer, size_t bytes)
{
    static uint64_t number;
    int rc = CAROM_OK;
    for (unsigned long long i = 0; i < count && rc == CAROM_OK; i++)
        rc = call_once(client, 7, number++);
    snprintf(answer, bytes, rc == CAROM_OK ? "calls %llu" : "a call failed", count);
}

static void *run_host(void *unused)
{
    (void)unused;
    carom_host_run(host);
    return NULL;
}

static int begin(const char *role, const char *service)
{
    pthread_t thread;
    if (strcmp(role, "client") == 0)
        return open_client(service, 8, &client);
    if (strcmp(role, "observer") == 0)
        return open_observer(service, &observer);
    const int rc = carom_host_open(service, NULL, &host);
    return rc == 0 ? -pthread_create(&thread, NULL, run_host, NULL) : rc;
}

static int be_other(const char *role, const char *service)
{
    char line[128], answer[128], word[32];
    int rc = begin(role, service);
    if (rc < 0)
        return say_failed(rc);
    puts("ready");
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long long count = 0;
        if (sscanf(line, "%31s %llu", word, &count) < 1)
            continue;
        if (strcmp(word, "begin") == 0)
            snprintf(answer, sizeof answer, "%s", begin_calls() == 0 ? "begun" : "cannot begin");
        else if (strcmp(word, "end") == 0)
            end_calls(answer, sizeof answer);
        else if (strcmp(word, "calls") == 0)
            make_calls(count, answer, sizeof answer);
        else
            obey(word, answer, sizeof answer);
        puts(answer);
    }
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3)
        return 2;
    inherited_at_first = count_inherited();
    return strcmp(argv[1], "worker") == 0 ? be_worker(argv[2]) : be_other(argv[1], argv[2]);
}
