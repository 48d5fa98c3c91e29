/* SPDX-License-Identifier: Apache-2.0
 *
 * observer.c - read-only view of a service for tools: its state, peers, methods, statistics. */
#include "carom.h"
#include "connection.h"
#include "error.h"
#include "segment.h"
#include "stats.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct carom_observer {
    struct carom__directory *directory;
    struct carom__statistics *statistics;
    struct carom__connection connection;
    unsigned forks;
};

static int open_observer(struct carom_observer *observer, const char *service)
{
    struct carom__hello hello = {.role = CAROM__OBSERVER};
    struct carom__welcome welcome;
    struct carom__fds fds;
    int64_t now_ns = carom_now_ns();
    int rc = observer->connection.socket = carom__connect(service, now_ns);
    if (rc >= 0)
        rc = carom__shake_hands(&observer->connection, &hello, sizeof hello, -1, now_ns, &welcome,
                                &fds, 2);
    if (rc < 0)
        return rc;
    observer->directory = carom__segment_map(fds.fd[0], sizeof *observer->directory, false);
    if (observer->directory != NULL)
        observer->statistics = carom__segment_map(fds.fd[1], sizeof *observer->statistics, false);
    if (observer->statistics == NULL)
        rc = carom__fail_errno(-errno, "cannot map the service's memory");
    carom__close_fds(&fds);
    return rc;
}

int carom_observer_open(const char *service, struct carom_observer **observer)
{
    *observer = NULL;
    int rc = carom__count_forks();
    if (rc < 0)
        return rc;
    struct carom_observer *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return carom__fail(-ENOMEM, "no memory for an observer");
    opened->connection = (struct carom__connection){-1, -1};
    opened->forks = carom__forks;
    rc = open_observer(opened, service);
    if (rc < 0) {
        carom_observer_close(opened);
        return rc;
    }
    *observer = opened;
    return 0;
}

void carom_observer_close(struct carom_observer *observer)
{
    if (observer == NULL)
        return;
    if (observer->forks == carom__forks) {
        carom__segment_unmap(observer->directory, sizeof *observer->directory);
        carom__segment_unmap(observer->statistics, sizeof *observer->statistics);
    }
    carom__disconnect(&observer->connection);
    free(observer);
}

int carom_observer_service(struct carom_observer *observer, struct carom_service_info *info)
{
    struct carom__directory *directory = observer->directory;
    int rc = carom__check_fork(observer->forks);
    if (rc < 0)
        return rc;
    if (carom__host_is_gone(&observer->connection))
        return carom__fail(-EHOSTDOWN, "the service's host died");
    /* relaxed, all of them: a picture of the moment, each field by itself */
    *info = (struct carom_service_info){
        .state = (int)atomic_load_explicit(&directory->state, memory_order_relaxed),
        .host_pid = atomic_load_explicit(&directory->host_pid, memory_order_relaxed),
        .method_count = atomic_load_explicit(&directory->method_count, memory_order_relaxed),
        /* relaxed: as above */
        .worker_count = atomic_load_explicit(&directory->worker_count, memory_order_relaxed),
        .client_count = atomic_load_explicit(&directory->client_count, memory_order_relaxed),
        .started_ns = atomic_load_explicit(&directory->started_ns, memory_order_relaxed),
    };
    memcpy(info->name, directory->service, sizeof info->name - 1);
    return 0;
}

/* Copies an entry; false when nobody is there whom tools count. */
static bool read_peer(const struct carom__peer_entry *entry, uint32_t id, struct carom_peer *peer,
                      int64_t *joined_ns)
{
    /* acquire: pairs with the host's release */
    if (atomic_load_explicit(&entry->present, memory_order_acquire) != CAROM__PRESENT)
        return false;
    peer->id = (int32_t)id;
    /* relaxed: published by `present` */
    peer->pid = atomic_load_explicit(&entry->pid, memory_order_relaxed);
    peer->uid = atomic_load_explicit(&entry->uid, memory_order_relaxed);
    *joined_ns = atomic_load_explicit(&entry->joined_ns, memory_order_relaxed);
    return true;
}

