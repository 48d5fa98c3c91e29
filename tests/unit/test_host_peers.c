/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host_peers.c - who is let in: every wrong HELLO is refused with a sentence, every limit is
 * kept, and after each of them the host serves the next peer as if nothing had happened. */
#include "support.h"

#include "host.h"
#include "peers.h"
#include "service.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void assert_serves(void)
{
    struct carom_observer *observer;
    int rc = carom_observer_open(SERVICE, &observer);
    if (rc < 0)
        print_error("%s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    carom_observer_close(observer);
}

/* Greets with these bytes and descriptors; the host must refuse with `error` and these words. */
static void assert_refused(const void *hello, size_t bytes, const int *fds, uint32_t count,
                           int error, const char *words)
{
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, hello, bytes, fds, count), error);
    if (strstr(peer_reason, words) == NULL)
        print_error("'%s' is not in '%s'\n", words, peer_reason);
    assert_non_null(strstr(peer_reason, words));
    peer_await_hang_up(socket);
    close(socket);
    assert_serves();
}

static void assert_hello_refused(const struct carom__hello *hello, int error, const char *words)
{
    assert_refused(hello, sizeof *hello, NULL, 0, error, words);
}

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

/* ---------------------------------------------------------------- wrong HELLOs */

static void another_protocol_is_named_in_the_refusal(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    carom__header_set(&hello.header, CAROM__HELLO, sizeof hello);
    hello.header.protocol = CAROM__PROTOCOL + 41;
    assert_hello_refused(&hello, -EPROTO, "protocol 42");
}

static void a_shorter_hello_of_another_protocol_is_told_the_same(void **state)
{
    (void)state;
    struct carom__header header;
    carom__header_set(&header, CAROM__HELLO, sizeof header);
    header.protocol = 7;
    assert_refused(&header, sizeof header, NULL, 0, -EPROTO, "protocol 7");
}

static void another_layout_is_refused(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    hello.layout_hash ^= 1;
    assert_hello_refused(&hello, -EPROTO, "another memory layout");
}

static void a_hello_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    for (size_t bytes = sizeof hello.header; bytes < sizeof hello; bytes += 8)
        assert_refused(&hello, bytes, NULL, 0, -EPROTO, "cut off");
}

static void garbage_is_told_that_it_is_none_of_ours(void **state)
{
    (void)state;
    const char *garbage[] = {"x", "GET / HTTP/1.1\r\n\r\n", "\x43\x52\x4d\x31"};
    for (size_t i = 0; i < 3; i++) {
        int socket = peer_connect();
        assert_true(send(socket, garbage[i], strlen(garbage[i]), 0) > 0);
        assert_int_equal(peer_answer(socket), -EPROTO);
        assert_non_null(strstr(peer_reason, "carom"));
        close(socket);
        assert_serves();
    }
}

static void another_message_than_hello_comes_too_early(void **state)
{
    (void)state;
    struct carom__poisoned message = {.lane = 0};
    carom__header_set(&message.header, CAROM__POISONED, sizeof message);
    assert_refused(&message, sizeof message, NULL, 0, -EPROTO, "must be HELLO");
}

static void an_unknown_role_is_refused(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello((enum carom__role)0);
    assert_hello_refused(&hello, -EPROTO, "role 0");
    hello.role = 4;
    assert_hello_refused(&hello, -EPROTO, "role 4");
    hello.role = UINT32_MAX;
    assert_hello_refused(&hello, -EPROTO, "role 4294967295");
}

static void bytes_behind_a_hello_are_refused(void **state)
{
    (void)state;
    struct {
        struct carom__hello hello;
        char more[8];
    } longer = {.hello = peer_hello(CAROM__OBSERVER)};
    assert_refused(&longer, sizeof longer, NULL, 0, -EPROTO, "72 bytes instead of 64");
}

static void what_is_no_pidfd_is_refused(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    hello.has_pidfd = 1;
    int fd = peer_requests();
    assert_refused(&hello, sizeof hello, &fd, 1, -EPROTO, "not a pidfd");
    close(fd);
    assert_hello_refused(&hello, -EPROTO, "pidfd"); /* promised and not there */
    assert_hello_refused(&hello, -EPROTO, "pidfd");
}

