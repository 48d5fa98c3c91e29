/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host_events.c - the line per event: its form, and that the host waits for nobody who should
 * read it. */
#include "support.h"

#include "host.h"
#include "peers.h"
#include "service.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int ends[2]; /* of a pipe: read, write */
static struct carom_host writer;

static void close_pipe(void)
{
    close(ends[0]);
    close(ends[1]);
}

static int open_pipe(void **state)
{
    int rc = before_test(state);
    require(pipe2(ends, O_CLOEXEC) == 0);
    writer = (struct carom_host){.event_fd = ends[1]};
    at_end_of_test(close_pipe); /* after the host, which is said later */
    return rc;
}

#define piped(test) cmocka_unit_test_setup_teardown(test, open_pipe, after_test)

static void write_fields(const char *one, const char *two)
{
    const char *fields[] = {one, two};
    carom__host_event(&writer, fields, 2);
}

/* Reads one line; without its end. */
static const char *next_line(void)
{
    static char line[8192];
    size_t length = 0;
    while (length < sizeof line - 1 && read(ends[0], line + length, 1) == 1 && line[length] != '\n')
        length++;
    line[length] = '\0';
    return line;
}

static bool is_empty(void)
{
    char byte;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    bool empty = read(ends[0], &byte, 1) < 0 && errno == EAGAIN;
    fcntl(ends[0], F_SETFL, 0);
    return empty;
}

/* ---------------------------------------------------------------- its form */

static void fields_are_separated_by_tabs_and_contain_none(void **state)
{
    (void)state;
    write_fields("died", "a\tb\nc\x01\x7f");
    assert_string_equal(next_line(), "died\ta b c  ");
    write_fields("", "");
    assert_string_equal(next_line(), "\t");
    assert_true(is_empty());
}

static void a_long_line_is_cut_between_two_characters(void **state)
{
    (void)state;
    char text[6001];
    for (size_t i = 0; i < 6000; i += 2)
        memcpy(text + i, "\xc3\xa4", 2); /* an a with two dots */
    text[6000] = '\0';
    for (const char *first = "xxx"; *first != '\0'; first++) {
        write_fields(first, text);
        const char *line = next_line();
        size_t length = strlen(line);
        assert_in_range(length, 3997, 3999);
        assert_int_equal((length - strlen(first) - 1) % 2, 0);
        assert_int_equal((unsigned char)line[length - 1], 0xa4);
    }
    write_fields(text, "lost");
    assert_null(strstr(next_line(), "lost"));
    assert_true(is_empty());
}

/* ---------------------------------------------------------------- nobody is waited for */

static void what_does_not_fit_a_pipe_is_lost(void **state)
{
    (void)state;
    char block[4096] = {0};
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], block, sizeof block) > 0) {
    }
    fcntl(ends[1], F_SETFL, 0); /* a caller that forgot: the host must not wait all the same */
    write_fields("died", "lost");
    assert_int_equal(read(ends[0], block, sizeof block), sizeof block);
    write_fields("died", "written");
    for (int i = 0; i < 15; i++)
        assert_int_equal(read(ends[0], block, sizeof block), sizeof block);
    assert_string_equal(next_line(), "died\twritten");
    assert_true(is_empty());
}

static void a_reader_that_is_gone_kills_nobody(void **state)
{
    (void)state;
    close(ends[0]);
    write_fields("died", "unheard");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0); /* the first write end has another number */
    close(writer.event_fd);
    writer.event_fd = ends[1];
    write_fields("died", "heard");
    assert_string_equal(next_line(), "died\theard");
}

static void a_socket_is_written_to_as_well(void **state)
{
    (void)state;
    int pair[2];
    char line[64] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    writer.event_fd = pair[1];
    write_fields("died", "now");
    assert_int_equal(read(pair[0], line, sizeof line), 9);
    assert_string_equal(line, "died\tnow\n");
    close(pair[0]);
    write_fields("died", "unheard");
    close(pair[1]);
}

static void without_a_descriptor_nothing_is_written(void **state)
{
    (void)state;
    writer.event_fd = 0;
    write_fields("died", "unwritten");
    assert_true(is_empty());
}

