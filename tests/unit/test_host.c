/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host.c - owning a service: the name and who may take it over, options, stopping, waiting for
 * workers, and that nothing of a thousand guests stays behind. */
#include "support.h"

#include "host.h"
#include "peers.h"
#include "service.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct carom_host *open_host(const struct carom_host_options *options)
{
    struct carom_host *host;
    int rc = carom_host_open(SERVICE, options, &host);
    if (rc < 0)
        print_error("%s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    return host;
}

static mode_t socket_mode(void)
{
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "%s/" SERVICE ".sock", test_folder());
    return stat(path, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_mode & 07777 : 0;
}

/* ---------------------------------------------------------------- the name */

static void a_host_has_a_socket_for_its_own_uid_and_takes_it_away(void **state)
{
    (void)state;
    struct carom_host *host = open_host(NULL);
    assert_int_equal(socket_mode(), 0600);
    carom_host_close(host);
    assert_int_equal(socket_mode(), 0);
}

static void a_host_that_allows_others_has_a_socket_for_all(void **state)
{
    (void)state;
    const uid_t uids[] = {12345};
    struct carom_host_options options = {
        .size = sizeof options, .allowed_uids = uids, .allowed_uid_count = 1};
    struct carom_host *host = open_host(&options);
    assert_int_equal(socket_mode(), 0666);
    carom_host_close(host);
}

static void a_name_that_is_served_is_taken(void **state)
{
    (void)state;
    struct carom_host *host = open_host(NULL), *second = (void *)1;
    assert_int_equal(carom_host_open(SERVICE, NULL, &second), -EADDRINUSE);
    assert_null(second);
    assert_non_null(strstr(carom_error_detail(), "'unit' is already served"));
    assert_int_equal(socket_mode(), 0600); /* of the first, untouched */
    carom_host_close(host);
    carom_host_close(open_host(NULL));
}

static int host_child(void *unused)
{
    (void)unused;
    struct carom_host *host;
    require(carom_host_open(SERVICE, NULL, &host) == 0);
    add_to(&board->ready, 1);
    return carom_host_run(host);
}

static void the_socket_of_a_killed_host_is_taken_over(void **state)
{
    (void)state;
    pid_t killed = child_start(host_child, NULL);
    await(value_of(&board->ready) == 1);
    struct carom_host *host;
    assert_int_equal(carom_host_open(SERVICE, NULL, &host), -EADDRINUSE);
    child_kill(killed);
    assert_int_equal(socket_mode(), 0600); /* left behind */
    service_start(NULL);
    worker_start();
    assert_echoes(client_open(4, 4096));
}

/* A host with a child of its own that outlives it, as of a program that forks. */
static int host_with_child(void *unused)
{
    (void)unused;
    struct carom_host *host;
    require(carom_host_open(SERVICE, NULL, &host) == 0);
    if (fork() == 0) {
        alarm(60);
        add_to(&board->ready, 1);
        await(value_of(&board->finish) > 0);
        _exit(0);
    }
    return carom_host_run(host);
}

static void a_killed_host_is_dead_although_a_child_of_it_lives(void **state)
{
    (void)state;
    pid_t killed = child_start(host_with_child, NULL);
    await(value_of(&board->ready) == 1);
    struct carom_observer *observer;
    assert_int_equal(carom_observer_open(SERVICE, &observer), 0);
    child_kill(killed);
    struct carom_host *host = NULL;
    struct carom_service_info info;
    int name = carom_host_open(SERVICE, NULL, &host);
    int gone = carom_observer_service(observer, &info);
    carom_observer_close(observer);
    add_to(&board->finish, 1);
    if (host == NULL)
        await(carom_host_open(SERVICE, NULL, &host) == 0); /* tidies up after the dead */
    carom_host_close(host);
    assert_int_equal(name, 0);
    assert_int_equal(gone, -EHOSTDOWN);
}

static void a_service_may_be_a_path(void **state)
{
    (void)state;
    char path[128];
    struct carom_host *host;
    snprintf(path, sizeof path, "%s/else.where", test_folder());
    assert_int_equal(carom_host_open(path, NULL, &host), 0);
    assert_int_equal(access(path, F_OK), 0);
    carom_host_close(host);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_name_that_is_none_opens_nothing(void **state)
{
    (void)state;
    struct carom_host *host = (void *)1;
    assert_int_equal(carom_host_open("", NULL, &host), -EINVAL);
    assert_null(host);
    assert_int_equal(carom_host_open("/no/such/folder/x", NULL, &host), -ENOENT);
    assert_int_equal(chmod(test_folder(), 0777), 0);
    assert_int_equal(carom_host_open(SERVICE, NULL, &host), -EACCES);
    assert_int_equal(chmod(test_folder(), 0700), 0);
}

/* ---------------------------------------------------------------- options */

static void options_of_an_unknown_size_are_refused(void **state)
{
    (void)state;
    struct carom_host *host;
    const size_t sizes[] = {0, 4, sizeof(struct carom_host_options) + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct carom_host_options options = {.size = sizes[i]};
        assert_int_equal(carom_host_open(SERVICE, &options, &host), -EINVAL);
    }
}

static void options_of_an_older_program_are_read_as_far_as_they_go(void **state)
{
    (void)state;
    struct carom_host_options options = {.size = offsetof(struct carom_host_options, max_workers),
                                         .max_clients = 3,
                                         .max_workers = 5};
    struct carom_host *host = open_host(&options);
    assert_int_equal(host->max_clients, 3);
    assert_int_equal(host->max_workers, CAROM__MAX_WORKERS);
    carom_host_close(host);
}

static void limits_are_at_most_what_the_layout_can_hold(void **state)
{
    (void)state;
    struct carom_host_options options = {.size = sizeof options,
                                         .max_clients = UINT32_MAX,
                                         .max_workers = UINT32_MAX,
                                         .max_slots = UINT32_MAX};
    struct carom_host *host = open_host(&options);
    assert_int_equal(host->max_clients, CAROM__MAX_LANES);
    assert_int_equal(host->max_workers, CAROM__MAX_WORKERS);
    assert_int_equal(host->max_slots, CAROM__MAX_SLOTS);
    carom_host_close(host);
}

/* ---------------------------------------------------------------- running and stopping */

static void a_stop_before_the_run_is_not_lost(void **state)
{
    (void)state;
    struct carom_host *host = open_host(NULL);
    carom_host_stop(host);
    carom_host_stop(host);
    assert_int_equal(carom_host_run(host), 0);
    carom_host_close(host);
}

static struct carom_host *signalled;

static void on_signal(int number)
{
    (void)number;
    carom_host_stop(signalled);
}

static void *stop_by_signal(void *thread)
{
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

static void a_signal_handler_may_stop_it(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}, before;
    pthread_t self = pthread_self();
    signalled = open_host(NULL);
    sigaction(SIGUSR1, &action, &before);
    pthread_t other = thread_start(stop_by_signal, &self);
    assert_int_equal(carom_host_run(signalled), 0);
    thread_join(other);
    sigaction(SIGUSR1, &before, NULL);
    carom_host_close(signalled);
}

static void stopping_tells_workers_and_clients(void **state)
{
    (void)state;
    struct carom_request *request;
    struct carom_call *call;
    service_start(NULL);
    struct carom_worker *worker = worker_open();
    struct carom_client *client = client_open(4, 4096);
    service_stop();
    assert_int_equal(carom_worker_take(worker, CAROM_FOREVER, &request), -ESHUTDOWN);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call), -ESHUTDOWN);
    assert_null(call);
}

