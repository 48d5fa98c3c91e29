/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host_keeper.c - what whoever keeps the workers alive says and asks: notes of ends,
 * dismissals, what waits and for how long, how the service is. */
#include "support.h"

#include "client.h"
#include "host.h"
#include "peers.h"
#include "service.h"
#include "wait.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct hand_worker {
    struct carom__hello hello;
    struct carom__method_entry names[1];
};

/* A worker by hand; its only method is `echo`. */
static int join_by_hand(bool stand_in)
{
    struct hand_worker hello = {.hello = peer_hello(CAROM__WORKER), .names = {{.name = "echo"}}};
    int socket = peer_connect();
    hello.hello.method_count = 1;
    hello.hello.stand_in = stand_in;
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    return socket;
}

/* What has been noted of a worker's end. */
static const char *noted(uint32_t worker)
{
    static char text[CAROM__END_BYTES];
    pthread_mutex_lock(&service_host()->lock);
    memcpy(text, service_host()->workers[worker]->end, sizeof text);
    pthread_mutex_unlock(&service_host()->lock);
    return text;
}

static struct carom__directory *directory(void)
{
    return service_host()->directory;
}

/* ---------------------------------------------------------------- notes */

static void a_note_goes_to_every_worker_of_the_process_and_to_no_other(void **state)
{
    (void)state;
    service_start(NULL);
    int one = join_by_hand(false), other = join_by_hand(false);
    carom_host_note_end(service_host(), getpid() + 1, "somebody else");
    carom_host_note_end(service_host(), 0, "nobody");
    carom_host_note_end(service_host(), getpid(), NULL);
    assert_string_equal(noted(0), "");
    carom_host_note_end(service_host(), getpid(), "first");
    carom_host_note_end(service_host(), getpid(), "did it again");
    assert_string_equal(noted(0), "did it again");
    assert_string_equal(noted(1), "did it again");
    close(one);
    close(other);
}

static void a_long_note_is_cut_between_two_characters(void **state)
{
    (void)state;
    char text[301], exact[256];
    service_start(NULL);
    int socket = join_by_hand(false);
    memset(text, 'x', 300);
    text[300] = '\0';
    memcpy(text + 253, "\xe2\x82\xac", 3); /* a euro sign that ends one byte too late */
    carom_host_note_end(service_host(), getpid(), text);
    assert_int_equal(strlen(noted(0)), 253);
    memcpy(text + 252, "\xe2\x82\xacx", 4);
    carom_host_note_end(service_host(), getpid(), text);
    assert_int_equal(strlen(noted(0)), 255);
    memset(exact, 'y', 255);
    exact[255] = '\0';
    carom_host_note_end(service_host(), getpid(), exact);
    assert_string_equal(noted(0), exact);
    close(socket);
}

/* ---------------------------------------------------------------- dismissals */

/* Reads a worker's messages until LEAVE, without waiting for ever. How many lanes it heard of. */
static int news_before_leave(int socket)
{
    union {
        struct carom__header header;
        struct carom__lane_news news;
    } message;
    for (int lanes = 0;; lanes++) {
        struct carom__fds fds;
        int length = carom__receive(socket, &message, sizeof message, &fds, true);
        carom__close_fds(&fds);
        require(length > 0);
        if (message.header.type == CAROM__LEAVE) {
            require(length == sizeof message.header);
            return lanes;
        }
        require(message.header.type == CAROM__LANE);
    }
}

static void the_dismissed_are_told_to_leave(void **state)
{
    (void)state;
    service_start(NULL);
    assert_int_equal(carom_host_dismiss(service_host(), getpid()), 0);
    int one = join_by_hand(false), other = join_by_hand(true);
    uint32_t park = atomic_load(&service_host()->bell->parks[1].word);
    assert_int_equal(carom_host_dismiss(service_host(), getpid() + 1), 0);
    assert_int_equal(carom_host_dismiss(service_host(), 0), 0);
    assert_int_equal(carom_host_dismiss(service_host(), -1), 0);
    assert_int_equal(carom_host_dismiss(service_host(), getpid()), 2);
    assert_int_equal(news_before_leave(one), 0);
    assert_int_equal(news_before_leave(other), 0);
    await(atomic_load(&service_host()->bell->parks[1].word) != park); /* and woken */
    close(one);
    close(other);
}

