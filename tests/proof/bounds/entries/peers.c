/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.c - what the host does with a worker's messages after its welcome: host_peers.c on every
 * length, any bytes, with descriptors that nobody asked for. */
#include "text.h"

#undef _Atomic
#define _Atomic /* the host's own: nobody else can write directory and peers */
#include "lib/host_peers.c"

#include "kernel.h"
#include "peer.h"

static struct carom_host *host;

/* ---- what is not looked at here: it reads nothing that a peer can write, or see deaths.c */

void carom__host_greeted(struct carom_host *self, struct carom__peer *peer)
{
    (void)self;
    peer->greeted = true;
}

void carom__host_admit(struct carom_host *self, struct carom__peer *peer)
{
    (void)self;
    (void)peer;
}

void carom__host_tell_all(struct carom_host *self, uint32_t lane)
{
    (void)self->clients[lane];
}

void carom__host_catch_up(struct carom_host *self, struct carom__peer *worker)
{
    (void)self;
    (void)worker;
}

void carom__host_changed(struct carom_host *self)
{
    (void)self;
}

void carom__host_wake_workers(struct carom_host *self)
{
    (void)self;
}

/* Leaves the lane where it is: that it is closed once hangs on `gone`, and EVA does not keep in
 * mind which lane goes with which value of that. */
void carom__host_lane_close(struct carom__peer *peer, bool mapped)
{
    (void)mapped;
    (void)peer->lane->geometry;
}

void carom__host_recover(struct carom_host *self, const struct carom__peer *worker)
{
    (void)self;
    (void)worker;
}

bool carom__host_is_dead(const struct carom__peer *peer)
{
    (void)peer;
    return maybe();
}

void carom__host_event(const struct carom_host *self, const char *const *fields, uint32_t count)
{
    (void)self;
    (void)fields[count - 1];
}

void carom__host_send_refusal(int socket, int error, const char *reason)
{
    (void)socket;
    (void)error;
    (void)reason[0];
}

void carom__host_refuse(struct carom_host *self, struct carom__peer *peer, int error)
{
    (void)error;
    carom__host_bury(self, peer);
}

void carom__lane_disown(struct carom__lane *lane)
{
    (void)lane->geometry;
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    (void)epoll;
    (void)operation;
    (void)fd;
    (void)event;
    return 0;
}

/* ---- entry */

static struct carom__peer *make_peer(uint32_t role, uint32_t id)
{
    struct carom__peer *peer = memory(sizeof *peer);
    peer->role = role;
    peer->id = id;
    peer->socket = peer->pidfd = 3 + (int)any_below(1000);
    return peer;
}

static void open_host(void)
{
    host = memory(sizeof *host);
    host->directory = memory(sizeof *host->directory);
    host->bell = memory(sizeof *host->bell);
    host->max_clients = CAROM__MAX_LANES;
    host->max_workers = CAROM__MAX_WORKERS;
    host->clients[7] = make_peer(CAROM__CLIENT, 7);
    host->clients[7]->lane = memory(sizeof *host->clients[7]->lane);
    host->workers[9] = make_peer(CAROM__WORKER, 9);
}

static void hear(size_t length, size_t fds)
{
    kernel_length = length;
    kernel_fds = fds;
    open_host();
    hear_worker(host, host->workers[9]);
}

void entry_message(void)
{
    hear(sizeof(struct carom__poisoned), 0);
    hear(sizeof(struct carom__poisoned), CAROM__MESSAGE_FDS);
    hear(sizeof(struct carom__header), 0);
    hear(sizeof(struct carom__header) - 1, 0);
    hear(0, 0);
}

/* All that may come of it, and the last words of who hangs up. */
void entry_end(void)
{
    //@ loop unroll 32;
    for (kernel_length = 0; kernel_length <= sizeof(struct carom__poisoned); kernel_length++) {
        kernel_fds = kernel_length % 8 == 0 ? CAROM__MESSAGE_FDS : 0;
        open_host();
        carom__host_serve(host, host->workers[9], any32);
        open_host();
        carom__host_end(host, host->workers[9]);
    }
}
