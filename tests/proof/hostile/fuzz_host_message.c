/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_host_message.c - what peers say to a host: they knock, greet as client, worker, observer or
 * nonsense, with any descriptors beside it; workers say POISONED of any lane, LEAVE or nonsense;
 * clients talk and write into their lanes; anybody hangs up, ends, keeps silent, does not read. The
 * host reads no byte that was not sent, and when all have gone it holds no descriptor, mapping or
 * peer, and admits an honest client. */
#include "hosting.h"
#include "messages.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PEERS 6u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct carom_host *host;
static struct fuzz_input input;
static struct carom__peer *peers[PEERS]; /* NULL: none */
static struct kernel_message queued;     /* what the next recvmsg brings; length 0: nothing */
static int queued_fd;
static uint64_t reading; /* whether peers read what they are sent: a bit for each message */
static uint32_t fds_at_rest;
static bool welcomed;

/* ---------------------------------------------------------------- the wire */

static bool deliver(int fd, struct kernel_message *message)
{
    if (queued.length == 0 || fd != queued_fd)
        return false;
    memcpy(message->bytes, queued.bytes, queued.length);
    message->length = queued.length;
    message->fd_count = queued.fd_count;
    memcpy(message->fds, queued.fds, sizeof message->fds);
    queued.length = queued.fd_count = 0;
    return true;
}

static int sent(int fd, const void *bytes, size_t length, const int *fds, uint32_t fd_count)
{
    struct carom__header header;
    (void)fd, (void)fds, (void)fd_count;
    if (length < sizeof header)
        kernel_fail("the host sends %zu bytes", length);
    memcpy(&header, bytes, sizeof header);
    if (header.size_bytes != length || header.magic != CAROM__MAGIC)
        kernel_fail("the host sends a message of type %u with a wrong header", header.type);
    reading = reading >> 1 | reading << 63;
    if (!(reading & 1))
        return reading & 0x10 ? EAGAIN : reading & 0x20 ? ETOOMANYREFS : EAGAIN;
    welcomed = header.type == CAROM__WELCOME;
    return 0;
}

/* ---------------------------------------------------------------- messages */

static void add_methods(struct carom__hello *hello, uint32_t count)
{
    struct carom__method_entry *entries = (void *)(queued.bytes + sizeof *hello);
    hello->method_count = count;
    memset((void *)entries, 0, count * sizeof entries[0]);
    for (uint32_t i = 0; i < count; i++) {
        entries[i].name[0] = 'm';
        entries[i].name[1] = (char)('a' + fuzz_take(&input, 1) % 26);
        /* relaxed: one thread */
        atomic_store_explicit(&entries[i].flags, (uint32_t)i, memory_order_relaxed);
    }
    queued.length = sizeof *hello + count * sizeof entries[0];
}

static void make_hello(enum carom__role role)
{
    struct carom__hello hello = {
        .layout_hash = carom__layout_hash(),
        .role = role,
        .has_pidfd = 1,
        .geometry = {4, 4 * CAROM__CELLS_PER_SLOT, 4096, 4096},
    };
    queued.length = sizeof hello;
    queued.fd_count = 0;
    message_add(&queued, kernel_open((struct kernel_fd){.kind = KERNEL_PIDFD}));
    if (role == CAROM__CLIENT)
        message_add(&queued,
                    kernel_open((struct kernel_fd){
                        .kind = KERNEL_MEMORY, .read_only = true, .seals = 7, .bytes = 1 << 20}));
    if (role == CAROM__WORKER)
        add_methods(&hello, (uint32_t)fuzz_take(&input, 1) % 4);
    carom__header_set(&hello.header, CAROM__HELLO, queued.length);
    memcpy(queued.bytes, &hello, sizeof hello);
}

/* A HELLO whose fields say what they like. */
static void spoil_hello(void)
{
    struct carom__hello hello;
    unsigned how = (unsigned)fuzz_take(&input, 1);
    memcpy(&hello, queued.bytes, sizeof hello);
    if ((how & 3) == 1)
        hello.method_count = (uint32_t)fuzz_take(&input, how >> 6);
    if ((how & 3) == 2)
        hello.has_pidfd = hello.stand_in = (uint32_t)fuzz_take(&input, 1);
    if ((how & 12) == 4)
        hello.role = (uint32_t)fuzz_take(&input, 1);
    if ((how & 12) == 8)
        message_spoil_geometry(&hello.geometry, &input);
    memcpy(queued.bytes, &hello, sizeof hello);
}

static void make_poisoned(void)
{
    struct carom__poisoned message = {.lane = (uint32_t)fuzz_take(&input, 1)};
    if (message.lane > 0xe0)
        message.lane = (uint32_t)fuzz_take(&input, 4);
    queued.length = sizeof message;
    carom__header_set(&message.header, CAROM__POISONED, sizeof message);
    memcpy(queued.bytes, &message, sizeof message);
}

static void make_leave(void)
{
    struct carom__header header;
    queued.length = sizeof header;
    carom__header_set(&header, CAROM__LEAVE, sizeof header);
    memcpy(queued.bytes, &header, sizeof header);
}