static void a_worker_that_does_not_listen_is_told_to_leave_when_it_does(void **state)
{
    (void)state;
    enum { MANY = 400 }; /* more news than fit a socket */
    service_start(NULL);
    int socket = join_by_hand(false);
    for (int i = 0; i < MANY; i++)
        client_close(client_open(1, 4096));
    assert_int_equal(carom_host_dismiss(service_host(), getpid()), 1);
    assert_true(news_before_leave(socket) > 10);
    close(socket);
}

/* ---------------------------------------------------------------- too many descriptors */

static int lanes_known(int socket)
{
    struct carom__lane_news news;
    struct carom__fds fds;
    int lanes = 0;
    while (carom__receive(socket, &news, sizeof news, &fds, false) > 0) {
        lanes += news.header.type == CAROM__LANE && news.present && fds.count == 3;
        carom__close_fds(&fds);
    }
    return lanes;
}

static bool is_stuck(uint32_t worker)
{
    struct carom_host *host = service_host();
    pthread_mutex_lock(&host->lock);
    bool stuck = host->workers[worker]->retry && !host->workers[worker]->waits_for_room;
    pthread_mutex_unlock(&host->lock);
    return stuck;
}

/* So few descriptors may be on their way between processes that workers who do not listen use them
 * up (ETOOMANYREFS). The last one is told when the others have listened. */
static int host_with_few_descriptors_on_their_way(void *unused)
{
    enum { WORKERS = 5, CLIENTS = 8 };
    const struct rlimit few = {100, 100};
    int workers[WORKERS], clients[CLIENTS], known[WORKERS] = {0};
    struct carom__hello hello = peer_hello(CAROM__CLIENT);
    (void)unused;
    if (geteuid() == 0) /* whom the kernel does not stop */
        require(chown(test_folder(), 65534, 65534) == 0 && setgid(65534) == 0 &&
                setuid(65534) == 0);
    require(setrlimit(RLIMIT_NOFILE, &few) == 0);
    service_start(NULL);
    for (int i = 0; i < CLIENTS; i++) {
        int fd = peer_requests();
        clients[i] = peer_connect();
        require(peer_greet(clients[i], &hello, sizeof hello, &fd, 1) == 0);
        close(fd);
    }
    for (int i = 0; i < WORKERS; i++)
        workers[i] = join_by_hand(false);
    await(is_stuck(WORKERS - 1));
    for (int i = 0; i < WORKERS; i++) {
        while (known[i] < CLIENTS) {
            known[i] += lanes_known(workers[i]);
            pause_briefly();
        }
        require(known[i] == CLIENTS);
    }
    require(!is_stuck(WORKERS - 1));
    for (int i = 0; i < WORKERS; i++)
        close(workers[i]);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    service_stop();
    return 0;
}

static void too_many_descriptors_on_their_way_only_delay_the_news(void **state)
{
    (void)state;
    assert_int_equal(in_child(host_with_few_descriptors_on_their_way, NULL), 0);
}

/* ---------------------------------------------------------------- what waits */

static struct carom_waiting waiting_now(void)
{
    struct carom_waiting waiting = {99, 99};
    carom_host_waiting(service_host(), &waiting);
    return waiting;
}

static void what_waits_is_counted_in_every_lane(void **state)
{
    (void)state;
    struct carom_call *calls[5];
    service_start(NULL);
    int socket = join_by_hand(false); /* takes nothing */
    struct carom_client *one = client_open(4, 4096), *other = client_open(4, 4096);
    client_open(4, 4096);
    assert_int_equal(waiting_now().calls, 0);
    assert_int_equal(waiting_now().oldest_ns, 0);
    for (int i = 0; i < 5; i++)
        calls[i] = call_submitted(i < 3 ? one : other, ECHO, 4);
    assert_int_equal(waiting_now().calls, 5);
    assert_int_equal(carom_call_cancel(calls[0]), 0);
    assert_int_equal(waiting_now().calls, 4);
    for (int i = 0; i < 5; i++)
        carom_call_end(calls[i]);
    assert_int_equal(waiting_now().calls, 0);
    assert_int_equal(waiting_now().oldest_ns, 0);
    close(socket);
}

