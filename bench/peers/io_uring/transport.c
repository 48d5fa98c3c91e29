/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on a Unix stream socket by io_uring. One system call submits the send of
 * what is gathered and the receive of the next answer, and sleeps until the answer is there.
 *
 * Set up as liburing's manual advises for one thread that submits and reaps: SINGLE_ISSUER and
 * DEFER_TASKRUN, so that completions interrupt nobody; ring and socket registered; with one call in
 * flight, a receive that does not try before it waits (POLL_FIRST), as the answer can't be there
 * yet. MSG_WAITALL makes a send complete only when all of it is sent. Until then nothing is written
 * to its buffer.
 */
#include <liburing.h>

#include "../framing.h"
#include "../unix_socket.h"

enum { SEND = 1, RECEIVE };

#define SOCKET_INDEX 0 /* of the one registered file */
#define ENTRIES 8

/* So many bytes of requests always have room in the socket's buffer. Then a send completes at once,
 * and one system call can wait for both completions. A send that has to wait for room must
 * be waited for alone: a thread that waits for two is not woken (Linux 6.18) when there is room
 * again but no completion yet. */
#define ALWAYS_ROOM_BYTES (128u << 10)

struct transport {
    struct io_uring ring;
    int fd;
    bool sending, receiving; /* given to the kernel, and not completed */
    bool has_room;           /* the send completes at once */
    size_t bytes_max;
    struct framing framing;
};

/** What newer kernels do better comes first; each fails with EINVAL where it is not known. */
static void set_up(struct io_uring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int error = -EINVAL;
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags) && error == -EINVAL; i++)
        error = io_uring_queue_init(ENTRIES, ring, flags[i]);
    if (error == -EPERM || error == -EACCES || error == -ENOSYS)
        bench_die("this machine does not allow io_uring: %s", strerror(-error));
    if (error)
        bench_die("io_uring_queue_init: %s", strerror(-error));
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *uring = calloc(1, sizeof(*uring));
    if (!uring)
        bench_die("out of memory");
    set_up(&uring->ring);
    uring->fd = unix_connect(config->at, SOCK_STREAM);
    io_uring_register_ring_fd(&uring->ring); /* saves a look-up; nothing is lost without it */
    if (io_uring_register_files(&uring->ring, &uring->fd, 1))
        bench_die("the socket cannot be registered with io_uring");
    framing_begin(&uring->framing, config);
    uring->bytes_max = config->bytes_max;
    return uring;
}

unsigned transport_depth(const struct transport *uring)
{
    return uring->framing.depth;
}

static struct io_uring_sqe *next_entry(struct transport *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    if (!entry)
        bench_die("the submission queue is full");
    return entry;
}

static void prepare_send(struct transport *uring)
{
    const struct framing *framing = &uring->framing;
    size_t unanswered = framing->in_flight - framing->gathered;
    struct io_uring_sqe *entry = next_entry(uring);
    uring->has_room = framing->out_bytes + unanswered * (FRAME_HEAD_BYTES + uring->bytes_max) <=
                      ALWAYS_ROOM_BYTES;
    io_uring_prep_send(entry, SOCKET_INDEX, framing->out, framing->out_bytes,
                       MSG_NOSIGNAL | MSG_WAITALL);
    entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, SEND);
    uring->sending = true;
}

static void prepare_receive(struct transport *uring)
{
    struct io_uring_sqe *entry = next_entry(uring);
    size_t room = 0;
    unsigned char *to = framing_room(&uring->framing, &room);
    io_uring_prep_recv(entry, SOCKET_INDEX, to, room, 0);
    entry->flags |= IOSQE_FIXED_FILE;
    entry->ioprio |= uring->framing.depth == 1 ? IORING_RECVSEND_POLL_FIRST : 0;
    io_uring_sqe_set_data64(entry, RECEIVE);
    uring->receiving = true;
}

/** Looks at whatever has completed. */
static void reap(struct transport *uring)
{
    struct io_uring_cqe *done = NULL;
    while (io_uring_peek_cqe(&uring->ring, &done) == 0) {
        bool sent = io_uring_cqe_get_data64(done) == SEND;
        if (done->res < 0)
            bench_die("%s: %s", sent ? "send" : "recv", strerror(-done->res));
        if (sent) {
            framing_sent(&uring->framing);
            uring->sending = false;
        } else {
            framing_filled(&uring->framing, (size_t)done->res);
            uring->receiving = false;
        }
        io_uring_cqe_seen(&uring->ring, done);
    }
}

/** Gives the kernel what is prepared, waits until as much has completed, and looks at it. */
static void submit(struct transport *uring, unsigned wait_count)
{
    int error = io_uring_submit_and_wait(&uring->ring, wait_count);
    if (error < 0)
        bench_die("io_uring_submit_and_wait: %s", strerror(-error));
    reap(uring);
}

void transport_send(struct transport *uring, size_t bytes, uint64_t sequence)
{
    while (uring->sending)
        submit(uring, 1);
    if (framing_add(&uring->framing, bytes, sequence) && uring->framing.depth > 1) {
        prepare_send(uring);
        submit(uring, 0);
    }
}

uint64_t transport_receive(struct transport *uring, bool wait)
{
    struct framing *framing = &uring->framing;
    uint64_t sequence = framing_take(framing);
    while (!sequence) {
        if (framing->out_bytes && !uring->sending)
            prepare_send(uring);
        if (!uring->receiving)
            prepare_receive(uring);
        if (wait)
            submit(uring, uring->sending && uring->has_room ? 2 : 1);
        else if (io_uring_sq_ready(&uring->ring))
            submit(uring, 0);
        else
            reap(uring);
        sequence = framing_take(framing);
        if (!wait)
            break;
    }
    return sequence;
}

void transport_close(struct transport *uring)
{
    io_uring_queue_exit(&uring->ring);
    close(uring->fd);
    framing_end(&uring->framing);
    free(uring);
}
