/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host_deaths.c - what callers are told when a worker dies, and when a worker counts as dead.
 * Workers are children that really die. They are forked before the host's thread starts. */
#include "support.h"

#include "client.h"
#include "host.h"
#include "peers.h"
#include "service.h"
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int ends[2]; /* of the pipe of events: read, write */

static void close_pipe(void)
{
    close(ends[0]);
    close(ends[1]);
}

static int open_pipe(void **state)
{
    int rc = before_test(state);
    require(pipe2(ends, O_CLOEXEC) == 0);
    at_end_of_test(close_pipe); /* after the host, which is said later */
    return rc;
}

#define death(test) cmocka_unit_test_setup_teardown(test, open_pipe, after_test)

static void start(const char *quarantine_folder)
{
    struct carom_host_options options = {
        .size = sizeof options, .event_fd = ends[1], .quarantine_folder = quarantine_folder};
    service_start(&options);
}

static const char *next_event(void)
{
    static char line[8192];
    size_t length = 0;
    while (length < sizeof line - 1 && read(ends[0], line + length, 1) == 1 && line[length] != '\n')
        length++;
    line[length] = '\0';
    return line;
}

static void assert_event(const char *format, pid_t pid)
{
    char expected[256];
    snprintf(expected, sizeof expected, format, (int)pid);
    assert_string_equal(next_event(), expected);
}

static bool is_no_event(void)
{
    char byte;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    bool none = read(ends[0], &byte, 1) < 0 && errno == EAGAIN;
    fcntl(ends[0], F_SETFL, 0);
    return none;
}

static int workers_now(void)
{
    return (int)atomic_load(&service_host()->directory->worker_count);
}

static bool is_present(uint32_t worker)
{
    return atomic_load(&service_host()->directory->workers[worker].present) != 0;
}

/* The call must end like this; %d in `format` stands for the pid. */
static void assert_ends(struct carom_call *call, int status, const char *type, const char *format,
                        pid_t pid)
{
    char expected[512];
    struct carom_error error;
    assert_int_equal(carom_call_wait(call), status);
    assert_int_equal(carom_call_error(call, &error), 0);
    snprintf(expected, sizeof expected, format, (int)pid);
    assert_string_equal(error.type, type);
    assert_string_equal(error.message, expected);
    assert_int_equal(error.worker, 0);
    carom_call_end(call);
}

/* A call of `hold` that a child, the only worker, runs. */
static struct carom_call *held_call(size_t bytes)
{
    struct carom_client *client = client_open(4, 8192);
    struct carom_call *call = call_submitted(client, HOLD, bytes);
    await(value_of(&board->held) == 1);
    return call;
}

/* ---------------------------------------------------------------- how it died */

static void a_signal_is_named(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    start(NULL);
    struct carom_call *call = held_call(4);
    kill(child, SIGKILL);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) was killed by SIGKILL while it ran method 'hold'", child);
    assert_event("died\t0\t%d\t1\twas killed by SIGKILL", child);
    assert_int_equal(child_join(child), -SIGKILL);
}

static int worker_without_core(void *unused)
{
    struct rlimit none = {0, 0};
    require(setrlimit(RLIMIT_CORE, &none) == 0);
    return worker_child(unused);
}

static void assert_is_named(int number, const char *name)
{
    char text[128];
    pid_t child = child_start(worker_without_core, NULL);
    start(NULL);
    struct carom_call *call = held_call(4);
    snprintf(text, sizeof text, "worker 0 (pid %%d) was killed by %s while it ran method 'hold'",
             name);
    kill(child, number);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied", text, child);
    child_join(child);
}

static void a_fault_is_named(void **state)
{
    (void)state;
    assert_is_named(SIGSEGV, "SIGSEGV");
}

static void a_signal_without_a_name_has_a_number(void **state)
{
    (void)state;
    char name[32];
    snprintf(name, sizeof name, "signal %d", SIGRTMIN + 3);
    assert_is_named(SIGRTMIN + 3, name);
}

/* A worker that takes one call and then does what the argument says. */
static int worker_that(void (*act)(struct carom_worker *, struct carom_request *))
{
    struct carom_worker *worker;
    struct carom_request *request;
    require(carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, NULL, &worker) == 0);
    require(carom_worker_take(worker, CAROM_FOREVER, &request) == 0);
    act(worker, request);
    return 9;
}

static void exit_with_3(struct carom_worker *worker, struct carom_request *request)
{
    (void)worker;
    (void)request;
    _exit(3);
}

static int exiting_child(void *unused)
{
    (void)unused;
    return worker_that(exit_with_3);
}

