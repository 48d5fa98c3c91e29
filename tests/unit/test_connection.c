/* SPDX-License-Identifier: Apache-2.0
 *
 * test_connection.c - a peer's side of connecting: finding the service, the handshake against hosts
 * that answer anything at all, noticing that the host has died. */
#include "support.h"

#include "connection.h"
#include "peers.h"
#include "service.h"
#include "wait.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---------------------------------------------------------------- connecting */

static void no_socket_is_no_service_and_the_sentence_names_the_path(void **state)
{
    (void)state;
    assert_int_equal(carom__connect(SERVICE, 0), -ENOENT);
    assert_non_null(strstr(carom_error_detail(), "no service 'unit'"));
    assert_non_null(strstr(carom_error_detail(), test_folder()));
}

static void who_has_time_waits_until_it_is_up(void **state)
{
    (void)state;
    int64_t before = carom__now_ns();
    assert_int_equal(carom__connect(SERVICE, before + 20 * MILLISECOND), -ENOENT);
    assert_true(carom__now_ns() - before >= 20 * MILLISECOND);
}

static struct sockaddr_un listen_here(int *listener)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/" SERVICE ".sock", test_folder());
    *listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    require(*listener >= 0);
    require(bind(*listener, (struct sockaddr *)&address, sizeof address) == 0);
    require(listen(*listener, 0) == 0);
    return address;
}

static void a_socket_nobody_listens_on_is_a_host_that_was_killed(void **state)
{
    (void)state;
    int listener;
    struct sockaddr_un address = listen_here(&listener);
    close(listener);
    assert_int_equal(carom__connect(SERVICE, 0), -ECONNREFUSED);
    assert_non_null(strstr(carom_error_detail(), "its host was killed"));
    unlink(address.sun_path);
}

static void what_is_no_service_name_is_refused_at_once(void **state)
{
    (void)state;
    assert_int_equal(carom__connect("a b", INT64_MAX), -EINVAL);
}

static void *connect_waiting(void *unused)
{
    (void)unused;
    add_to(&board->ready, 1);
    int fd = carom__connect(SERVICE, carom__now_ns() + PATIENCE);
    require(fd >= 0);
    require(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    return NULL;
}

static void a_service_that_comes_later_is_found(void **state)
{
    (void)state;
    pthread_t waiter = thread_start(connect_waiting, NULL);
    await(value_of(&board->ready) == 1);
    service_start(NULL);
    thread_join(waiter);
}

/* Connects to a host that accepts nobody and whose queue is full. */
static int connect_to_full_queue(void *unused)
{
    (void)unused;
    int rc = carom__connect(SERVICE, carom__now_ns() + 50 * MILLISECOND);
    add_to(&board->number[0], 1);
    return rc < 0 ? 0 : 1;
}

static void a_stopped_host_with_a_full_queue_does_not_hold_who_has_a_deadline(void **state)
{
    (void)state;
    int listener, fds[8], count = 0;
    struct sockaddr_un address = listen_here(&listener);
    for (; count < 8; count++) { /* until the queue is full */
        fds[count] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fds[count], (struct sockaddr *)&address, sizeof address) != 0)
            break;
    }
    assert_true(count < 8 && errno == EAGAIN);
    pid_t child = child_start(connect_to_full_queue, NULL);
    int64_t give_up = carom__now_ns() + 5 * SECOND;
    await(value_of(&board->number[0]) == 1 || carom__now_ns() > give_up);
    bool returned = value_of(&board->number[0]) == 1;
    child_kill(child);
    for (int i = 0; i <= count; i++)
        close(fds[i]);
    close(listener);
    unlink(address.sun_path);
    assert_true(returned);
}

/* ---------------------------------------------------------------- handshake */

static int ends[2]; /* [0] ours, [1] the host's */
static int (*answer)(int socket);

static void *fake_host(void *unused)
{
    (void)unused;
    static char hello[CAROM__MESSAGE_MAX];
    struct carom__fds fds;
    require(carom__receive(ends[1], hello, sizeof hello, &fds, true) > 0);
    carom__close_fds(&fds);
    require(answer(ends[1]) == 0);
    return NULL;
}