static void closing_nothing_is_allowed(void **state)
{
    (void)state;
    carom_host_close(NULL);
}

/* ---------------------------------------------------------------- waiting for workers */

static void waiting_for_workers_ends_in_time(void **state)
{
    (void)state;
    service_start(NULL);
    assert_int_equal(carom_host_wait_ready(service_host(), 0, 0), 0);
    assert_int_equal(carom_host_wait_ready(service_host(), 1, 0), -ETIMEDOUT);
    assert_int_equal(carom_host_wait_ready(service_host(), 1, 5 * MILLISECOND), -ETIMEDOUT);
    worker_start();
    assert_int_equal(carom_host_wait_ready(service_host(), 1, PATIENCE), 0);
    assert_int_equal(carom_host_wait_ready(service_host(), 2, 0), -ETIMEDOUT);
}

static void *wait_for_two(void *unused)
{
    (void)unused;
    int rc = carom_host_wait_ready(service_host(), 2, CAROM_FOREVER);
    atomic_store(&board->number[0], rc);
    return NULL;
}

static void a_waiter_learns_of_the_last_worker(void **state)
{
    (void)state;
    service_start(NULL);
    pthread_t waiter = thread_start(wait_for_two, NULL);
    await_asleep(&service_host()->directory->change, 1);
    worker_start();
    worker_start();
    thread_join(waiter);
    assert_int_equal(value_of(&board->number[0]), 0);
}