static void make_message(unsigned how)
{
    memset(queued.bytes, 0, 64);
    queued.fd_count = 0;
    if (how % 8 < 4)
        make_hello((enum carom__role)(1 + how % 3));
    else if (how % 8 < 6)
        make_poisoned();
    else
        make_leave();
    if (how % 8 < 4 && how & 0x40)
        spoil_hello();
    if (how & 0x80)
        message_spoil(&queued, &input);
}

/* ---------------------------------------------------------------- peers */

/* As carom_host_run does after each batch of events. */
static void end_batch(void)
{
    carom__host_retry(host);
    carom__host_expire(host);
    for (unsigned i = 0; i < PEERS; i++) {
        if (peers[i] != NULL && peers[i]->gone)
            peers[i] = NULL;
    }
    carom__host_sweep(host);
}

static struct carom__peer *knock(void)
{
    struct carom__peer *before = host->peers;
    kernel.knocking = 1;
    carom__host_accept(host);
    kernel.knocking = 0;
    return host->peers != before ? host->peers : NULL;
}

/* What nobody took: as the socket goes, so does what is in it. */
static void forget_queued(void)
{
    message_drop_fds(&queued);
    queued.length = 0;
}

static void serve(struct carom__peer *peer, uint32_t events)
{
    if (peer->gone)
        return;
    queued_fd = peer->socket;
    carom__host_serve(host, peer, events);
    forget_queued();
    end_batch();
}

static void say(struct carom__peer *peer)
{
    unsigned how = (unsigned)fuzz_take(&input, 1);
    make_message(how);
    if (queued.length > 0 && peer->socket >= 0)
        serve(peer, how & 0x20 ? EPOLLIN | EPOLLOUT : EPOLLIN);
    else
        forget_queued();
}

static void hang_up(struct carom__peer *peer)
{
    if (fuzz_take(&input, 1) & 1)
        make_message(6); /* with a last word */
    if (peer->socket < 0) {
        forget_queued();
        return;
    }
    kernel_fd(peer->socket)->hung_up = true;
    serve(peer, EPOLLIN | EPOLLHUP);
}

static void end_process(struct carom__peer *peer)
{
    if (peer->pidfd < 0)
        return;
    kernel_fd(peer->pidfd)->hung_up = true;
    carom__host_end(host, peer);
    end_batch();
}

/* A client writes into its lane: states name workers that may die later. */
static void scribble(const struct carom__peer *peer)
{
    struct fuzz_lane target = {0};
    if (peer->lane == NULL)
        return;
    target.lane = peer->lane->lane;
    target.control = (char *)target.lane.control;
    target.control_bytes = carom__control_bytes(&target.lane.geometry);
    fuzz_begin(&target, carom__owner((uint32_t)fuzz_take(&input, 1) % 4, 1));
    fuzz_poke(&input);
    fuzz_begin(NULL, 0);
}

static void operate(void)
{
    unsigned what = (unsigned)fuzz_take(&input, 1);
    struct carom__peer **peer = &peers[(what >> 4) % PEERS];
    if (*peer == NULL)
        *peer = knock();
    if (*peer == NULL)
        return;
    switch (what & 15) {
    case 0:
        hang_up(*peer);
        break;
    case 1:
        end_process(*peer);
        break;
    case 2:
        kernel.now_ns += INT64_C(3000000000);
        end_batch();
        break;
    case 3:
        serve(*peer, (*peer)->waits_for_room ? EPOLLOUT : EPOLLIN);
        break;
    case 4:
    case 5:
        scribble(*peer);
        break;
    case 6:
        kernel.uid = geteuid() + (uid_t)(fuzz_take(&input, 1) & 1);
        break;
    default:
        say(*peer);
    }
}

/* ---------------------------------------------------------------- afterwards */

static void part(void)
{
    for (struct carom__peer *peer = host->peers; peer != NULL; peer = peer->next)
        carom__host_bury(host, peer);
    carom__host_sweep(host);
    memset(peers, 0, sizeof peers);
    if (host->peers != NULL || host->greeting != 0)
        kernel_fail("everybody has gone and the host still has peers");
    if (kernel.open != fds_at_rest || kernel.mapped_bytes != 0)
        kernel_fail("everybody has gone and the host holds %u descriptors more than before, and "
                    "%zu bytes mapped",
                    kernel.open - fds_at_rest, kernel.mapped_bytes);
}

static void assert_honest_are_admitted(void)
{
    reading = UINT64_MAX;
    kernel.uid = geteuid();
    welcomed = false;
    struct carom__peer *peer = knock();
    make_hello(CAROM__CLIENT);
    if (peer != NULL)
        serve(peer, EPOLLIN);
    if (peer == NULL || !welcomed || host->clients[0] != peer)
        kernel_fail("an honest client is not admitted: %s", carom_error_detail());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    input = (struct fuzz_input){data, data + bytes};
    kernel_begin();
    fuzz_begin(NULL, 0);
    fuzz_bell();
    fuzz_bell_clear();
    host = fuzz_host();
    memset(peers, 0, sizeof peers);
    queued.length = queued.fd_count = 0;
    kernel.deliver = deliver;
    kernel.sent = sent;
    kernel.message_is_exact = true;
    reading = ~fuzz_take(&input, 1) & 0xff;
    reading |= UINT64_C(0xfffffffffff00) << 8;
    fds_at_rest = kernel.open;
    while (fuzz_more(&input))
        operate();
    part();
    assert_honest_are_admitted();
    part();
    return 0;
}