/* Shakes hands with a host that answers so. Returns what came of it; `got` receives descriptors. */
static int shake(int (*with)(int socket), struct carom__fds *got)
{
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    struct carom__welcome welcome = {.id = 99};
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    answer = with;
    pthread_t host = thread_start(fake_host, NULL);
    struct carom__connection connection = {ends[0], -1};
    int rc = carom__shake_hands(&connection, &hello, sizeof hello, -1, carom__now_ns() + PATIENCE,
                                &welcome, got, 2);
    thread_join(host);
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    if (rc == 0)
        assert_int_equal(welcome.id, 5);
    return rc;
}

static int send_welcome(int socket, uint32_t fd_count)
{
    struct carom__welcome message = {.id = 5, .epoch = 6};
    int fd = memfd_create("carom-test", MFD_CLOEXEC), fds[] = {fd, fd, fd, fd};
    carom__header_set(&message.header, CAROM__WELCOME, sizeof message);
    int rc = carom__send(socket, &message, sizeof message, fds, fd_count, true);
    close(fd);
    return rc;
}

static int welcome_with_two(int socket)
{
    return send_welcome(socket, 2);
}

static int welcome_with_three(int socket)
{
    return send_welcome(socket, 3);
}

static int welcome_with_none(int socket)
{
    return send_welcome(socket, 0);
}

static int send_refusal(int socket, int32_t error, uint16_t protocol)
{
    struct carom__refused message = {.error = error};
    carom__header_set(&message.header, CAROM__REFUSED, sizeof message);
    message.header.protocol = protocol;
    memset(message.reason, 'r', sizeof message.reason); /* without an end */
    memcpy(message.reason, "not today", 9);
    return carom__send(socket, &message, sizeof message, NULL, 0, true);
}

static int refuse(int socket)
{
    return send_refusal(socket, -EACCES, CAROM__PROTOCOL);
}

static int refuse_in_another_version(int socket)
{
    return send_refusal(socket, -EPROTO, CAROM__PROTOCOL + 1);
}

static int refuse_with_success(int socket)
{
    return send_refusal(socket, 3, CAROM__PROTOCOL);
}

static int hang_up(int socket)
{
    close(socket);
    ends[1] = -1;
    return 0;
}

static int say_garbage(int socket)
{
    return send(socket, "220 mail.example.org ESMTP", 26, 0) == 26 ? 0 : -errno;
}

static void a_welcome_brings_its_descriptors(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(welcome_with_two, &fds), 0);
    assert_int_equal(fds.count, 2);
    carom__close_fds(&fds);
}

static void
a_welcome_with_other_descriptors_than_agreed_is_refused_and_they_are_closed(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(welcome_with_three, &fds), -EPROTO);
    assert_int_equal(shake(welcome_with_none, &fds), -EPROTO);
    assert_non_null(strstr(carom_error_detail(), carom_version()));
}

static void a_refusal_comes_with_the_hosts_own_words(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(refuse, &fds), -EACCES);
    assert_memory_equal(carom_error_detail(), "not todayrrr", 12);
    assert_int_equal(strlen(carom_error_detail()), CAROM__REASON_BYTES);
}

static void a_refusal_is_understood_from_every_version(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(refuse_in_another_version, &fds), -EPROTO);
    assert_memory_equal(carom_error_detail(), "not today", 9);
}

static void a_refusal_is_never_taken_for_success(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(refuse_with_success, &fds), -EPROTO);
}

static void a_host_that_hangs_up_is_stopping(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(hang_up, &fds), -ECONNREFUSED);
}

static void what_is_no_answer_is_not_taken_for_one(void **state)
{
    (void)state;
    struct carom__fds fds;
    assert_int_equal(shake(say_garbage, &fds), -EPROTO);
}

/* ---------------------------------------------------------------- the host's life */

