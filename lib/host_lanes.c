/* SPDX-License-Identifier: Apache-2.0
 *
 * host_lanes.c - the memory of lanes on the host's side, and what workers are told about them. */
#include "error.h"
#include "host.h"
#include "segment.h"
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static int make_objects(struct carom__host_lane *lane)
{
    const struct carom__geometry *geometry = &lane->geometry;
    size_t control_bytes = carom__control_bytes(geometry);
    lane->control_fd = carom__segment_create("carom-lane", control_bytes);
    if (lane->control_fd < 0)
        return lane->control_fd;
    lane->replies_fd = carom__segment_create_blocks("carom-replies", geometry->slots,
                                                    geometry->reply_block_bytes);
    if (lane->replies_fd < 0)
        return lane->replies_fd;
    void *control = carom__segment_map(lane->control_fd, control_bytes, true);
    if (control == NULL)
        return carom__fail_errno(-errno, "cannot map a lane");
    carom__lane_view(&lane->lane, control, geometry);
    lane->lane.control->slots = geometry->slots;
    lane->lane.control->ring_cells = geometry->ring_cells;
    lane->lane.control->request_block_bytes = geometry->request_block_bytes;
    lane->lane.control->reply_block_bytes = geometry->reply_block_bytes;
    return 0;
}

int carom__host_lane_open(struct carom__peer *peer, const struct carom__geometry *geometry,
                          int requests_fd)
{
    peer->lane = calloc(1, sizeof *peer->lane);
    if (peer->lane == NULL) {
        close_fd(requests_fd);
        return carom__fail(-ENOMEM, "the host has no memory for a lane");
    }
    peer->lane->geometry = *geometry;
    peer->lane->requests_fd = requests_fd;
    peer->lane->control_fd = peer->lane->replies_fd = -1;
    int rc = make_objects(peer->lane);
    if (rc < 0)
        carom__host_lane_close(peer, true);
    return rc;
}

void carom__host_lane_close(struct carom__peer *peer, bool mapped)
{
    struct carom__host_lane *lane = peer->lane;
    if (lane == NULL)
        return;
    if (mapped)
        carom__segment_unmap(lane->lane.control, carom__control_bytes(&lane->geometry));
    close_fd(lane->control_fd);
    close_fd(lane->requests_fd);
    close_fd(lane->replies_fd);
    free(lane);
    peer->lane = NULL;
}

void carom__host_changed(struct carom_host *host)
{
    /* release: what was written or sent before is seen by who sees the new value */
    atomic_fetch_add_explicit(&host->directory->change, 1, memory_order_release);
    carom__futex_wake(&host->directory->change, INT_MAX);
}

void carom__host_wake_workers(struct carom_host *host)
{
    for (uint32_t worker = 0; worker < host->max_workers; worker++) {
        if (host->workers[worker] != NULL)
            carom__bell_wake_worker(host->bell, worker);
    }
}

static int send_news(struct carom_host *host, struct carom__peer *worker, uint32_t lane)
{
    struct carom__peer *client = host->clients[lane];
    struct carom__lane_news news = {.lane = lane, .present = client != NULL};
    int fds[3];
    carom__header_set(&news.header, CAROM__LANE, sizeof news);
    if (client == NULL)
        return carom__send(worker->socket, &news, sizeof news, NULL, 0, false);
    news.pid = client->pid;
    news.uid = client->uid;
    news.geometry = client->lane->geometry;
    fds[0] = client->lane->control_fd;
    fds[1] = client->lane->requests_fd;
    fds[2] = client->lane->replies_fd;
    return carom__send(worker->socket, &news, sizeof news, fds, 3, false);
}

static int send_leave(const struct carom__peer *worker)
{
    struct carom__header header;
    carom__header_set(&header, CAROM__LEAVE, sizeof header);
    return carom__send(worker->socket, &header, sizeof header, NULL, 0, false);
}

int carom__host_watch_room(struct carom_host *host, struct carom__peer *worker, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = worker};
    if (wanted == worker->waits_for_room)
        return 0;
    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_MOD, worker->socket, &event) != 0)
        return -errno;
    worker->waits_for_room = wanted;
    return 0;
}

/* Whether a worker need not be told any more: it is dying and will be buried. */
static bool has_hung_up(int error)
{
    return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

/* 0: all has been sent. */
static int send_owed(struct carom_host *host, struct carom__peer *worker)
{
    int rc = worker->asked_to_leave ? send_leave(worker) : 0;
    if (rc < 0 && !has_hung_up(rc))
        return rc;
    worker->asked_to_leave = false;
    for (uint32_t lane = 0; lane < host->max_clients; lane++) {
        uint64_t bit = UINT64_C(1) << (lane % 64);
        if (!(worker->news[lane / 64] & bit))
            continue;
        rc = send_news(host, worker, lane);
        if (rc < 0 && !has_hung_up(rc))
            return rc;
        worker->news[lane / 64] &= ~bit;
    }
    return 0;
}

/* A full socket says when it has room. Nothing says when the kernel has memory again, or takes
 * descriptors again, of which too many are on their way (ETOOMANYREFS): the loop tries again. */
void carom__host_flush(struct carom_host *host, struct carom__peer *worker)
{
    if (worker->socket < 0)
        return;
    int rc = send_owed(host, worker);
    int watched = carom__host_watch_room(host, worker, rc == -EAGAIN);
    worker->retry = (rc < 0 && rc != -EAGAIN) || watched < 0;
    host->retrying |= worker->retry;
}

void carom__host_catch_up(struct carom_host *host, struct carom__peer *worker)
{
    carom__host_flush(host, worker);
    carom__host_changed(host);
    carom__bell_wake_worker(host->bell, worker->id);
}

void carom__host_retry(struct carom_host *host)
{
    if (!host->retrying)
        return;
    host->retrying = false;
    for (uint32_t worker = 0; worker < host->max_workers; worker++) {
        if (host->workers[worker] != NULL && host->workers[worker]->retry)
            carom__host_catch_up(host, host->workers[worker]);
    }
}

void carom__host_tell(struct carom_host *host, struct carom__peer *worker, uint32_t lane)
{
    worker->news[lane / 64] |= UINT64_C(1) << (lane % 64);
    carom__host_flush(host, worker);
}

void carom__host_tell_all(struct carom_host *host, uint32_t lane)
{
    for (uint32_t worker = 0; worker < host->max_workers; worker++) {
        if (host->workers[worker] != NULL)
            carom__host_tell(host, host->workers[worker], lane);
    }
}
