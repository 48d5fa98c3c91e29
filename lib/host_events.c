/* SPDX-License-Identifier: Apache-2.0
 *
 * host_events.c - a line per event for whoever keeps the workers alive (carom_host_options). Lines
 * are shorter than what a pipe takes in one piece, and a line that does not fit now is lost: the
 * host waits for nobody. */
#include "error.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 4000u

int carom__host_events_open(struct carom_host *host, int event_fd)
{
    if (event_fd == 0)
        return 0;
    int flags = fcntl(event_fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return carom__fail(
            -EINVAL, "carom_host_options.event_fd is %d: it must be open for writing", event_fd);
    host->event_fd = event_fd;
    return 0;
}

/* Adds a field as far as it fits. Returns how long the line is now. */
static size_t add(char line[LINE_BYTES], size_t length, const char *field)
{
    size_t room = LINE_BYTES - 1 - length, bytes = strlen(field);
    if (bytes > room)
        bytes = carom__cut(field, room);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)field[i];
        line[length + i] = byte < ' ' || byte == 0x7f ? ' ' : field[i];
    }
    return length + bytes;
}

/* write() without the signal that a pipe without a reader raises. */
static void write_quietly(int fd, const char *line, size_t length)
{
    const struct timespec now = {0, 0};
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    if (write(fd, line, length) < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void write_if_it_fits(int fd, const char *line, size_t length)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    if (send(fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != ENOTSOCK)
        return;
    if (poll(&room, 1, 0) == 1 && room.revents == POLLOUT)
        write_quietly(fd, line, length);
}

void carom__host_event(const struct carom_host *host, const char *const *fields, uint32_t count)
{
    char line[LINE_BYTES];
    size_t length = 0;
    if (host->event_fd == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && length < LINE_BYTES - 1)
            line[length++] = '\t';
        length = add(line, length, fields[i]);
    }
    line[length++] = '\n';
    write_if_it_fits(host->event_fd, line, length);
}
