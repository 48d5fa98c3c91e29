/* SPDX-License-Identifier: Apache-2.0
 *
 * handshake.c - what a client makes of its host's answer and of the directory that it awaits:
 * connection.c and client_join.c, on the lengths that make a difference, any bytes, and any number
 * of descriptors. */
#include "lib/client_join.c"
#include "lib/connection.c"

#include "kernel.h"
#include "peer.h"

/* ---- the kernel */

int poll(struct pollfd *pollers, nfds_t count, int timeout_ms)
{
    (void)timeout_ms;
    for (nfds_t i = 0; i < count; i++)
        pollers[i].revents = (short)any_int;
    errno = 1 + (int)any_below(133);
    return maybe() ? 1 : maybe() ? 0 : -1;
}

static int any_fd(void)
{
    return maybe() ? (int)any_below(1u << 20) : -EMFILE;
}

/* Of a message of any length: what of it has room arrives. */
ssize_t recv(int socket, void *to, size_t bytes, int flags)
{
    (void)socket;
    (void)flags;
    if (maybe()) {
        errno = 1 + (int)any_below(133);
        return -1;
    }
    size_t length = kernel_length < bytes ? kernel_length : bytes;
    if (length > 0)
        Frama_C_make_unknown(to, length);
    return (ssize_t)length;
}

int carom__segment_create_blocks(const char *name, uint32_t slots, uint64_t block_bytes)
{
    (void)name;
    (void)slots;
    (void)block_bytes;
    return any_fd();
}

int carom__segment_read_only(int fd)
{
    (void)fd;
    return any_fd();
}

int carom__segment_check(int fd, size_t bytes, bool trusted)
{
    (void)fd;
    (void)bytes;
    (void)trusted;
    return maybe() ? 0 : -EPROTO;
}

void *carom__segment_map(int fd, size_t bytes, bool writable)
{
    (void)fd;
    (void)writable;
    errno = ENOMEM;
    return calloc(1, bytes);
}

void carom__segment_unmap(void *base, size_t bytes)
{
    if (base != NULL)
        (void)(((char *)base)[0] + ((char *)base)[bytes - 1]);
}

void carom__segment_prefault(const void *at, size_t bytes, bool writable)
{
    (void)writable;
    (void)(((const char *)at)[0] + ((const char *)at)[bytes - 1]);
}

/* ---- entries */

static const struct carom__geometry geometry = {4, 4 * CAROM__CELLS_PER_SLOT, CAROM__PAGE_BYTES,
                                                CAROM__PAGE_BYTES};

static void join(size_t length, size_t fds)
{
    struct carom__joined joined;
    struct carom__lane lane;
    kernel_length = length;
    kernel_fds = fds;
    if (carom__join(3, &geometry, (int64_t)any_up_to(INT64_MAX), &joined) < 0)
        return;
    //@ assert lane_exists: joined.lane_id < CAROM__MAX_LANES;
    carom__lane_view(&lane, joined.control, &geometry);
    carom__lane_has_work(&lane);
    (void)((char *)joined.replies)[carom__blocks_bytes(4, CAROM__PAGE_BYTES) - 1];
    carom__unjoin(&joined, &geometry);
}

void entry_join(void)
{
    const size_t header = sizeof(struct carom__header), welcome = sizeof(struct carom__welcome),
                 refused = sizeof(struct carom__refused);
    join(0, 0);
    join(header - 1, 0);
    join(header, 0);
    join(welcome - 1, 4);
    join(welcome + 1, 4);
    join(refused - 1, 4);
    join(refused, 0);
    join(refused, 1);
    //@ loop unroll 8;
    for (size_t fds = 0; fds <= CAROM__MESSAGE_FDS; fds++)
        join(welcome, fds);
}

void entry_await(void)
{
    const struct carom__connection connection = {3, 4};
    struct carom__directory *directory = unknown(sizeof *directory);
    carom__await_ready(directory, &connection, any32, (int64_t)any_up_to(INT64_MAX));
    carom__await_ready(directory, NULL, any32, (int64_t)any_up_to(INT64_MAX));
}

/* What the host said before it hung up, of every length. */
void entry_last_words(void)
{
    const struct carom__connection connection = {3, 4};
    //@ loop unroll 400;
    for (kernel_length = 0; kernel_length <= sizeof(struct carom__refused) + 1; kernel_length++) {
        char *reason = memory(CAROM__REASON_BYTES + 1);
        if (carom__last_words(&connection, reason))
            (void)reason[0];
    }
}
