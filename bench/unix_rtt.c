/* SPDX-License-Identifier: Apache-2.0
 *
 * unix_rtt.c - the round trip over a Unix stream socket to a server that sends back what it gets
 * (unix_server.py): what carom replaces, at its best. Messages have a fixed length known to both
 * sides, so there is no framing to read, one send and one recv per direction, and no allocation.
 * The request is written and the reply read and compared byte for byte, as for carom. No deadline,
 * no statistics, no checks: the socket gets away with less than carom does.
 *
 *   spin=0  recv sleeps in the kernel until the answer is there: what everybody does
 *   spin=1  recv with MSG_DONTWAIT in a loop, for a server that does the same: burns both CPUs, as
 *           carom does in its hot phase, and so leaves the cost of the socket itself
 *
 * Arguments: path (of the socket), bytes, spin, ms, batch, cpu.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "bench.h"

struct peer {
    int fd;
    int flags;
    size_t bytes;
    unsigned char *request, *reply;
};

static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (strlen(path) >= sizeof(address.sun_path))
        bench_die("path too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        bench_die("cannot connect to %s: %s", path, strerror(errno));
    return fd;
}

static void send_whole(const struct peer *peer)
{
    for (size_t done = 0; done < peer->bytes;) {
        ssize_t part = send(peer->fd, peer->request + done, peer->bytes - done, MSG_NOSIGNAL);
        if (part < 0)
            bench_die("send: %s", strerror(errno));
        done += (size_t)part;
    }
}

static void receive_whole(const struct peer *peer)
{
    for (size_t done = 0; done < peer->bytes;) {
        ssize_t part = recv(peer->fd, peer->reply + done, peer->bytes - done, peer->flags);
        if (part == 0)
            bench_die("the server closed the connection");
        if (part < 0 && errno != EAGAIN)
            bench_die("recv: %s", strerror(errno));
        done += part > 0 ? (size_t)part : 0;
    }
}

static void step(void *context, uint64_t sequence)
{
    const struct peer *peer = context;
    bench_fill(peer->request, peer->bytes, sequence);
    send_whole(peer);
    receive_whole(peer);
    if (!bench_matches(peer->reply, peer->bytes, sequence))
        bench_die("the reply to message %" PRIu64 " is not what was sent", sequence);
}

int main(int argc, char **argv)
{
    const char *path = "";
    int64_t bytes = 64, spin = 0, ms = 50, batch = 1, cpu = 0;
    const struct bench_option options[] = {
        { "path", NULL, &path }, { "bytes", &bytes, NULL }, { "spin", &spin, NULL },
        { "ms", &ms, NULL },     { "batch", &batch, NULL }, { "cpu", &cpu, NULL },
    };
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    bench_pin(cpu);
    struct peer peer = {
        .fd = connect_to(path),
        .flags = spin ? MSG_DONTWAIT : 0,
        .bytes = (size_t)bytes,
        .request = malloc((size_t)bytes),
        .reply = malloc((size_t)bytes),
    };
    if (!peer.request || !peer.reply)
        bench_die("out of memory");
    bench_print(bench_measure(step, &peer, ms, batch));
    free(peer.request);
    free(peer.reply);
    return 0;
}
