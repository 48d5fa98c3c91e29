/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on two named pipes, one for each direction, that it makes for itself next
 * to `at`, the pipe by which it tells the server their number.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "../framing.h"

#define PIPE_USUAL_BYTES (64u << 10)

struct transport {
    int to, from;
    bool waits; /* whether reading `from` blocks */
    struct framing framing;
};

static void path_of(char *path, size_t bytes, const char *at, const char *suffix)
{
    if (snprintf(path, bytes, "%s.%d.%s", at, (int)getpid(), suffix) >= (int)bytes)
        bench_die("the path is too long: %s", at);
}

static int open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        bench_die("%s: %s", path, strerror(errno));
    return fd;
}

/** Tells the server that there is a client, by a fixed number of bytes, which arrive together. */
static void announce(const char *at)
{
    int64_t number = getpid();
    int fd = open_or_die(at, O_WRONLY);
    if (write(fd, &number, sizeof(number)) != sizeof(number))
        bench_die("write to %s: %s", at, strerror(errno));
    close(fd);
}

/** Asks for as much room as a large request can use; what the kernel refuses does without. */
static void make_room(int fd, size_t bytes)
{
    for (size_t room = bytes < (1u << 20) ? bytes : 1u << 20; room > PIPE_USUAL_BYTES; room /= 2)
        if (fcntl(fd, F_SETPIPE_SZ, (int)room) >= 0)
            return;
}

struct transport *transport_open(const struct transport_config *config)
{
    char requests[4096], answers[4096];
    struct transport *pipes = malloc(sizeof(*pipes));
    if (!pipes)
        bench_die("out of memory");
    path_of(requests, sizeof(requests), config->at, "requests");
    path_of(answers, sizeof(answers), config->at, "answers");
    if (mkfifo(requests, 0600) || mkfifo(answers, 0600))
        bench_die("cannot make the pipe %s: %s", answers, strerror(errno));
    announce(config->at);
    pipes->to = open_or_die(requests, O_WRONLY); /* each of these waits for the server */
    pipes->from = open_or_die(answers, O_RDONLY);
    pipes->waits = true;
    unlink(requests);
    unlink(answers);
    make_room(pipes->to, config->bytes_max);
    framing_begin(&pipes->framing, config);
    return pipes;
}

unsigned transport_depth(const struct transport *pipes)
{
    return pipes->framing.depth;
}

static void flush(struct transport *pipes)
{
    struct framing *framing = &pipes->framing;
    for (size_t done = 0; done < framing->out_bytes;) {
        ssize_t part = write(pipes->to, framing->out + done, framing->out_bytes - done);
        if (part < 0)
            bench_die("write: %s", strerror(errno));
        done += (size_t)part;
    }
    framing_sent(framing);
}

void transport_send(struct transport *pipes, size_t bytes, uint64_t sequence)
{
    if (framing_add(&pipes->framing, bytes, sequence))
        flush(pipes);
}

/** A pipe knows no MSG_DONTWAIT; whether a read blocks is changed only when the wish changes. */
static void set_waits(struct transport *pipes, bool wait)
{
    if (pipes->waits != wait && fcntl(pipes->from, F_SETFL, wait ? 0 : O_NONBLOCK))
        bench_die("fcntl: %s", strerror(errno));
    pipes->waits = wait;
}

uint64_t transport_receive(struct transport *pipes, bool wait)
{
    struct framing *framing = &pipes->framing;
    uint64_t sequence = framing_take(framing);
    while (!sequence) {
        size_t room = 0;
        unsigned char *to = framing_room(framing, &room);
        flush(pipes);
        set_waits(pipes, wait);
        ssize_t got = read(pipes->from, to, room);
        if (got >= 0)
            framing_filled(framing, (size_t)got);
        else if (errno != EAGAIN)
            bench_die("read: %s", strerror(errno));
        sequence = framing_take(framing);
        if (!wait)
            break;
    }
    return sequence;
}

void transport_close(struct transport *pipes)
{
    close(pipes->to);
    close(pipes->from);
    framing_end(&pipes->framing);
    free(pipes);
}
