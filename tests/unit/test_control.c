/* SPDX-License-Identifier: Apache-2.0
 *
 * test_control.c - messages and the descriptors beside them, over a pair of sockets: what is sent
 * arrives, what is no message is refused, and no descriptor is ever left behind. */
#include "support.h"

#include "control.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];
static struct carom__fds fds;
static char buffer[CAROM__MESSAGE_MAX];

static int open_pair(void **state)
{
    int rc = before_test(state);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    return rc;
}

static int close_pair(void **state)
{
    close(pair[0]);
    close(pair[1]);
    return after_test(state);
}

#define pair_sentence(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

static struct carom__welcome welcome_of(uint32_t id)
{
    struct carom__welcome message = {.id = id};
    carom__header_set(&message.header, CAROM__WELCOME, sizeof message);
    return message;
}

static int memory(void)
{
    int fd = memfd_create("carom-test", MFD_CLOEXEC);
    require(fd >= 0);
    return fd;
}

/* Sends bytes and descriptors as they are, past carom__send. */
static void send_raw(const void *bytes, size_t count, const int *numbers, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 16)];
    } space = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = &space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *control = CMSG_FIRSTHDR(&message);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(control), numbers, sizeof(int) * fd_count);
    }
    require(sendmsg(pair[0], &message, MSG_NOSIGNAL) == (ssize_t)count);
}

static int receive(void)
{
    return carom__receive(pair[1], buffer, sizeof buffer, &fds, false);
}

/* ---------------------------------------------------------------- honest messages */

static void a_header_says_what_the_message_is(void **state)
{
    (void)state;
    struct carom__header header;
    memset(&header, 0xff, sizeof header);
    carom__header_set(&header, CAROM__LANE, 56);
    assert_int_equal(header.magic, CAROM__MAGIC);
    assert_int_equal(header.type, CAROM__LANE);
    assert_int_equal(header.protocol, CAROM__PROTOCOL);
    assert_int_equal(header.size_bytes, 56);
    assert_int_equal(header.reserved, 0);
}

static void a_message_arrives_with_none_to_five_descriptors(void **state)
{
    (void)state;
    int sent[CAROM__MESSAGE_FDS] = {memory(), memory(), memory(), memory(), memory()};
    for (uint32_t count = 0; count <= CAROM__MESSAGE_FDS; count++) {
        struct carom__welcome message = welcome_of(count), *received = (void *)buffer;
        assert_int_equal(carom__send(pair[0], &message, sizeof message, sent, count, true), 0);
        assert_int_equal(receive(), sizeof message);
        assert_true(carom__is_message(buffer, sizeof message, CAROM__WELCOME, sizeof message));
        assert_int_equal(received->id, count);
        assert_int_equal(fds.count, count);
        for (uint32_t i = 0; i < count; i++)
            assert_true(fcntl(fds.fd[i], F_GETFD) & FD_CLOEXEC);
        carom__close_fds(&fds);
    }
    for (uint32_t i = 0; i < CAROM__MESSAGE_FDS; i++)
        close(sent[i]);
}

static void descriptors_arrive_in_their_order(void **state)
{
    (void)state;
    int sent[4];
    for (int i = 0; i < 4; i++) {
        sent[i] = memory();
        assert_int_equal(ftruncate(sent[i], 100 + i), 0);
    }
    struct carom__welcome message = welcome_of(0);
    assert_int_equal(carom__send(pair[0], &message, sizeof message, sent, 4, true), 0);
    assert_int_equal(receive(), sizeof message);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(lseek(fds.fd[i], 0, SEEK_END), 100 + i);
        close(sent[i]);
    }
    carom__close_fds(&fds);
}

static void the_largest_hello_fits(void **state)
{
    (void)state;
    static union {
        struct carom__header header;
        char bytes[CAROM__MESSAGE_MAX];
    } message;
    memset(&message, 'x', sizeof message);
    carom__header_set(&message.header, CAROM__HELLO, sizeof message);
    assert_int_equal(carom__send(pair[0], &message, sizeof message, NULL, 0, true), 0);
    assert_int_equal(receive(), sizeof message);
    assert_memory_equal(buffer, &message, sizeof message);
}