static void a_waiter_learns_of_the_stop(void **state)
{
    (void)state;
    service_start(NULL);
    pthread_t waiter = thread_start(wait_for_two, NULL);
    await_asleep(&service_host()->directory->change, 1);
    carom_host_stop(service_host());
    thread_join(waiter);
    assert_int_equal(value_of(&board->number[0]), -ESHUTDOWN);
}

/* ---------------------------------------------------------------- guests */

static int clients_now(void)
{
    return (int)atomic_load(&service_host()->directory->client_count);
}

static void a_thousand_clients_come_and_go_and_nothing_of_them_stays(void **state)
{
    (void)state;
    service_start(NULL);
    worker_start();
    int fds = open_fds();
    for (int i = 0; i < ROUNDS(1000); i++) {
        struct carom_client *client = client_open(8, 8192);
        if (i % 10 == 0)
            assert_echoes(client);
        client_close(client);
    }
    await(clients_now() == 0);
    await(open_fds() <= fds); /* mappings are counted after the test, when the worker has gone */
}

static void clients_in_numbers_share_the_service(void **state)
{
    (void)state;
    struct carom_client *clients[20];
    service_start(NULL);
    worker_start();
    for (int i = 0; i < 20; i++)
        clients[i] = client_open(2, 4096);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 20; i++)
            assert_echoes(clients[(i * 7 + round) % 20]);
    }
    await(clients_now() == 20);
}

/* ---------------------------------------------------------------- fork */

static int use_in_child(void *host)
{
    carom_host_stop(host); /* must not stop the parent's */
    if (carom_host_wait_ready(host, 1, 0) != -ECHILD)
        return 1;
    if (carom_host_run(host) != -ECHILD)
        return 2;
    carom_host_close(host); /* must not take the parent's name away */
    return 0;
}

static void a_forked_child_can_neither_use_nor_disturb_the_host(void **state)
{
    (void)state;
    struct carom_host *host = open_host(NULL);
    int in_its_child = in_child(use_in_child, host);
    uint64_t stops = 0;
    bool disturbed = read(host->stop_fd, &stops, sizeof stops) > 0;
    assert_int_equal(socket_mode(), 0600);
    carom_host_close(host);
    assert_int_equal(in_its_child, 0);
    assert_false(disturbed);
}

static int close_and_open_in_child(void *inherited)
{
    struct carom_host *host;
    carom_host_close(inherited);
    if (carom_host_open(SERVICE, NULL, &host) != -EADDRINUSE) /* the parent's, which lives */
        return 1;
    if (carom_host_open("another", NULL, &host) != 0)
        return 2;
    carom_host_close(host);
    return 0;
}

static void a_forked_child_may_have_a_host_of_its_own(void **state)
{
    (void)state;
    struct carom_host *host = open_host(NULL);
    int in_its_child = in_child(close_and_open_in_child, host);
    mode_t mode = socket_mode();
    carom_host_close(host);
    assert_int_equal(in_its_child, 0);
    assert_int_equal(mode, 0600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_host_has_a_socket_for_its_own_uid_and_takes_it_away),
        sentence(a_host_that_allows_others_has_a_socket_for_all),
        sentence(a_name_that_is_served_is_taken),
        sentence(the_socket_of_a_killed_host_is_taken_over),
        sentence(a_killed_host_is_dead_although_a_child_of_it_lives),
        sentence(a_service_may_be_a_path),
        sentence(a_name_that_is_none_opens_nothing),
        sentence(options_of_an_unknown_size_are_refused),
        sentence(options_of_an_older_program_are_read_as_far_as_they_go),
        sentence(limits_are_at_most_what_the_layout_can_hold),
        sentence(a_stop_before_the_run_is_not_lost),
        sentence(a_signal_handler_may_stop_it),
        sentence(stopping_tells_workers_and_clients),
        sentence(closing_nothing_is_allowed),
        sentence(waiting_for_workers_ends_in_time),
        sentence(a_waiter_learns_of_the_last_worker),
        sentence(a_waiter_learns_of_the_stop),
        sentence(a_thousand_clients_come_and_go_and_nothing_of_them_stays),
        sentence(clients_in_numbers_share_the_service),
        sentence(a_forked_child_can_neither_use_nor_disturb_the_host),
        sentence(a_forked_child_may_have_a_host_of_its_own),
    };
    return RUN(tests);
}
