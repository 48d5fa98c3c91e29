/* SPDX-License-Identifier: Apache-2.0
 *
 * host_peers.c - who is there: what peers say after their welcome, and what happens when somebody
 * is gone.
 *
 * A peer is gone when the kernel says so: its pidfd is readable (the process has ended, reaped or
 * not) or its socket has hung up. Never because time has passed: a stopped process is not dead. A
 * worker is gone when it has said goodbye or its process has ended: without a goodbye a hang-up may
 * be a handler that closed every descriptor, in a process that goes on writing to its lanes. */
#include "error.h"
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/** Messages that are read of a worker that has hung up: more than its socket can hold. */
#define LAST_WORDS 1024

/* A worker that cannot be told of new lanes any more does not make the service ready, nor does a
 * stand-in. */
static bool counts(const struct carom__peer *worker)
{
    return worker != NULL && !worker->stand_in && worker->socket >= 0;
}

void carom__host_count(struct carom_host *host)
{
    uint32_t workers = 0, clients = 0;
    for (uint32_t i = 0; i < host->max_workers; i++)
        workers += counts(host->workers[i]);
    for (uint32_t i = 0; i < host->max_clients; i++)
        clients += host->clients[i] != NULL;
    struct carom__directory *directory = host->directory;
    /* relaxed: published by the change that follows (carom__host_changed) */
    atomic_store_explicit(&directory->worker_count, workers, memory_order_relaxed);
    atomic_store_explicit(&directory->client_count, clients, memory_order_relaxed);
    if (!host->described &&
        /* relaxed: only the host writes it */
        atomic_load_explicit(&directory->state, memory_order_relaxed) != CAROM_STOPPING)
        /* release: the methods of the worker that makes it READY are there; pairs with the acquire
         * of a client that waits for its first worker */
        atomic_store_explicit(&directory->state, workers > 0 ? CAROM_READY : CAROM_STARTING,
                              memory_order_release);
    carom__host_changed(host);
}

/* ---------------------------------------------------------------- burying */

static void leave(struct carom__peer_entry *entry)
{
    /* release: observers that still see the entry see whole fields */
    atomic_store_explicit(&entry->present, 0, memory_order_release);
}

static void bury_client(struct carom_host *host, struct carom__peer *peer)
{
    host->clients[peer->id] = NULL;
    leave(&host->directory->lanes[peer->id]);
    carom__bell_forget_lane(host->bell, peer->id);
    carom__host_tell_all(host, peer->id);
    carom__lane_disown(&peer->lane->lane);
    carom__host_lane_close(peer, true);
    carom__host_count(host);
}

static void bury_worker(struct carom_host *host, struct carom__peer *peer)
{
    host->workers[peer->id] = NULL;
    leave(&host->directory->workers[peer->id]);
    carom__bell_forget_worker(host->bell, peer->id);
    carom__host_recover(host, peer);
    carom__host_count(host);
}

/* Out of epoll explicitly: a child that the host's process forked may hold the same open file, and
 * then closing alone would leave it there, pointing at a freed peer. */