static void seven_descriptors_are_too_many(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    int fd = peer_requests(), socket = peer_connect();
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 7)];
    } space = {0};
    carom__header_set(&hello.header, CAROM__HELLO, sizeof hello);
    struct iovec part = {&hello, sizeof hello};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space};
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    *control = (struct cmsghdr){CMSG_LEN(sizeof(int) * 7), SOL_SOCKET, SCM_RIGHTS};
    for (int i = 0; i < 7; i++)
        memcpy(CMSG_DATA(control) + sizeof(int) * (size_t)i, &fd, sizeof fd);
    assert_int_equal(sendmsg(socket, &message, MSG_NOSIGNAL), sizeof hello);
    assert_true(peer_answer(socket) < 0);
    close(socket);
    close(fd);
    assert_serves();
}

static void empty_messages_with_descriptors_leave_none_in_the_host(void **state)
{
    (void)state;
    int fd = peer_requests(), before = open_fds();
    for (int i = 0; i < 5; i++) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int))];
        } space = {0};
        struct iovec part = {"", 0};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &space,
                                 .msg_controllen = sizeof space};
        struct cmsghdr *control = CMSG_FIRSTHDR(&message);
        *control = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(control), &fd, sizeof fd);
        int socket = peer_connect();
        assert_int_equal(sendmsg(socket, &message, MSG_NOSIGNAL), 0);
        peer_await_hang_up(socket);
        close(socket);
    }
    assert_serves();
    await(open_fds() <= before); /* the host hangs up in its own time */
    close(fd);
}

/* ---------------------------------------------------------------- clients */

static void assert_client_refused(struct carom__geometry geometry, int error, const char *words)
{
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    int fd = peer_requests();
    hello.geometry = geometry;
    assert_refused(&hello, sizeof hello, &fd, 1, error, words);
    close(fd);
}

static void a_geometry_that_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_client_refused((struct carom__geometry){0}, -EPROTO, "geometry");
    assert_client_refused((struct carom__geometry){3, 12, 4096, 4096}, -EPROTO, "geometry");
    assert_client_refused((struct carom__geometry){8, 8, 4096, 4096}, -EPROTO, "geometry");
    assert_client_refused((struct carom__geometry){8, 32, 4095, 4096}, -EPROTO, "geometry");
    assert_client_refused((struct carom__geometry){8, 32, 4096, UINT64_MAX}, -EPROTO, "geometry");
    assert_client_refused((struct carom__geometry){1u << 31, 0, 4096, 4096}, -EPROTO, "geometry");
}

static void a_geometry_beyond_the_defaults_is_refused(void **state)
{
    (void)state;
    const uint64_t most = UINT64_C(1) << 30;
    assert_client_refused((struct carom__geometry){8, 32, most + 4096, 4096}, -EINVAL, "allows");
    assert_client_refused((struct carom__geometry){8, 32, 4096, most + 4096}, -EINVAL, "allows");
}

static void assert_requests_refused(int fd, const char *words)
{
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    assert_refused(&hello, sizeof hello, &fd, fd >= 0 ? 1 : 0, -EPROTO, words);
    if (fd >= 0)
        close(fd);
}

static void requests_must_be_memory_of_the_right_size_that_only_the_client_can_write(void **state)
{
    (void)state;
    assert_requests_refused(-1, "read-only");
    int fd = memfd_create("carom-test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)carom__blocks_bytes(8, 8192)), 0);
    assert_requests_refused(fd, "read-only");
    assert_requests_refused(open("/dev/null", O_RDONLY | O_CLOEXEC), "bytes of memory");
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[1]);
    assert_requests_refused(ends[0], "bytes of memory");
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    hello.geometry.request_block_bytes += 4096;
    fd = peer_requests();
    assert_refused(&hello, sizeof hello, &fd, 1, -EPROTO, "bytes of memory");
    close(fd);
}

static void a_client_by_hand_is_welcome(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    int fds[2] = {peer_pidfd(), peer_requests()}, socket = peer_connect();
    hello.has_pidfd = 1;
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, fds, 2), 0);
    assert_int_equal(peer_welcome.id, 0);
    close(socket);
    socket = peer_connect();
    hello.has_pidfd = 0; /* an old kernel */
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, &fds[1], 1), 0);
    close(socket);
    close(fds[0]);
    close(fds[1]);
}