static void an_exit_status_is_named(void **state)
{
    (void)state;
    pid_t child = child_start(exiting_child, NULL);
    start(NULL);
    struct carom_call *call = call_submitted(client_open(4, 8192), ECHO, 4);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) exited with status 3 while it ran method 'echo'", child);
    assert_event("died\t0\t%d\t1\texited with status 3", child);
    assert_int_equal(child_join(child), 3);
}

static void what_was_noted_goes_before_what_the_kernel_says(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    start(NULL);
    struct carom_call *call = held_call(4);
    carom_host_note_end(service_host(), child, "was killed by SIGKILL: out of memory");
    carom_host_note_end(service_host(), child + 1, "is somebody else");
    kill(child, SIGKILL);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) was killed by SIGKILL: out of memory while it ran method 'hold'",
                child);
    assert_event("died\t0\t%d\t1\twas killed by SIGKILL: out of memory", child);
}

/* The worker is not the host's child but the child of one: nobody tells the host. */
static int worker_in_child(void *unused)
{
    pid_t worker = fork();
    require(worker >= 0);
    if (worker == 0) {
        alarm(60);
        _exit(worker_child(unused));
    }
    add_to(&board->number[0], worker);
    await(value_of(&board->finish) > 0);
    return 0;
}

static void who_is_no_child_just_died(void **state)
{
    (void)state;
    child_start(worker_in_child, NULL);
    start(NULL);
    struct carom_call *call = held_call(4);
    pid_t worker = value_of(&board->number[0]);
    kill(worker, SIGKILL);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) died while it ran method 'hold'", worker);
    assert_event("died\t0\t%d\t1\tdied", worker);
}

static void a_method_number_that_is_none_is_not_followed(void **state)
{
    (void)state;
    const uint32_t numbers[] = {METHODS, CAROM__MAX_METHODS, UINT32_MAX - 1};
    for (int i = 0; i < 3; i++) {
        pid_t child = child_start(worker_child, NULL);
        start(NULL);
        struct carom_call *call = held_call(4);
        struct carom_client *client = call->client;
        atomic_store(&client->lane.slots[call->submission.slot].method, numbers[i]);
        kill(child, SIGKILL);
        assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                    "worker 0 (pid %d) was killed by SIGKILL while it ran method '?'", child);
        child_join(child);
        client_close(client);
        service_stop();
        atomic_store(&board->held, 0);
    }
}

static void a_record_that_cannot_be_written_leaves_the_status(void **state)
{
    (void)state;
    struct carom_error error;
    pid_t child = child_start(worker_child, NULL);
    start(NULL);
    struct carom_call *call = held_call(4);
    struct carom_host *host = service_host();
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pthread_mutex_lock(&host->lock);
    assert_int_equal(dup3(nothing, host->clients[0]->lane->replies_fd, O_CLOEXEC),
                     host->clients[0]->lane->replies_fd);
    pthread_mutex_unlock(&host->lock);
    close(nothing);
    kill(child, SIGKILL);
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "carom.WorkerDied"); /* the client's own words */
    carom_call_end(call);
}

/* ---------------------------------------------------------------- when it counts as dead */

static void who_leaves_in_order_is_no_event(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    start(NULL);
    await(workers_now() == 1);
    worker_stop(worker_start());
    await(!is_present(1)); /* its process lives on */
    kill(child, SIGKILL);
    assert_event("died\t0\t%d\t0\twas killed by SIGKILL", child);
    assert_true(is_no_event());
}

static int leaving_child(void *unused)
{
    struct carom_worker *worker;
    (void)unused;
    require(carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, NULL, &worker) == 0);
    add_to(&board->ready, 1);
    await(value_of(&board->number[0]) > 0);
    carom_worker_close(worker);
    return 5;
}

static void a_process_that_ends_after_its_worker_left_is_no_event(void **state)
{
    (void)state;
    pid_t child = child_start(leaving_child, NULL);
    start(NULL);
    await(value_of(&board->ready) == 1);
    pthread_mutex_lock(&service_host()->lock); /* goodbye, hang-up and end all at once */
    add_to(&board->number[0], 1);
    child_join(child);
    pthread_mutex_unlock(&service_host()->lock);
    await(!is_present(0));
    assert_true(is_no_event());
}

static void close_everything(struct carom_worker *worker, struct carom_request *request)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    add_to(&board->ready, 1);
    await(value_of(&board->number[0]) > 0);
    require(carom_request_reply(request, 0) == 0);
    add_to(&board->number[1], 1);
    require(carom_worker_take(worker, CAROM_FOREVER, &request) < 0); /* it finds out, and ends */
    _exit(0);
}

static int closing_child(void *unused)
{
    (void)unused;
    return worker_that(close_everything);
}