static void a_descriptor_that_cannot_be_written_to_is_refused(void **state)
{
    (void)state;
    struct carom_host *host;
    struct carom_host_options options = {.size = sizeof options};
    const int bad[] = {ends[0], -1, 9999};
    for (size_t i = 0; i < 3; i++) {
        options.event_fd = bad[i];
        assert_int_equal(carom_host_open(SERVICE, &options, &host), -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "open for writing"));
    }
}

/* ---------------------------------------------------------------- peers */

static void start_with_events(void)
{
    struct carom_host_options options = {.size = sizeof options, .event_fd = ends[1]};
    service_start(&options);
}

static void who_is_refused_is_named_with_the_reason(void **state)
{
    (void)state;
    char expected[64];
    start_with_events();
    struct carom__hello hello = peer_hello(CAROM__OBSERVER);
    hello.layout_hash ^= 1;
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), -EPROTO);
    close(socket);
    snprintf(expected, sizeof expected, "refused\t%d\t%d\tthe peer was built", (int)getpid(),
             (int)geteuid());
    const char *line = next_line();
    assert_memory_equal(line, expected, strlen(expected));
}

static void a_client_that_is_called_poisoned_is_named(void **state)
{
    (void)state;
    char expected[64];
    struct carom__poisoned message = {.lane = 77};
    struct {
        struct carom__hello hello;
        struct carom__method_entry names[1];
    } hello = {.hello = peer_hello(CAROM__WORKER), .names = {{.name = "one"}}};
    hello.hello.method_count = 1;
    start_with_events();
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    client_open(2, 4096);
    carom__header_set(&message.header, CAROM__POISONED, sizeof message);
    assert_int_equal(carom__send(socket, &message, sizeof message, NULL, 0, true), 0); /* nobody */
    message.lane = 0;
    assert_int_equal(carom__send(socket, &message, sizeof message, NULL, 0, true), 0);
    snprintf(expected, sizeof expected, "poisoned\t0\t%d", (int)getpid());
    assert_string_equal(next_line(), expected);
    close(socket);
}

/* It wrote no nonsense: it hears why it has to go, and so does the keeper. */
static void a_client_whose_lane_a_worker_cannot_map_hears_why(void **state)
{
    (void)state;
    struct carom__poisoned message = {.lane = 0, .error = -ENOMEM};
    struct {
        struct carom__hello hello;
        struct carom__method_entry names[1];
    } hello = {.hello = peer_hello(CAROM__WORKER), .names = {{.name = "echo"}}};
    hello.hello.method_count = 1;
    start_with_events();
    int socket = peer_connect();
    assert_int_equal(peer_greet(socket, &hello, sizeof hello, NULL, 0), 0);
    struct carom_client *client = client_open(2, 4096);
    struct carom_call *call = call_submitted(client, ECHO, 1);
    carom__header_set(&message.header, CAROM__POISONED, sizeof message);
    assert_int_equal(carom__send(socket, &message, sizeof message, NULL, 0, true), 0);
    assert_int_equal(carom_call_wait(call), -EHOSTDOWN);
    const char *why = "worker 0 cannot map this client's lane: Cannot allocate memory";
    assert_non_null(strstr(carom_error_detail(), why));
    carom_call_end(call);
    assert_non_null(strstr(next_line(), why));
    close(socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        piped(fields_are_separated_by_tabs_and_contain_none),
        piped(a_long_line_is_cut_between_two_characters),
        piped(what_does_not_fit_a_pipe_is_lost),
        piped(a_reader_that_is_gone_kills_nobody),
        piped(a_socket_is_written_to_as_well),
        piped(without_a_descriptor_nothing_is_written),
        piped(a_descriptor_that_cannot_be_written_to_is_refused),
        piped(who_is_refused_is_named_with_the_reason),
        piped(a_client_that_is_called_poisoned_is_named),
        piped(a_client_whose_lane_a_worker_cannot_map_hears_why),
    };
    return RUN(tests);
}