static void a_client_that_speaks_after_its_welcome_is_disconnected(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    int fd = peer_requests(), socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, &fd, 1), 0);
    assert_int_equal(send(socket, "hello?", 6, 0), 6);
    peer_await_hang_up(socket);
    close(socket);
    close(fd);
    assert_serves();
}

/* ---------------------------------------------------------------- workers */

struct worker_hello {
    struct carom__hello hello;
    struct carom__method_entry names[3];
};

static struct worker_hello worker_hello(uint32_t count)
{
    struct worker_hello made = {.hello = peer_hello(CAROM__WORKER)};
    made.hello.method_count = count;
    memcpy(made.names[0].name, "one", 4);
    memcpy(made.names[1].name, "two", 4);
    memcpy(made.names[2].name, "three", 6);
    return made;
}

static void assert_worker_refused(const struct worker_hello *hello, const char *words)
{
    assert_refused(hello, sizeof *hello, NULL, 0, -EPROTO, words);
}

static void method_names_must_be_names(void **state)
{
    (void)state;
    struct worker_hello hello = worker_hello(3);
    memset(hello.names[1].name, 'x', sizeof hello.names[1].name); /* no end */
    assert_worker_refused(&hello, "method name");
    hello = worker_hello(3);
    hello.names[2].name[0] = '\0';
    assert_worker_refused(&hello, "method name");
}

static void a_worker_that_is_refused_leaves_no_methods_behind(void **state)
{
    (void)state;
    struct carom_service_info info;
    struct worker_hello hello = worker_hello(3);
    hello.names[2].name[0] = '\0';
    assert_worker_refused(&hello, "method name");
    struct carom_observer *observer;
    assert_int_equal(carom_observer_open(SERVICE, &observer), 0);
    assert_int_equal(carom_observer_service(observer, &info), 0);
    carom_observer_close(observer);
    assert_int_equal(info.method_count, 0);
}

static void as_many_names_must_follow_as_are_announced(void **state)
{
    (void)state;
    const uint32_t counts[] = {0, 2, 4, CAROM__MAX_METHODS + 1, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct worker_hello hello = worker_hello(counts[i]);
        assert_worker_refused(&hello, "bytes instead of");
    }
}

static void more_methods_than_there_can_be_are_refused_without_their_names(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, CAROM__MAX_METHODS, CAROM__MAX_METHODS + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct worker_hello hello = worker_hello(counts[i]);
        assert_hello_refused(&hello.hello, -EPROTO, "bytes instead of");
    }
}

static void a_worker_that_says_anything_but_poisoned_is_disconnected(void **state)
{
    (void)state;
    struct worker_hello hello = worker_hello(3);
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(send(socket, "hello?", 6, 0), 6);
    peer_await_hang_up(socket);
    close(socket);
    assert_serves();
}

static void a_worker_cannot_disconnect_lanes_that_do_not_exist(void **state)
{
    (void)state;
    const uint32_t lanes[] = {0, 1023, 1024, UINT32_MAX};
    struct worker_hello hello = worker_hello(3);
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    for (size_t i = 0; i < 4; i++) {
        struct carom__poisoned message = {.lane = lanes[i]};
        carom__header_set(&message.header, CAROM__POISONED, sizeof message);
        assert_int_equal(carom__send(socket, &message, sizeof message, NULL, 0, true), 0);
    }
    assert_serves();
    close(socket);
}