static void a_worker_that_closed_its_descriptors_may_finish_its_call(void **state)
{
    (void)state;
    pid_t child = child_start(closing_child, NULL);
    start(NULL);
    struct carom_call *call = call_submitted(client_open(4, 8192), ECHO, 4);
    await(value_of(&board->ready) == 1 && workers_now() == 0);
    worker_start();
    struct carom_client *client = client_open(4, 8192); /* a lane that it is not told of */
    assert_echoes(client);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    assert_true(is_present(0));
    add_to(&board->number[0], 1);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    await(!is_present(0));
    assert_int_equal(child_join(child), 0); /* not before the host has looked how it ended */
    assert_true(is_no_event());
    assert_echoes(client);
}

static void a_worker_that_closed_its_descriptors_and_is_killed_is_dead(void **state)
{
    (void)state;
    pid_t child = child_start(closing_child, NULL);
    start(NULL);
    struct carom_call *call = call_submitted(client_open(4, 8192), ECHO, 4);
    await(value_of(&board->ready) == 1 && workers_now() == 0);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    kill(child, SIGTERM);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) was killed by SIGTERM while it ran method 'echo'", child);
    assert_event("died\t0\t%d\t1\twas killed by SIGTERM", child);
}

struct hand_worker {
    struct carom__hello hello;
    struct carom__method_entry names[1];
};

/* A worker by hand, of this process; with or without its pidfd. */
static int join_by_hand(bool has_pidfd)
{
    struct hand_worker hello = {.hello = peer_hello(CAROM__WORKER), .names = {{.name = "echo"}}};
    int socket = peer_connect(), pidfd = peer_pidfd();
    hello.hello.method_count = 1;
    hello.hello.has_pidfd = has_pidfd;
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, &pidfd, has_pidfd ? 1 : 0), 0);
    close(pidfd);
    return socket;
}

/* A call that the worker by hand has claimed. */
static struct carom_call *claimed_by_hand(void)
{
    struct carom_client *client = client_open(2, 4096);
    struct carom_call *call = call_submitted(client, 0, 4);
    struct carom__claim claim;
    uint32_t owner = carom__owner(peer_welcome.id, peer_welcome.epoch);
    assert_int_equal(carom__lane_claim(&client->lane, owner, &claim), 1);
    return call;
}

static void without_a_pidfd_hanging_up_is_death(void **state)
{
    (void)state;
    start(NULL);
    int socket = join_by_hand(false);
    struct carom_call *call = claimed_by_hand();
    close(socket);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) died while it ran method 'echo'", getpid());
    assert_event("died\t0\t%d\t1\tdied", getpid());
}

static void nonsense_from_a_worker_ends_the_connection_and_not_its_call(void **state)
{
    (void)state;
    start(NULL);
    int socket = join_by_hand(true);
    struct carom_call *call = claimed_by_hand();
    assert_int_equal(send(socket, "hello?", 6, 0), 6);
    peer_await_hang_up(socket);
    close(socket);
    await(workers_now() == 0);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    assert_true(is_present(0));
    carom_call_end(call);
}

static void a_worker_that_says_goodbye_with_a_call_has_left_it(void **state)
{
    (void)state;
    struct carom__header goodbye;
    start(NULL);
    int socket = join_by_hand(true);
    struct carom_call *call = claimed_by_hand();
    carom__header_set(&goodbye, CAROM__LEAVE, sizeof goodbye);
    assert_int_equal(carom__send(socket, &goodbye, sizeof goodbye, NULL, 0, true), 0);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) left while it ran method 'echo'", getpid());
    assert_event("died\t0\t%d\t1\tleft", getpid());
    close(socket);
}

/* ---------------------------------------------------------------- poison */

static void make_second_death(struct carom_call *call)
{
    atomic_store(&call->client->lane.slots[call->submission.slot].deaths, 1);
}

static void the_first_death_is_counted_and_the_second_is_poison(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    start(NULL);
    struct carom_call *call = held_call(4);
    struct carom_client *client = call->client;
    uint32_t slot = call->submission.slot;
    make_second_death(call);
    kill(child, SIGKILL);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    assert_int_equal(atomic_load(&client->lane.slots[slot].deaths), 2);
    assert_ends(call, CAROM_ABORTED, "carom.PoisonRequest",
                "this request killed 2 workers, the last one, worker 0 (pid %d), was killed by "
                "SIGKILL; it is not given to another",
                child);
    assert_event("died\t0\t%d\t1\twas killed by SIGKILL", child);
}