static void the_wait_of_the_first_is_measured_from_when_it_was_seen(void **state)
{
    (void)state;
    service_start(NULL);
    int socket = join_by_hand(false);
    struct carom_client *client = client_open(4, 4096);
    struct carom_call *first = call_submitted(client, ECHO, 4);
    struct carom_call *second = call_submitted(client, ECHO, 4);
    assert_int_equal(waiting_now().oldest_ns, 0); /* seen for the first time */
    int64_t seen_ns = carom_now_ns();
    pause_briefly();
    await(waiting_now().oldest_ns > 2 * MILLISECOND);
    assert_in_range(waiting_now().oldest_ns, 2 * MILLISECOND,
                    carom_now_ns() - seen_ns + 100 * MILLISECOND);
    carom_call_end(first); /* withdrawn: now the second is the first */
    assert_int_equal(waiting_now().calls, 1);
    await(waiting_now().oldest_ns > 0);
    int64_t earlier_ns = waiting_now().oldest_ns;
    pause_briefly();
    assert_true(waiting_now().oldest_ns > earlier_ns);
    carom_call_end(second);
    close(socket);
}

static void a_lane_whose_bit_is_clear_is_not_looked_at(void **state)
{
    (void)state;
    service_start(NULL);
    int socket = join_by_hand(false);
    struct carom_client *client = client_open(4, 4096);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(waiting_now().calls, 1);
    carom__bell_clear_ready(client->bell, client->lane_id);
    assert_int_equal(waiting_now().calls, 0);
    carom__bell_set_ready(client->bell, 1023); /* where nobody is */
    assert_int_equal(waiting_now().calls, 0);
    carom__bell_set_ready(client->bell, client->lane_id);
    assert_int_equal(waiting_now().calls, 1);
    carom_call_end(call);
    close(socket);
}

/* ---------------------------------------------------------------- how the service is */

/* As an observer reads it; false while it changes. */
static bool read_description(char text[CAROM__DESCRIPTION_BYTES])
{
    uint32_t version = atomic_load(&directory()->description_version);
    uint32_t bytes = atomic_load(&directory()->description_bytes);
    require(bytes <= CAROM_DESCRIPTION_MAX);
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = atomic_load(&directory()->description[at / 8]);
        memcpy(text + at, &word, 8);
    }
    text[bytes] = '\0';
    return version % 2 == 0 && atomic_load(&directory()->description_version) == version;
}

static uint32_t state_now(void)
{
    return atomic_load(&directory()->state);
}

static void a_described_state_stands_until_the_next(void **state)
{
    (void)state;
    static char text[CAROM__DESCRIPTION_BYTES + 8];
    const enum carom_service_state states[] = {CAROM_READY, CAROM_FAILING, CAROM_DRAINING,
                                               CAROM_STARTING, CAROM_DEGRADED};
    service_start(NULL);
    assert_int_equal(state_now(), CAROM_STARTING);
    for (size_t i = 0; i < 5; i++) {
        uint32_t change = atomic_load(&directory()->change);
        assert_int_equal(carom_host_describe(service_host(), states[i], "is so"), 0);
        assert_int_equal(state_now(), states[i]);
        assert_int_not_equal(atomic_load(&directory()->change), change);
    }
    worker_stop(worker_start());
    await(atomic_load(&directory()->worker_count) == 0);
    assert_int_equal(state_now(), CAROM_DEGRADED);
    assert_true(read_description(text));
    assert_string_equal(text, "is so");
    assert_int_equal(carom_host_describe(service_host(), CAROM_READY, NULL), 0);
    assert_true(read_description(text));
    assert_string_equal(text, "");
}

static void descriptions_are_kept_up_to_the_last_byte(void **state)
{
    (void)state;
    static char text[CAROM__DESCRIPTION_BYTES + 8], longest[CAROM_DESCRIPTION_MAX + 2];
    service_start(NULL);
    for (size_t length = 0; length <= 20; length++) {
        memset(longest, 'a' + (int)length, length);
        longest[length] = '\0';
        assert_int_equal(carom_host_describe(service_host(), CAROM_READY, longest), 0);
        assert_true(read_description(text));
        assert_string_equal(text, longest);
    }
    memset(longest, 'z', CAROM_DESCRIPTION_MAX + 1);
    assert_int_equal(carom_host_describe(service_host(), CAROM_FAILING, longest), -EMSGSIZE);
    assert_non_null(strstr(carom_error_detail(), "16384 bytes, 16383 are allowed"));
    assert_int_equal(state_now(), CAROM_READY); /* nothing of it */
    longest[CAROM_DESCRIPTION_MAX] = '\0';
    assert_int_equal(carom_host_describe(service_host(), CAROM_READY, longest), 0);
    assert_true(read_description(text));
    assert_string_equal(text, longest);
}