static void read_stats(const struct carom__worker_stats *stats, struct carom_worker_info *info)
{
    /* relaxed: a picture of the moment */
    info->calls = atomic_load_explicit(&stats->calls, memory_order_relaxed);
    info->errors = atomic_load_explicit(&stats->errors, memory_order_relaxed);
    info->expired = atomic_load_explicit(&stats->expired, memory_order_relaxed);
    info->busy_ns = atomic_load_explicit(&stats->busy_ns, memory_order_relaxed);
    info->handler_p50_ns = carom__quantile_ns(stats->histogram, 0.5);
    info->handler_p99_ns = carom__quantile_ns(stats->histogram, 0.99);
    info->running_method = carom__running(stats, &info->running_since_ns);
}

int carom_observer_workers(struct carom_observer *observer, struct carom_worker_info *infos,
                           size_t capacity)
{
    int count = carom__check_fork(observer->forks);
    if (count < 0)
        return count;
    for (uint32_t id = 0; id < CAROM__MAX_WORKERS; id++) {
        struct carom_worker_info info = {0};
        if (!read_peer(&observer->directory->workers[id], id, &info.peer, &info.joined_ns))
            continue;
        read_stats(&observer->statistics->workers[id], &info);
        if ((size_t)count < capacity)
            infos[count] = info;
        count++;
    }
    return count;
}

int carom_observer_clients(struct carom_observer *observer, struct carom_client_info *infos,
                           size_t capacity)
{
    int count = carom__check_fork(observer->forks);
    if (count < 0)
        return count;
    for (uint32_t id = 0; id < CAROM__MAX_LANES; id++) {
        struct carom_client_info info = {0};
        if (!read_peer(&observer->directory->lanes[id], id, &info.peer, &info.joined_ns))
            continue;
        if ((size_t)count < capacity)
            infos[count] = info;
        count++;
    }
    return count;
}

/* ---------------------------------------------------------------- description */

#define ATTEMPTS 1000 /* writing takes microseconds; a writer without CPU gets ours by the yield */

struct description {
    uint32_t bytes;
    uint64_t words[CAROM__DESCRIPTION_BYTES / 8];
};

/* Copies what lies there; false when the host wrote meanwhile. */
static bool try_copy(const struct carom__directory *directory, struct description *copy)
{
    const _Atomic uint32_t *version = &directory->description_version;
    /* acquire: pairs with the host's release of an even version; the words are read after it */
    uint32_t before = atomic_load_explicit(version, memory_order_acquire);
    if (before % 2 != 0)
        return false;
    /* relaxed, and the words below: the fence orders them before the second look */
    copy->bytes = atomic_load_explicit(&directory->description_bytes, memory_order_relaxed);
    for (size_t i = 0; i * 8 < copy->bytes && i < CAROM__DESCRIPTION_BYTES / 8; i++)
        /* relaxed: as above */
        copy->words[i] = atomic_load_explicit(&directory->description[i], memory_order_relaxed);
    /* acquire: pairs with the host's release fence: a word of a later version shows that version */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: ordered by the fence */
    return atomic_load_explicit(version, memory_order_relaxed) == before;
}

int carom_observer_description(struct carom_observer *observer, char *text, size_t capacity_bytes)
{
    struct description copy;
    int rc = carom__check_fork(observer->forks);
    if (rc < 0)
        return rc;
    for (int i = 0; !try_copy(observer->directory, &copy); i++) {
        if (i == ATTEMPTS)
            return carom__fail(-EAGAIN, "the description changed all the time");
        sched_yield();
    }
    if (copy.bytes > CAROM_DESCRIPTION_MAX)
        return carom__fail(-EPROTO, "the host wrote a description of %u bytes", copy.bytes);
    if (copy.bytes >= capacity_bytes)
        return carom__fail(-ENOBUFS,
                           "the description has %u bytes and a NUL: give it a buffer of "
                           "CAROM_DESCRIPTION_MAX + 1 bytes",
                           copy.bytes);
    memcpy(text, copy.words, copy.bytes);
    text[copy.bytes] = '\0';
    return (int)copy.bytes;
}

const char *carom_observer_method(struct carom_observer *observer, uint32_t method)
{
    if (carom__check_fork(observer->forks) < 0 || method >= CAROM__MAX_METHODS)
        return "";
    return observer->directory->methods[method].name;
}