static void a_poison_is_kept_and_its_caller_told_where(void **state)
{
    (void)state;
    char folder[64], content[64], expected[512], *path;
    struct carom_error error;
    snprintf(folder, sizeof folder, "%s/kept", test_folder());
    assert_int_equal(mkdir(folder, 0700), 0);
    pid_t child = child_start(worker_child, NULL);
    start(folder);
    struct carom_call *call = held_call(50);
    make_second_death(call);
    kill(child, SIGKILL);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    assert_int_equal(carom_call_error(call, &error), 0);
    path = strstr(error.message, "; kept as ");
    assert_non_null(path);
    path += strlen("; kept as ");
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(file, content, sizeof content), 50);
    close(file);
    for (int i = 0; i < 50; i++)
        assert_int_equal(content[i], (char)(i * 7 + 3)); /* as call_begin wrote it */
    snprintf(expected, sizeof expected, "quarantined\thold\t%s\t", path);
    assert_string_equal(next_event(), expected);
    assert_event("died\t0\t%d\t1\twas killed by SIGKILL", child);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    carom_call_end(call);
}

static void a_poison_that_cannot_be_kept_says_why(void **state)
{
    (void)state;
    char folder[64];
    snprintf(folder, sizeof folder, "%s/kept", test_folder());
    assert_int_equal(mkdir(folder, 0700), 0);
    pid_t child = child_start(worker_child, NULL);
    start(folder);
    assert_int_equal(rmdir(folder), 0);
    struct carom_call *call = held_call(4);
    make_second_death(call);
    kill(child, SIGKILL);
    assert_ends(call, CAROM_ABORTED, "carom.PoisonRequest",
                "this request killed 2 workers, the last one, worker 0 (pid %d), was killed by "
                "SIGKILL; it is not given to another; it could not be kept: No such file or "
                "directory",
                child);
    assert_string_equal(next_event(), "quarantined\thold\t\tNo such file or directory");
}

/* A hostile client says that the worker runs every slot of its lane, and has died of each. */
static void a_client_cannot_fill_the_disk(void **state)
{
    (void)state;
    char folder[64], kept[512];
    snprintf(folder, sizeof folder, "%s/kept", test_folder());
    assert_int_equal(mkdir(folder, 0700), 0);
    pid_t child = child_start(worker_child, NULL);
    start(folder);
    struct carom_call *call = held_call(4);
    struct carom__slot *slots = call->client->lane.slots;
    uint64_t running = atomic_load(&slots[call->submission.slot].state);
    for (uint32_t slot = 0; slot < 4; slot++) {
        atomic_store(&slots[slot].state, running);
        atomic_store(&slots[slot].deaths, UINT32_MAX);
        atomic_store(&slots[slot].request_bytes, 8);
    }
    kill(child, SIGKILL);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    const char *event = next_event();
    assert_memory_equal(event, "quarantined\thold\t", 17);
    snprintf(kept, sizeof kept, "%.*s", (int)strcspn(event + 17, "\t"), event + 17);
    assert_event("died\t0\t%d\t4\twas killed by SIGKILL", child);
    assert_int_equal(unlink(kept), 0);
    assert_int_equal(rmdir(folder), 0); /* there was one */
    carom_call_end(call);
}

/* ---------------------------------------------------------------- recovery */

static void recovery_may_be_run_again(void **state)
{
    (void)state;
    struct carom_host *host;
    start(NULL);
    int socket = join_by_hand(true);
    struct carom_call *call = claimed_by_hand();
    host = service_host();
    pthread_mutex_lock(&host->lock);
    for (int i = 0; i < 3; i++)
        carom__host_recover(host, host->workers[0]);
    pthread_mutex_unlock(&host->lock);
    assert_int_equal(atomic_load(&call->client->lane.slots[call->submission.slot].deaths), 1);
    assert_ends(call, CAROM_UNAVAILABLE, "carom.WorkerDied",
                "worker 0 (pid %d) died while it ran method 'echo'", getpid());
    close(socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        death(a_signal_is_named),
        death(a_fault_is_named),
        death(a_signal_without_a_name_has_a_number),
        death(an_exit_status_is_named),
        death(what_was_noted_goes_before_what_the_kernel_says),
        death(who_is_no_child_just_died),
        death(a_method_number_that_is_none_is_not_followed),
        death(a_record_that_cannot_be_written_leaves_the_status),
        death(who_leaves_in_order_is_no_event),
        death(a_process_that_ends_after_its_worker_left_is_no_event),
        death(a_worker_that_closed_its_descriptors_may_finish_its_call),
        death(a_worker_that_closed_its_descriptors_and_is_killed_is_dead),
        death(without_a_pidfd_hanging_up_is_death),
        death(nonsense_from_a_worker_ends_the_connection_and_not_its_call),
        death(a_worker_that_says_goodbye_with_a_call_has_left_it),
        death(the_first_death_is_counted_and_the_second_is_poison),
        death(a_poison_is_kept_and_its_caller_told_where),
        death(a_poison_that_cannot_be_kept_says_why),
        death(a_client_cannot_fill_the_disk),
        death(recovery_may_be_run_again),
    };
    return RUN(tests);
}
