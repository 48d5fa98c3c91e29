/* SPDX-License-Identifier: Apache-2.0
 *
 * worker_lanes.c - what a worker hears on its control socket: lanes that came and went, which it
 * maps and unmaps, and that it shall leave. */
#include "connection.h"
#include "error.h"
#include "segment.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ATTEMPTS 4

static void point_at_blocks(struct carom__worker_lane *mapped, const char *requests, char *replies)
{
    const struct carom__geometry *geometry = &mapped->lane.geometry;
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        mapped->blocks[slot].request = requests +
                                       carom__block_offset(slot, geometry->request_block_bytes);
        mapped->blocks[slot].reply = replies +
                                     carom__block_offset(slot, geometry->reply_block_bytes);
    }
}

/* fds: lane control, requests (read-only), replies. NULL with errno set. */
static struct carom__worker_lane *map_lane(const struct carom__lane_news *news,
                                           const struct carom__fds *fds)
{
    const struct carom__geometry *geometry = &news->geometry;
    size_t requests_bytes = carom__blocks_bytes(geometry->slots, geometry->request_block_bytes);
    size_t replies_bytes = carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes);
    size_t control_bytes = carom__control_bytes(geometry);
    struct carom__worker_lane *mapped = calloc(1, sizeof *mapped +
                                                      geometry->slots * sizeof mapped->blocks[0]);
    void *control = NULL, *requests = NULL, *replies = NULL;
    if (mapped == NULL || (control = carom__segment_map(fds->fd[0], control_bytes, true)) == NULL ||
        (requests = carom__segment_map(fds->fd[1], requests_bytes, false)) == NULL ||
        (replies = carom__segment_map(fds->fd[2], replies_bytes, true)) == NULL) {
        int error = errno;
        carom__segment_unmap(control, control_bytes);
        carom__segment_unmap(requests, requests_bytes);
        free(mapped);
        errno = error;
        return NULL;
    }
    carom__segment_prefault(control,
                            control_bytes < CAROM__PREFAULT_CONTROL_BYTES
                                ? control_bytes
                                : CAROM__PREFAULT_CONTROL_BYTES,
                            true);
    carom__segment_prefault(requests, CAROM__PREFAULT_BLOCK_BYTES, false);
    carom__segment_prefault(replies, CAROM__PREFAULT_BLOCK_BYTES, true);
    carom__lane_view(&mapped->lane, control, geometry);
    point_at_blocks(mapped, requests, replies);
    mapped->id = news->lane;
    mapped->client = (struct carom_peer){(int32_t)news->lane, news->pid, news->uid};
    return mapped;
}

/* Block by block: some may have been detached and moved. */
static void unmap_lane(struct carom__worker_lane *mapped)
{
    const struct carom__geometry *geometry = &mapped->lane.geometry;
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        const struct carom__blocks *blocks = &mapped->blocks[slot];
        carom__segment_unmap(carom__block_pages(blocks->request),
                             carom__block_stride(geometry->request_block_bytes));
        carom__segment_unmap(carom__block_pages(blocks->reply),
                             carom__block_stride(geometry->reply_block_bytes));
    }
    carom__segment_unmap(mapped->lane.control, carom__control_bytes(geometry));
    free(mapped);
}

static void drop_lane(struct carom_worker *worker, uint32_t lane)
{
    if (worker->lanes[lane] == NULL)
        return;
    unmap_lane(worker->lanes[lane]);
    worker->lanes[lane] = NULL;
}

void carom__worker_drop_lanes(struct carom_worker *worker)
{
    for (uint32_t lane = 0; lane < CAROM__MAX_LANES; lane++)
        drop_lane(worker, lane);
}

void carom__worker_say(const struct carom_worker *worker, const void *message, size_t bytes)
{
    int rc = -ENOMEM;
    for (int i = 0; i < ATTEMPTS && (rc == -ENOMEM || rc == -ENOBUFS); i++)
        rc = carom__send(worker->connection.socket, message, bytes, NULL, 0, false);
}

/* error: why it cannot be mapped; 0 it is poisoned */
static void tell_host(struct carom_worker *worker, uint32_t lane, int error)
{
    struct carom__poisoned message = {.lane = lane, .error = error};
    carom__header_set(&message.header, CAROM__POISONED, sizeof message);
    carom__worker_say(worker, &message, sizeof message);
}

void carom__worker_poison(struct carom_worker *worker, struct carom__worker_lane *lane)
{
    if (lane->poisoned)
        return;
    lane->poisoned = true;
    tell_host(worker, lane->id, 0);
}

static void lane_came(struct carom_worker *worker, const struct carom__lane_news *news,
                      const struct carom__fds *fds)
{
    if (fds->count != 3 || carom__geometry_check(&news->geometry) < 0)
        return;
    worker->lanes[news->lane] = map_lane(news, fds);
    if (worker->lanes[news->lane] == NULL)
        tell_host(worker, news->lane, -errno);
    if (worker->lane_words < news->lane / 64 + 1)
        worker->lane_words = news->lane / 64 + 1;
    /* A worker that still mapped the empty lane of this id before may have cleared the bit. */
    carom__bell_set_ready(worker->bell, news->lane);
}

static int read_message(struct carom_worker *worker)
{
    struct carom__lane_news news = {0};
    struct carom__fds fds;
    int length = carom__receive(worker->connection.socket, &news, sizeof news, &fds, false);
    if (length == -EMFILE && news.header.type == CAROM__LANE && news.lane < CAROM__MAX_LANES)
        tell_host(worker, news.lane, length); /* its memory did not arrive */
    if (length < 0)
        return length;
    if (carom__is_message(&news, length, CAROM__LANE, sizeof news) &&
        news.lane < CAROM__MAX_LANES) {
        drop_lane(worker, news.lane);
        if (news.present)
            lane_came(worker, &news, &fds);
    }
    if (carom__is_message(&news, length, CAROM__LEAVE, sizeof news.header))
        worker->leaving = true;
    carom__close_fds(&fds);
    return 0;
}

int carom__worker_news(struct carom_worker *worker)
{
    int rc;
    /* acquire: pairs with the host's release; its messages were sent before. Read before the
     * socket is drained, so that later news change it again */
    worker->change = atomic_load_explicit(&worker->directory->change, memory_order_acquire);
    do {
        rc = read_message(worker);
    } while (rc == 0 || rc == -EPROTO || rc == -EMFILE);
    /* relaxed: ordered by the load above */
    if (atomic_load_explicit(&worker->directory->state, memory_order_relaxed) == CAROM_STOPPING)
        worker->stopping = true;
    if (rc == -EAGAIN || worker->stopping || worker->leaving)
        return 0;
    if (rc == -ECONNRESET)
        return carom__fail(-EHOSTDOWN, "the service's host died");
    worker->change--; /* the news are still there */
    return carom__fail_errno(rc, "cannot hear the service's host");
}
