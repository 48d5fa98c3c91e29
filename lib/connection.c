/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.c - connecting and the handshake, on the peer's side. See connection.h. */
#include "connection.h"

#include "address.h"
#include "error.h"
#include "wait.h"

#include "carom.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/** Between two attempts to connect: short, because start-up time is what users look at. */
#define RETRY_FIRST_NS INT64_C(1000000)
#define RETRY_MOST_NS INT64_C(16000000)
/** A live host answers within a millisecond; this is what it gets even if the caller's time is up,
 *  so that a timeout of 0 can succeed. */
#define HANDSHAKE_LEAST_NS INT64_C(250000000)

static int fail_to_connect(int error, const char *service, const struct sockaddr_un *address)
{
    char path[CAROM__ADDRESS_TEXT_BYTES];
    carom__address_text(address, path);
    if (error == -ECONNREFUSED && carom__address_is_abstract(address))
        error = -ENOENT; /* the kernel does not tell the two apart where there is no file */
    switch (error) {
    case -ENOENT:
        return carom__fail(error, "no service '%s': there is no socket %s", service, path);
    case -ECONNREFUSED:
        return carom__fail(error, "no service '%s': nobody listens on %s, its host was killed",
                           service, path);
    case -EAGAIN:
        return carom__fail(-ETIMEDOUT,
                           "the host of service '%s' (%s) accepts nobody: is it stopped?", service,
                           path);
    case -EACCES:
        return carom__fail(error, "no permission for service '%s' (%s): it belongs to another user",
                           service, path);
    default:
        return carom__fail(error, "cannot connect to service '%s' (%s): %s", service, path,
                           strerror(-error));
    }
}

static int connect_once(const struct sockaddr_un *address)
{
    /* Not blocking while it connects: a stopped host whose queue is full would hold us for ever. */
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)address, carom__address_bytes(address)) == 0 &&
        fcntl(fd, F_SETFL, 0) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static void sleep_ns(int64_t duration_ns)
{
    struct timespec duration = {duration_ns / 1000000000, duration_ns % 1000000000};
    nanosleep(&duration, NULL);
}

int carom__connect(const char *service, int64_t deadline_ns)
{
    struct sockaddr_un address;
    int rc = carom__address(service, false, &address);
    if (rc < 0)
        return rc;
    for (int64_t pause_ns = RETRY_FIRST_NS;; pause_ns *= 2) {
        rc = connect_once(&address);
        if (rc >= 0)
            return rc;
        int64_t left_ns = deadline_ns - carom__now_ns();
        if ((rc != -ENOENT && rc != -ECONNREFUSED && rc != -EAGAIN) || left_ns <= 0)
            return fail_to_connect(rc, service, &address);
        if (pause_ns > RETRY_MOST_NS)
            pause_ns = RETRY_MOST_NS;
        sleep_ns(pause_ns < left_ns ? pause_ns : left_ns);
    }
}

static int send_hello(int socket, struct carom__hello *hello, size_t hello_bytes, int fd)
{
    int fds[2], pidfd = carom__own_pidfd();
    uint32_t count = 0;
    if (pidfd < 0 && pidfd != -ENOSYS)
        return carom__fail_errno(pidfd, "cannot get a pidfd of this process");
    if (pidfd >= 0)
        fds[count++] = pidfd;
    if (fd >= 0)
        fds[count++] = fd;
    carom__header_set(&hello->header, CAROM__HELLO, hello_bytes);
    hello->layout_hash = carom__layout_hash();
    hello->has_pidfd = pidfd >= 0;
    int rc = carom__send(socket, hello, hello_bytes, fds, count, true);
    if (pidfd >= 0)
        close(pidfd);
    if (rc == -EPIPE || rc == -ECONNRESET) /* refused before it read HELLO: the reason is waiting */
        return 0;
    return rc < 0 ? carom__fail_errno(rc, "cannot greet the host") : 0;
}

static int await_answer(int socket, int64_t deadline_ns)
{
    int64_t least_ns = carom__now_ns() + HANDSHAKE_LEAST_NS;
    if (deadline_ns < least_ns)
        deadline_ns = least_ns;
    struct pollfd poller = {.fd = socket, .events = POLLIN};
    for (;;) {
        int64_t left_ms = (deadline_ns - carom__now_ns()) / 1000000;
        if (left_ms <= 0)
            return carom__fail(-ETIMEDOUT, "the host does not answer: is it stopped?");
        int ready = poll(&poller, 1, left_ms > 1000 ? 1000 : (int)left_ms);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return carom__fail_errno(-errno, "cannot wait for the host");
    }
}

static int refused(const struct carom__refused *message)
{
    int error = message->error < 0 ? message->error : -EPROTO;
    return carom__fail(error, "%.*s", (int)sizeof message->reason, message->reason);
}