static void a_host_is_gone_when_it_has_hung_up_and_not_before(void **state)
{
    (void)state;
    char byte;
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    assert_false(carom__host_is_gone(&(struct carom__connection){ends[0], -1}));
    assert_int_equal(send(ends[1], "x", 1, 0), 1);
    assert_false(carom__host_is_gone(&(struct carom__connection){ends[0], -1}));
    close(ends[1]);
    assert_true(carom__host_is_gone(&(struct carom__connection){ends[0], -1}));
    assert_int_equal(recv(ends[0], &byte, 1, 0), 1); /* looking took nothing away */
    close(ends[0]);
}

static struct carom__directory directory;

static void forget_directory(enum carom_service_state service_state, uint32_t workers)
{
    memset((void *)&directory, 0, sizeof directory);
    atomic_store(&directory.state, service_state);
    atomic_store(&directory.worker_count, workers);
}

static void enough_workers_are_ready_at_once(void **state)
{
    (void)state;
    forget_directory(CAROM_READY, 2);
    assert_int_equal(carom__await_ready(&directory, NULL, 2, 0), 0);
    assert_int_equal(carom__await_ready(&directory, NULL, 1, 0), 0);
    assert_int_equal(carom__await_ready(&directory, NULL, 0, 0), 0);
}

static void too_few_workers_are_counted_in_the_sentence(void **state)
{
    (void)state;
    forget_directory(CAROM_READY, 2);
    assert_int_equal(carom__await_ready(&directory, NULL, 3, 0), -ETIMEDOUT);
    assert_non_null(strstr(carom_error_detail(), "2 of 3"));
    assert_int_equal(carom__await_ready(&directory, NULL, 3, carom__now_ns() + MILLISECOND),
                     -ETIMEDOUT);
}

static void a_service_that_stops_is_not_waited_for(void **state)
{
    (void)state;
    forget_directory(CAROM_STOPPING, 2);
    assert_int_equal(carom__await_ready(&directory, NULL, 1, INT64_MAX), -ESHUTDOWN);
}

static void a_host_that_dies_is_not_waited_for(void **state)
{
    (void)state;
    forget_directory(CAROM_STARTING, 0);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    close(ends[1]);
    struct carom__connection connection = {ends[0], -1};
    assert_int_equal(carom__await_ready(&directory, &connection, 1, INT64_MAX), -EHOSTDOWN);
    close(ends[0]);
}

static void *await_worker(void *unused)
{
    (void)unused;
    require(carom__await_ready(&directory, NULL, 1, INT64_MAX) == 0);
    return NULL;
}

static void who_waits_is_woken_by_the_change(void **state)
{
    (void)state;
    forget_directory(CAROM_STARTING, 0);
    pthread_t waiter = thread_start(await_worker, NULL);
    await_asleep(&directory.change, 1);
    atomic_store(&directory.worker_count, 1);
    atomic_fetch_add(&directory.change, 1);
    carom__futex_wake(&directory.change, 1);
    thread_join(waiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(no_socket_is_no_service_and_the_sentence_names_the_path),
        sentence(who_has_time_waits_until_it_is_up),
        sentence(a_socket_nobody_listens_on_is_a_host_that_was_killed),
        sentence(what_is_no_service_name_is_refused_at_once),
        sentence(a_service_that_comes_later_is_found),
        sentence(a_stopped_host_with_a_full_queue_does_not_hold_who_has_a_deadline),
        sentence(a_welcome_brings_its_descriptors),
        sentence(a_welcome_with_other_descriptors_than_agreed_is_refused_and_they_are_closed),
        sentence(a_refusal_comes_with_the_hosts_own_words),
        sentence(a_refusal_is_understood_from_every_version),
        sentence(a_refusal_is_never_taken_for_success),
        sentence(a_host_that_hangs_up_is_stopping),
        sentence(what_is_no_answer_is_not_taken_for_one),
        sentence(a_host_is_gone_when_it_has_hung_up_and_not_before),
        sentence(enough_workers_are_ready_at_once),
        sentence(too_few_workers_are_counted_in_the_sentence),
        sentence(a_service_that_stops_is_not_waited_for),
        sentence(a_host_that_dies_is_not_waited_for),
        sentence(who_waits_is_woken_by_the_change),
    };
    return RUN(tests);
}