static void messages_keep_their_boundaries(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct carom__welcome message = welcome_of(i);
        carom__send(pair[0], &message, sizeof message, NULL, 0, true);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(receive(), sizeof(struct carom__welcome));
        assert_int_equal(((struct carom__welcome *)(void *)buffer)->id, i);
    }
    assert_int_equal(receive(), -EAGAIN);
}

static void only_the_right_type_version_and_size_is_that_message(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    int size = sizeof message;
    assert_true(carom__is_message(&message, size, CAROM__WELCOME, sizeof message));
    assert_false(carom__is_message(&message, size, CAROM__LANE, sizeof message));
    assert_false(carom__is_message(&message, size - 1, CAROM__WELCOME, sizeof message));
    assert_false(carom__is_message(&message, size, CAROM__WELCOME, sizeof message + 1));
    assert_false(carom__is_message(&message, -EPROTO, CAROM__WELCOME, sizeof message));
    message.header.protocol++;
    assert_false(carom__is_message(&message, size, CAROM__WELCOME, sizeof message));
}

/* ---------------------------------------------------------------- nothing there, nobody there */

static void who_does_not_want_to_wait_is_told_to_come_again(void **state)
{
    (void)state;
    assert_int_equal(receive(), -EAGAIN);
    assert_int_equal(fds.count, 0);
}

static void a_full_socket_is_told_to_who_does_not_want_to_wait(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    int rc = 0, sent = 0;
    while (rc == 0) {
        rc = carom__send(pair[0], &message, sizeof message, NULL, 0, false);
        sent += rc == 0;
    }
    assert_int_equal(rc, -EAGAIN);
    while (sent-- > 0)
        assert_int_equal(receive(), sizeof message);
    assert_int_equal(carom__send(pair[0], &message, sizeof message, NULL, 0, false), 0);
}

static void the_other_sides_hang_up_is_noticed_after_its_last_message(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    carom__send(pair[0], &message, sizeof message, NULL, 0, true);
    shutdown(pair[0], SHUT_RDWR);
    assert_int_equal(receive(), sizeof message);
    assert_int_equal(receive(), -ECONNRESET);
    assert_int_equal(fds.count, 0);
}

static void sending_to_nobody_is_an_error_and_not_a_signal(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    int fd = memory();
    shutdown(pair[1], SHUT_RDWR);
    assert_int_equal(carom__send(pair[0], &message, sizeof message, &fd, 1, true), -EPIPE);
    close(fd);
}

static void *receive_waiting(void *unused)
{
    (void)unused;
    add_to(&board->ready, 1);
    int length = carom__receive(pair[1], buffer, sizeof buffer, &fds, true);
    require(length == sizeof(struct carom__welcome));
    return NULL;
}

static void who_wants_to_wait_gets_the_message_when_it_comes(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    pthread_t receiver = thread_start(receive_waiting, NULL);
    await(value_of(&board->ready) == 1);
    carom__send(pair[0], &message, sizeof message, NULL, 0, true);
    thread_join(receiver);
}

/* ---------------------------------------------------------------- garbage */

static void assert_refused(int error)
{
    int before = open_fds();
    assert_int_equal(receive(), error);
    assert_int_equal(fds.count, 0);
    assert_int_equal(open_fds(), before);
}