static bool is_welcome(const struct carom__welcome *answer, int length,
                       const struct carom__fds *fds, uint32_t fd_count)
{
    return carom__is_message(answer, length, CAROM__WELCOME, sizeof *answer) &&
           fds->count == fd_count + (answer->has_pidfd ? 1 : 0);
}

int carom__shake_hands(struct carom__connection *connection, struct carom__hello *hello,
                       size_t hello_bytes, int fd, int64_t deadline_ns,
                       struct carom__welcome *welcome, struct carom__fds *fds, uint32_t fd_count)
{
    const int socket = connection->socket;
    union {
        struct carom__welcome welcome;
        struct carom__refused refused;
    } answer;
    fds->count = 0;
    int rc = send_hello(socket, hello, hello_bytes, fd);
    if (rc == 0)
        rc = await_answer(socket, deadline_ns);
    if (rc < 0)
        return rc;
    int length = carom__receive(socket, &answer, sizeof answer, fds, true);
    if (length ==
        -ECONNRESET) /* the host closed with our HELLO unread; its reason comes after that */
        length = carom__receive(socket, &answer, sizeof answer, fds, true);
    if (length == -EMFILE)
        return carom__fail(length, "too many open files to receive shared memory: raise ulimit -n");
    if (length == -ECONNRESET)
        return carom__fail(-ECONNREFUSED,
                           "the host hung up during the handshake without a reason: it "
                           "is stopping, or was short of memory");
    if (length < 0 && length != -EPROTO)
        return carom__fail_errno(length, "cannot hear the host's answer");
    /* the text of a refusal counts in every version */
    if (length == (int)sizeof answer.refused && answer.refused.header.type == CAROM__REFUSED) {
        carom__close_fds(fds);
        return refused(&answer.refused);
    }
    if (!is_welcome(&answer.welcome, length, fds, fd_count)) {
        carom__close_fds(fds);
        return carom__fail(-EPROTO, "the host's answer is not one of carom %s", carom_version());
    }
    *welcome = answer.welcome;
    if (welcome->has_pidfd)
        connection->host_pidfd = carom__take_fd(fds, fd_count);
    return 0;
}

bool carom__host_is_gone(const struct carom__connection *connection)
{
    struct pollfd pollers[] = {
        {.fd = connection->socket, .events = 0},
        {.fd = connection->host_pidfd, .events = POLLIN}, /* -1: poll passes over it */
    };
    if (poll(pollers, 2, 0) <= 0)
        return false;
    return (pollers[0].revents & (POLLHUP | POLLERR)) != 0 || pollers[1].revents != 0;
}

bool carom__last_words(const struct carom__connection *connection,
                       char reason[CAROM__REASON_BYTES + 1])
{
    struct carom__refused message;
    ssize_t length = recv(connection->socket, &message, sizeof message, MSG_PEEK | MSG_DONTWAIT);
    if (length != (ssize_t)sizeof message || message.header.type != CAROM__REFUSED)
        return false;
    snprintf(reason, CAROM__REASON_BYTES + 1, "%.*s", (int)sizeof message.reason, message.reason);
    return true;
}

void carom__disconnect(struct carom__connection *connection)
{
    if (connection->socket >= 0)
        close(connection->socket);
    if (connection->host_pidfd >= 0)
        close(connection->host_pidfd);
    connection->socket = connection->host_pidfd = -1;
}

int carom__await_ready(struct carom__directory *directory,
                       const struct carom__connection *connection, uint32_t workers,
                       int64_t deadline_ns)
{
    for (;;) {
        /* acquire: pairs with the host's release after it wrote what changed */
        uint32_t change = atomic_load_explicit(&directory->change, memory_order_acquire);
        /* relaxed: ordered by the load above; looked at again after every change */
        if (atomic_load_explicit(&directory->state, memory_order_relaxed) == CAROM_STOPPING)
            return carom__fail(-ESHUTDOWN, "service '%.*s' is stopping",
                               (int)sizeof directory->service, directory->service);
        /* relaxed: as above */
        uint32_t count = atomic_load_explicit(&directory->worker_count, memory_order_relaxed);
        if (count >= workers)
            return 0;
        if (connection != NULL && carom__host_is_gone(connection))
            return carom__fail(-EHOSTDOWN, "the host died while its workers were awaited");
        int64_t left_ns = deadline_ns - carom__now_ns();
        if (left_ns <= 0)
            return carom__fail(-ETIMEDOUT,
                               "service '%.*s' is there, but only %u of %u workers were ready in "
                               "time",
                               (int)sizeof directory->service, directory->service, count, workers);
        carom__futex_wait(&directory->change, change,
                          left_ns < CAROM__SLICE_NS ? left_ns : CAROM__SLICE_NS);
    }
}