static void unwatch(struct carom_host *host, int fd)
{
    if (fd < 0)
        return;
    epoll_ctl(host->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    close(fd);
}

void carom__host_bury(struct carom_host *host, struct carom__peer *peer)
{
    if (peer->gone)
        return;
    peer->gone = true;
    unwatch(host, peer->socket);
    carom__host_greeted(host, peer);
    if (peer->role == CAROM__CLIENT)
        bury_client(host, peer);
    else if (peer->role == CAROM__WORKER)
        bury_worker(host, peer); /* reads through the pidfd how it ended */
    unwatch(host, peer->pidfd);
    /* once for all: it may have taken a wake-up with it, and there is news */
    carom__host_wake_workers(host);
}

/* ---------------------------------------------------------------- hanging up */

/* A worker's socket is of no use any more. Its calls end when the kernel shows that it cannot write
 * to its lanes any more; until then only the socket is put away. */
static void hang_up(struct carom_host *host, struct carom__peer *worker)
{
    if (worker->pidfd < 0 || carom__host_is_dead(worker)) {
        carom__host_bury(host, worker);
        return;
    }
    unwatch(host, worker->socket);
    worker->socket = -1;
    worker->retry = false;
    carom__host_count(host);
    carom__bell_wake_worker(host->bell, worker->id); /* so that it finds out, and ends */
}

/* The worker cannot serve this lane, which is no fault of the client's: better no client than one
 * whose calls wait for ever. */
static void refuse_lane(struct carom_host *host, struct carom__peer *client, uint32_t worker,
                        int error)
{
    if (error >= 0 || error < -4095) /* none of errno's */
        error = -EPROTO;
    carom__host_refuse(host, client,
                       carom__fail(error, "worker %u cannot map this client's lane: %s", worker,
                                   strerror(-error)));
}

static void refuse_poisoned(struct carom_host *host, struct carom__peer *client, uint32_t worker)
{
    char id[CAROM__NUMBER_BYTES], pid[CAROM__NUMBER_BYTES];
    const char *event[] = {"poisoned", carom__field(id, client->id),
                           carom__field(pid, client->pid)};
    char reason[80];
    snprintf(reason, sizeof reason, "worker %u found nonsense in this client's lane", worker);
    carom__host_send_refusal(client->socket, -EPROTO, reason);
    carom__host_bury(host, client);
    carom__host_event(host, event, 3);
}

static void hear_poisoned(struct carom_host *host, const struct carom__peer *worker,
                          const struct carom__poisoned *message)
{
    struct carom__peer *client = message->lane < host->max_clients ? host->clients[message->lane]
                                                                   : NULL;
    if (client == NULL)
        return;
    if (message->error == 0)
        refuse_poisoned(host, client, worker->id);
    else
        refuse_lane(host, client, worker->id, message->error);
}

/* ---------------------------------------------------------------- messages */

/* Takes one message. 0, -EAGAIN there is none, or another error: there will be none. */
static int hear_worker(struct carom_host *host, struct carom__peer *worker)
{
    struct carom__poisoned message;
    struct carom__fds fds;
    int length = carom__receive(worker->socket, &message, sizeof message, &fds, false);
    carom__close_fds(&fds);
    if (length < 0)
        return length;
    if (carom__is_message(&message, length, CAROM__POISONED, sizeof message)) {
        hear_poisoned(host, worker, &message);
        return 0;
    }
    if (!carom__is_message(&message, length, CAROM__LEAVE, sizeof message.header))
        return -EPROTO;
    worker->said_goodbye = true;
    carom__host_bury(host, worker);
    return 0;
}

/* What a worker said before it hung up. A socket that was closed with our messages unread says
 * ECONNRESET first, then what is in it. */
static void hear_last_words(struct carom_host *host, struct carom__peer *worker)
{
    int errors = 0;
    for (int i = 0; i < LAST_WORDS && errors < 2 && !worker->gone; i++)
        errors += hear_worker(host, worker) < 0;
}

static void serve_worker(struct carom_host *host, struct carom__peer *worker, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR)) {
        hear_last_words(host, worker);
        if (!worker->gone)
            hang_up(host, worker);
        return;
    }
    if (events & EPOLLOUT)
        carom__host_catch_up(host, worker);
    if (!(events & EPOLLIN))
        return;
    int rc = hear_worker(host, worker);
    if (rc < 0 && rc != -EAGAIN && rc != -ENOMEM && rc != -ENOBUFS) /* those: epoll says it again */
        hang_up(host, worker); /* has hung up, or is not a worker of ours */
}

void carom__host_serve(struct carom_host *host, struct carom__peer *peer, uint32_t events)
{
    bool hung_up = events & (EPOLLHUP | EPOLLERR);
    if (peer->role == CAROM__WORKER && peer->socket >= 0)
        serve_worker(host, peer, events);
    else if (!hung_up && events & EPOLLIN && peer->role == 0)
        carom__host_admit(host, peer);
    else if (hung_up || (events & EPOLLIN && peer->socket >= 0))
        carom__host_bury(host, peer); /* clients and observers have nothing to say */
}

void carom__host_end(struct carom_host *host, struct carom__peer *peer)
{
    if (peer->role == CAROM__WORKER && peer->socket >= 0)
        hear_last_words(host, peer);
    carom__host_bury(host, peer);
}

void carom__host_sweep(struct carom_host *host)
{
    struct carom__peer **link = &host->peers;
    while (*link != NULL) {
        struct carom__peer *peer = *link;
        if (!peer->gone) {
            link = &peer->next;
            continue;
        }
        *link = peer->next;
        free(peer);
    }
}