static void what_is_no_message_is_refused_and_its_descriptors_closed(void **state)
{
    (void)state;
    struct carom__welcome good = welcome_of(0), bad;
    int fd = memory(), two[2] = {fd, fd};
    for (size_t bytes = 1; bytes < sizeof good.header; bytes++) {
        send_raw(&good, bytes, two, 2);
        assert_refused(-EPROTO);
    }
    bad = good;
    bad.header.magic++;
    send_raw(&bad, sizeof bad, two, 2);
    assert_refused(-EPROTO);
    const char foreign[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    send_raw(foreign, strlen(foreign), NULL, 0);
    assert_refused(-EPROTO);
    close(fd);
}

static void a_size_that_is_not_the_messages_is_refused(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    const uint32_t sizes[] = {0, 16, 23, 25, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        message.header.size_bytes = sizes[i];
        send_raw(&message, sizeof message, NULL, 0);
        assert_refused(-EPROTO);
    }
    message = welcome_of(0);
    send_raw(&message, sizeof message - 1, NULL, 0); /* cut on its way */
    assert_refused(-EPROTO);
}

static void a_message_longer_than_the_buffer_is_refused(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    int fd = memory(), before = open_fds();
    send_raw(&message, sizeof message, &fd, 1);
    assert_int_equal(carom__receive(pair[1], buffer, sizeof message - 1, &fds, false), -EPROTO);
    assert_int_equal(open_fds(), before);
    close(fd);
}

static void descriptors_beyond_the_fifth_are_refused_with_all_of_them(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    int fd = memory(), many[8] = {fd, fd, fd, fd, fd, fd, fd, fd}, before = open_fds();
    send_raw(&message, sizeof message, many, 8);
    assert_true(receive() < 0);
    assert_int_equal(fds.count, 0);
    assert_int_equal(open_fds(), before);
    close(fd);
}

static void an_empty_message_leaves_none_of_its_descriptors_behind(void **state)
{
    (void)state;
    int fd = memory(), four[4] = {fd, fd, fd, fd}, before = open_fds();
    send_raw("", 0, four, 4);
    assert_true(receive() < 0);
    assert_int_equal(fds.count, 0);
    assert_int_equal(open_fds(), before);
    close(fd);
}

static void without_a_free_descriptor_the_message_is_refused_and_nothing_kept(void **state)
{
    (void)state;
    struct rlimit before, none;
    struct carom__welcome message = welcome_of(0);
    int fd = memory(), two[2] = {fd, fd}, open_before = open_fds();
    assert_int_equal(carom__send(pair[0], &message, sizeof message, two, 2, true), 0);
    int next = dup(fd); /* the lowest free number */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next + 1; /* room for none, or for one of two */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int with_none = receive();
    close(next);
    carom__send(pair[0], &message, sizeof message, two, 2, true);
    int with_one = receive();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(with_none, -EMFILE);
    assert_int_equal(with_one, -EMFILE);
    assert_int_equal(open_fds(), open_before);
    close(fd);
}

/* ---------------------------------------------------------------- sets of descriptors */

static void a_descriptor_is_taken_out_of_the_set_once(void **state)
{
    (void)state;
    struct carom__welcome message = welcome_of(0);
    int sent[2] = {memory(), memory()}, before = open_fds();
    carom__send(pair[0], &message, sizeof message, sent, 2, true);
    assert_int_equal(receive(), sizeof message);
    int taken = carom__take_fd(&fds, 1);
    assert_true(taken >= 0);
    assert_int_equal(carom__take_fd(&fds, 1), -1);
    assert_int_equal(carom__take_fd(&fds, 2), -1);
    assert_int_equal(carom__take_fd(&fds, UINT32_MAX), -1);
    carom__close_fds(&fds);
    carom__close_fds(&fds);
    assert_int_equal(open_fds(), before + 1);
    assert_int_equal(close(taken), 0);
    close(sent[0]);
    close(sent[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pair_sentence(a_header_says_what_the_message_is),
        pair_sentence(a_message_arrives_with_none_to_five_descriptors),
        pair_sentence(descriptors_arrive_in_their_order),
        pair_sentence(the_largest_hello_fits),
        pair_sentence(messages_keep_their_boundaries),
        pair_sentence(only_the_right_type_version_and_size_is_that_message),
        pair_sentence(who_does_not_want_to_wait_is_told_to_come_again),
        pair_sentence(a_full_socket_is_told_to_who_does_not_want_to_wait),
        pair_sentence(the_other_sides_hang_up_is_noticed_after_its_last_message),
        pair_sentence(sending_to_nobody_is_an_error_and_not_a_signal),
        pair_sentence(who_wants_to_wait_gets_the_message_when_it_comes),
        pair_sentence(what_is_no_message_is_refused_and_its_descriptors_closed),
        pair_sentence(a_size_that_is_not_the_messages_is_refused),
        pair_sentence(a_message_longer_than_the_buffer_is_refused),
        pair_sentence(descriptors_beyond_the_fifth_are_refused_with_all_of_them),
        pair_sentence(an_empty_message_leaves_none_of_its_descriptors_behind),
        pair_sentence(without_a_free_descriptor_the_message_is_refused_and_nothing_kept),
        pair_sentence(a_descriptor_is_taken_out_of_the_set_once),
    };
    return RUN(tests);
}