static void every_worker_brings_its_methods_and_names_are_kept_once(void **state)
{
    (void)state;
    struct carom_observer *observer;
    struct carom_service_info info;
    struct worker_hello hello = worker_hello(3);
    int first = peer_connect();
    assert_int_equal(peer_greet(first, &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(peer_welcome.id, 0);
    memcpy(hello.names[1].name, "four", 5);
    int second = peer_connect();
    assert_int_equal(peer_greet(second, &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(peer_welcome.id, 1);
    assert_int_equal(carom_observer_open(SERVICE, &observer), 0);
    assert_int_equal(carom_observer_service(observer, &info), 0);
    assert_int_equal(info.method_count, 4);
    assert_string_equal(carom_observer_method(observer, 1), "two");
    assert_string_equal(carom_observer_method(observer, 3), "four");
    carom_observer_close(observer);
    close(first);
    close(second);
}

static void a_worker_in_anothers_place_has_another_epoch(void **state)
{
    (void)state;
    struct worker_hello hello = worker_hello(3);
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    uint32_t epoch = peer_welcome.epoch;
    assert_int_not_equal(epoch, 0);
    await(atomic_load(&service_host()->directory->worker_count) == 1);
    close(socket);
    await(atomic_load(&service_host()->directory->worker_count) == 0);
    socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(peer_welcome.id, 0);
    assert_int_not_equal(peer_welcome.epoch, epoch);
    close(socket);
}

static uint32_t flags_of(uint32_t method)
{
    return atomic_load(&service_host()->directory->methods[method].flags);
}

static void the_latest_worker_says_what_a_method_is(void **state)
{
    (void)state;
    struct worker_hello hello = worker_hello(3);
    int sockets[4];
    for (int i = 0; i < 4; i++)
        sockets[i] = peer_connect();
    atomic_store(&hello.names[1].flags, CAROM_IDEMPOTENT);
    assert_int_equal(peer_greet(sockets[0], &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(flags_of(0), 0);
    assert_int_equal(flags_of(1), CAROM_IDEMPOTENT);
    atomic_store(&hello.names[0].flags, UINT32_MAX); /* flags of a later version */
    atomic_store(&hello.names[1].flags, 0);
    assert_int_equal(peer_greet(sockets[1], &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(flags_of(0), CAROM_IDEMPOTENT);
    assert_int_equal(flags_of(1), 0);
    hello.hello.stand_in = 1; /* which does not run them */
    atomic_store(&hello.names[0].flags, 0);
    atomic_store(&hello.names[1].flags, CAROM_IDEMPOTENT);
    memcpy(hello.names[2].name, "four", 5);
    atomic_store(&hello.names[2].flags, CAROM_IDEMPOTENT);
    assert_int_equal(peer_greet(sockets[2], &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(flags_of(0), CAROM_IDEMPOTENT);
    assert_int_equal(flags_of(1), 0);
    assert_string_equal(service_host()->directory->methods[3].name, "four");
    assert_int_equal(flags_of(3), 0);
    hello.hello.stand_in = 0;
    assert_int_equal(peer_greet(sockets[3], &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(flags_of(3), CAROM_IDEMPOTENT);
    for (int i = 0; i < 4; i++)
        close(sockets[i]);
}

static void a_stand_in_makes_nothing_ready(void **state)
{
    (void)state;
    struct carom__directory *directory = service_host()->directory;
    struct worker_hello hello = worker_hello(3);
    int stand_in = peer_connect(), worker = peer_connect();
    hello.hello.stand_in = 1;
    assert_int_equal(peer_greet(stand_in, &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(atomic_load(&directory->worker_count), 0);
    assert_int_equal(atomic_load(&directory->state), CAROM_STARTING);
    assert_int_equal(atomic_load(&directory->workers[0].present), CAROM__PRESENT_STAND_IN);
    assert_int_equal(carom_host_wait_ready(service_host(), 1, 0), -ETIMEDOUT);
    hello.hello.stand_in = 0;
    assert_int_equal(peer_greet(worker, &hello, sizeof hello, NULL, 0), 0);
    assert_int_equal(atomic_load(&directory->worker_count), 1);
    assert_int_equal(atomic_load(&directory->workers[1].present), CAROM__PRESENT);
    close(worker);
    await(atomic_load(&directory->state) == CAROM_STARTING);
    close(stand_in);
    await(atomic_load(&directory->workers[0].present) == 0);
}

static void only_workers_stand_in(void **state)
{
    (void)state;
    struct worker_hello worker = worker_hello(3);
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    worker.hello.stand_in = 2;
    assert_worker_refused(&worker, "stand_in 2");
    hello.stand_in = 1;
    assert_hello_refused(&hello, -EPROTO, "stand_in 1");
}

/* ---------------------------------------------------------------- limits */

static void limits_on_peers_are_kept_and_a_place_is_free_again_when_one_leaves(void **state)
{
    (void)state;
    struct carom_host_options options = {
        .size = sizeof options, .max_clients = 2, .max_workers = 1};
    struct worker_hello worker = worker_hello(3);
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    int fd = peer_requests(), sockets[3];
    service_stop();
    service_start(&options);
    sockets[0] = peer_connect();
    assert_int_equal(peer_greet(sockets[0], &worker, sizeof worker, NULL, 0), 0);
    assert_refused(&worker, sizeof worker, NULL, 0, -ENOSPC, "1 workers");
    for (int i = 1; i < 3; i++) {
        sockets[i] = peer_connect();
        assert_int_equal(peer_greet(sockets[i], &hello, sizeof hello, &fd, 1), 0);
    }
    assert_refused(&hello, sizeof hello, &fd, 1, -ENOSPC, "2 clients");
    close(sockets[1]);
    await(atomic_load(&service_host()->directory->client_count) == 1);
    sockets[1] = peer_connect();
    assert_int_equal(peer_greet(sockets[1], &hello, sizeof hello, &fd, 1), 0);
    assert_int_equal(peer_welcome.id, 0);
    for (int i = 0; i < 3; i++)
        close(sockets[i]);
    close(fd);
}

static void limits_on_slots_and_blocks_are_kept(void **state)
{
    (void)state;
    struct carom_host_options options = {
        .size = sizeof options, .max_slots = 4, .max_block_bytes = 8192};
    service_stop();
    service_start(&options);
    assert_client_refused((struct carom__geometry){8, 32, 4096, 4096}, -EINVAL, "allows 4");
    assert_client_refused((struct carom__geometry){4, 16, 12288, 4096}, -EINVAL, "allows 8192");
    assert_client_refused((struct carom__geometry){4, 16, 4096, 12288}, -EINVAL, "allows 8192");
    worker_start();
    assert_echoes(client_open(4, 8192));
}

/* What was sent before is still in the host's buffer: a count that the message does not bear out
 * must not reach it, nor what lies behind. */
static void methods_that_were_not_sent_are_not_read(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, 3, CAROM__MAX_METHODS, CAROM__MAX_METHODS + 1, UINT32_MAX};
    struct worker_hello sent = worker_hello(3);
    int before = peer_connect();
    assert_int_equal(peer_greet(before, &sent, sizeof sent, NULL, 0), 0);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct carom__hello hello = peer_hello(CAROM__WORKER);
        hello.method_count = counts[i];
        assert_refused(&hello, sizeof hello, NULL, 0, -EPROTO, "instead of");
    }
    close(before);
}

/* A worker with as many methods as a service can hold, named from a number on. */
static int greet_with_many(int socket, uint32_t count, int first)
{
    static union {
        struct carom__hello hello;
        char bytes[CAROM__MESSAGE_MAX];
    } message;
    memset(&message, 0, sizeof message);
    message.hello = peer_hello(CAROM__WORKER);
    message.hello.method_count = count;
    struct carom__method_entry *names = (void *)(&message.hello + 1);
    for (uint32_t i = 0; i < count; i++)
        snprintf(names[i].name, sizeof names[i].name, "method-%d", first + (int)i);
    return peer_greet(socket, &message, sizeof message.hello + count * sizeof *names, NULL, 0);
}

static void a_service_holds_1024_methods_and_refuses_the_next(void **state)
{
    (void)state;
    int first = peer_connect(), second = peer_connect(), third = peer_connect();
    assert_int_equal(greet_with_many(first, CAROM__MAX_METHODS, 0), 0);
    assert_int_equal(greet_with_many(second, 1, CAROM__MAX_METHODS), -ENOSPC);
    assert_non_null(strstr(peer_reason, "1024 methods"));
    assert_int_equal(greet_with_many(third, CAROM__MAX_METHODS, 0), 0); /* all known */
    close(first);
    close(second);
    close(third);
}

/* ---------------------------------------------------------------- the door */

static void who_leaves_without_a_word_is_forgotten(void **state)
{
    (void)state;
    int before = open_fds();
    for (int i = 0; i < 200; i++)
        close(peer_connect());
    assert_serves();
    await(open_fds() <= before);
}

static void who_does_not_listen_to_its_welcome_costs_no_place_at_the_door(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    int refused = 0;
    carom__header_set(&hello.header, CAROM__HELLO, sizeof hello);
    for (int i = 0; i < 80; i++) {
        int socket = peer_connect();
        shutdown(socket, SHUT_RD); /* the host's answer meets EPIPE */
        refused += carom__send(socket, &hello, sizeof hello, NULL, 0, true) != 0;
        peer_await_hang_up(socket);
        close(socket);
    }
    assert_int_equal(refused, 0);
    assert_serves();
}

/* What the host's loop would do, by hand: accepts and reads until everybody has been answered. */
static void serve_by_hand(struct carom_host *host)
{
    carom__host_accept(host);
    while (host->greeting > 0) {
        for (struct carom__peer *peer = host->peers; peer != NULL; peer = peer->next) {
            if (!peer->gone && peer->role == 0)
                carom__host_serve(host, peer, EPOLLIN);
        }
        carom__host_sweep(host);
        carom__host_accept(host);
    }
}

static void many_who_come_at_once_are_all_served(void **state)
{
    (void)state;
    enum { PEERS = 100 };
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    struct carom_host *host;
    int sockets[PEERS], refused = 0;
    service_stop();
    assert_int_equal(carom_host_open(SERVICE, NULL, &host), 0);
    carom__header_set(&hello.header, CAROM__HELLO, sizeof hello);
    for (int i = 0; i < PEERS; i++) { /* they queue while the host is busy */
        sockets[i] = peer_connect();
        assert_int_equal(carom__send(sockets[i], &hello, sizeof hello, NULL, 0, true), 0);
    }
    serve_by_hand(host);
    for (int i = 0; i < PEERS; i++) {
        refused += peer_answer(sockets[i]) != 0;
        close(sockets[i]);
    }
    carom_host_close(host);
    assert_int_equal(refused, 0);
}

static void who_says_nothing_is_sent_away_in_the_end(void **state)
{
    (void)state;
    struct carom_host *host;
    service_stop();
    assert_int_equal(carom_host_open(SERVICE, NULL, &host), 0);
    int socket = peer_connect();
    carom__host_accept(host);
    carom__host_expire(host);
    assert_false(host->peers->gone);
    host->peers->connected_ns -= 6 * SECOND;
    carom__host_expire(host);
    carom__host_sweep(host);
    assert_null(host->peers);
    assert_int_equal(host->greeting, 0);
    assert_int_equal(peer_answer(socket), -ETIMEDOUT);
    assert_non_null(strstr(peer_reason, "no HELLO"));
    close(socket);
    carom_host_close(host);
}

static void who_is_refused_at_the_door_learns_why_although_it_has_spoken(void **state)
{
    (void)state;
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    struct carom_host *host;
    int silent[64];
    service_stop();
    assert_int_equal(carom_host_open(SERVICE, NULL, &host), 0);
    for (int i = 0; i < 64; i++)
        silent[i] = peer_connect();
    carom__host_accept(host);
    int socket = peer_connect();
    carom__header_set(&hello.header, CAROM__HELLO, sizeof hello);
    assert_int_equal(carom__send(socket, &hello, sizeof hello, NULL, 0, true), 0);
    carom__host_accept(host);
    struct pollfd poller = {.fd = socket, .events = POLLIN};
    bool kept_waiting = poll(&poller, 1, 0) == 0; /* in the queue: as good as refused in words */
    int answer = kept_waiting ? -EAGAIN : peer_answer(socket);
    for (int i = 0; i < 64; i++)
        close(silent[i]);
    close(socket);
    carom_host_close(host);
    assert_int_equal(answer, -EAGAIN);
    assert_true(kept_waiting || strstr(peer_reason, "too many") != NULL);
}

/* ---------------------------------------------------------------- uids */

static int observe_as_somebody_else(void *path)
{
    struct carom_observer *observer;
    alarm(20);
    require(setgid(65534) == 0 && setuid(65534) == 0);
    int rc = carom_observer_open(path, &observer);
    if (rc == -EACCES && strstr(carom_error_detail(), "uid 65534") != NULL)
        return 1;
    return rc == 0 ? 0 : 2;
}

static int observe_by_path(const struct carom_host_options *options)
{
    static char path[128];
    service_stop();
    service_start(options);
    snprintf(path, sizeof path, "%s/" SERVICE ".sock", test_folder());
    require(chmod(test_folder(), 0755) == 0);
    int result = in_child(observe_as_somebody_else, path);
    require(chmod(test_folder(), 0700) == 0);
    return result;
}

static void another_uid_is_refused_with_its_number_unless_it_is_allowed(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can be somebody else */
    const uid_t one[] = {12345}, both[] = {12345, 65534};
    struct carom_host_options options = {
        .size = sizeof options, .allowed_uids = one, .allowed_uid_count = 1};
    assert_int_equal(observe_by_path(NULL), 2); /* the socket itself says no */
    assert_int_equal(observe_by_path(&options), 1);
    options.allowed_uids = both;
    options.allowed_uid_count = 2;
    assert_int_equal(observe_by_path(&options), 0);
}

/* ---------------------------------------------------------------- descriptors */

static int host_with_few_descriptors(void *unused)
{
    (void)unused;
    struct carom_host *host;
    struct rlimit few = {40, 40};
    require(setrlimit(RLIMIT_NOFILE, &few) == 0);
    require(carom_host_open(SERVICE, NULL, &host) == 0);
    add_to(&board->ready, 1);
    return carom_host_run(host);
}

static void a_host_without_descriptors_says_so_and_goes_on_when_some_are_free(void **state)
{
    (void)state;
    struct carom_observer *observers[64], *one = NULL;
    int count = 0, rc = 0;
    service_stop();
    pid_t host = child_start(host_with_few_descriptors, NULL);
    await(value_of(&board->ready) == 1);
    while (count < 64 && (rc = carom_observer_open(SERVICE, &observers[count])) == 0)
        count++;
    char words[256];
    snprintf(words, sizeof words, "%s", carom_error_detail());
    for (int i = 0; i < count; i++)
        carom_observer_close(observers[i]);
    await(carom_observer_open(SERVICE, &one) == 0);
    carom_observer_close(one);
    child_kill(host);
    service_start(NULL); /* takes the dead one's files away */
    assert_true(count > 5 && count < 40);
    assert_int_equal(rc, -EMFILE);
    assert_non_null(strstr(words, "ulimit -n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(another_protocol_is_named_in_the_refusal),
        started(a_shorter_hello_of_another_protocol_is_told_the_same),
        started(another_layout_is_refused),
        started(a_hello_cut_anywhere_is_refused),
        started(garbage_is_told_that_it_is_none_of_ours),
        started(another_message_than_hello_comes_too_early),
        started(an_unknown_role_is_refused),
        started(bytes_behind_a_hello_are_refused),
        started(what_is_no_pidfd_is_refused),
        started(seven_descriptors_are_too_many),
        started(empty_messages_with_descriptors_leave_none_in_the_host),
        started(a_geometry_that_cannot_be_is_refused),
        started(a_geometry_beyond_the_defaults_is_refused),
        started(requests_must_be_memory_of_the_right_size_that_only_the_client_can_write),
        started(a_client_by_hand_is_welcome),
        started(a_client_that_speaks_after_its_welcome_is_disconnected),
        started(method_names_must_be_names),
        started(a_worker_that_is_refused_leaves_no_methods_behind),
        started(as_many_names_must_follow_as_are_announced),
        started(more_methods_than_there_can_be_are_refused_without_their_names),
        started(a_worker_that_says_anything_but_poisoned_is_disconnected),
        started(a_worker_cannot_disconnect_lanes_that_do_not_exist),
        started(every_worker_brings_its_methods_and_names_are_kept_once),
        started(a_worker_in_anothers_place_has_another_epoch),
        started(the_latest_worker_says_what_a_method_is),
        started(a_stand_in_makes_nothing_ready),
        started(only_workers_stand_in),
        started(limits_on_peers_are_kept_and_a_place_is_free_again_when_one_leaves),
        started(limits_on_slots_and_blocks_are_kept),
        started(methods_that_were_not_sent_are_not_read),
        started(a_service_holds_1024_methods_and_refuses_the_next),
        started(who_leaves_without_a_word_is_forgotten),
        started(who_does_not_listen_to_its_welcome_costs_no_place_at_the_door),
        started(many_who_come_at_once_are_all_served),
        started(who_says_nothing_is_sent_away_in_the_end),
        started(who_is_refused_at_the_door_learns_why_although_it_has_spoken),
        started(another_uid_is_refused_with_its_number_unless_it_is_allowed),
        started(a_host_without_descriptors_says_so_and_goes_on_when_some_are_free),
    };
    return RUN(tests);
}