static void states_that_cannot_be_said_are_refused(void **state)
{
    (void)state;
    service_start(NULL);
    const int wrong[] = {CAROM_STOPPING, -1, 6};
    for (int i = 0; i < 3; i++) {
        int rc = carom_host_describe(service_host(), (enum carom_service_state)wrong[i], "x");
        assert_int_equal(rc, -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "cannot be set"));
    }
    assert_int_equal(state_now(), CAROM_STARTING);
}

static void stopping_wins(void **state)
{
    (void)state;
    static char text[CAROM__DESCRIPTION_BYTES + 8];
    service_start(NULL);
    assert_int_equal(carom_host_describe(service_host(), CAROM_READY, "fine"), 0);
    carom_host_stop(service_host());
    await(state_now() == CAROM_STOPPING);
    assert_int_equal(carom_host_describe(service_host(), CAROM_READY, "the end"), 0);
    assert_int_equal(state_now(), CAROM_STOPPING);
    assert_true(read_description(text));
    assert_string_equal(text, "the end");
}

/* ---------------------------------------------------------------- threads */

static void *describe_without_end(void *letter)
{
    char text[1001];
    memset(text, *(char *)letter, 1000);
    for (int i = 0; i < ROUNDS(2000); i++) {
        text[500 + i % 500] = '\0';
        require(carom_host_describe(service_host(), CAROM_READY, text) == 0);
        text[500 + i % 500] = *(char *)letter;
        struct carom_waiting waiting;
        carom_host_waiting(service_host(), &waiting);
        carom_host_note_end(service_host(), getpid(), text);
    }
    add_to(&board->number[0], 1);
    return NULL;
}

static void a_description_is_read_whole_while_others_are_written(void **state)
{
    (void)state;
    static char text[CAROM__DESCRIPTION_BYTES + 8];
    char letters[2] = {'a', 'b'};
    int read = 0;
    service_start(NULL);
    worker_start();
    struct carom_client *client = client_open(4, 4096);
    pthread_t one = thread_start(describe_without_end, &letters[0]);
    pthread_t other = thread_start(describe_without_end, &letters[1]);
    while (value_of(&board->number[0]) < 2 || read == 0) {
        if (!read_description(text))
            continue;
        size_t length = strlen(text);
        char all[2] = {text[0], '\0'};
        assert_int_equal(strspn(text, all), length);
        read++;
        if (read % 100 == 0)
            client_close(client_open(2, 4096)); /* peers come and go meanwhile */
    }
    thread_join(one);
    thread_join(other);
    assert_echoes(client);
}

/* ---------------------------------------------------------------- fork */

static int keep_in_child(void *host)
{
    struct carom_waiting waiting = {1, 1};
    carom_host_note_end(host, getppid(), "is confused"); /* nothing */
    carom_host_waiting(host, &waiting);
    require(waiting.calls == 0 && waiting.oldest_ns == 0);
    require(carom_host_dismiss(host, getppid()) == -ECHILD);
    require(carom_host_describe(host, CAROM_READY, "x") == -ECHILD);
    carom_host_close(host);
    return 0;
}

static void a_forked_child_keeps_nothing(void **state)
{
    (void)state;
    struct carom_host *host;
    assert_int_equal(carom_host_open(SERVICE, NULL, &host), 0);
    int result = in_child(keep_in_child, host);
    carom_host_close(host);
    assert_int_equal(result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_note_goes_to_every_worker_of_the_process_and_to_no_other),
        sentence(a_long_note_is_cut_between_two_characters),
        sentence(the_dismissed_are_told_to_leave),
        sentence(a_worker_that_does_not_listen_is_told_to_leave_when_it_does),
        sentence(too_many_descriptors_on_their_way_only_delay_the_news),
        sentence(what_waits_is_counted_in_every_lane),
        sentence(the_wait_of_the_first_is_measured_from_when_it_was_seen),
        sentence(a_lane_whose_bit_is_clear_is_not_looked_at),
        sentence(a_described_state_stands_until_the_next),
        sentence(descriptions_are_kept_up_to_the_last_byte),
        sentence(states_that_cannot_be_said_are_refused),
        sentence(stopping_wins),
        sentence(a_description_is_read_whole_while_others_are_written),
        sentence(a_forked_child_keeps_nothing),
    };
    return RUN(tests);
}
