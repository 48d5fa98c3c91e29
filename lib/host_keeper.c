/* SPDX-License-Identifier: Apache-2.0
 *
 * host_keeper.c - what whoever keeps the workers alive says to the host and asks it: on any thread,
 * while the loop runs on its own. */
#include "error.h"
#include "host.h"
#include "wait.h"

#include <errno.h>
#include <string.h>

static bool is_worker_of(const struct carom__peer *peer, pid_t pid)
{
    return peer != NULL && pid > 0 && peer->pid == pid;
}

/* ---------------------------------------------------------------- ends */

void carom_host_note_end(struct carom_host *host, pid_t pid, const char *text)
{
    if (host->forks != carom__forks || text == NULL)
        return;
    size_t length = strnlen(text, CAROM__END_BYTES);
    if (length == CAROM__END_BYTES)
        length = carom__cut(text, CAROM__END_BYTES - 1);
    pthread_mutex_lock(&host->lock);
    for (uint32_t worker = 0; worker < host->max_workers; worker++) {
        struct carom__peer *peer = host->workers[worker];
        if (!is_worker_of(peer, pid))
            continue;
        memcpy(peer->end, text, length);
        peer->end[length] = '\0';
    }
    pthread_mutex_unlock(&host->lock);
}

/* The loop sends it, as soon as the socket has room. */
int carom_host_dismiss(struct carom_host *host, pid_t pid)
{
    int rc = carom__check_fork(host->forks), asked = 0;
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&host->lock);
    for (uint32_t worker = 0; worker < host->max_workers; worker++) {
        struct carom__peer *peer = host->workers[worker];
        if (!is_worker_of(peer, pid) || peer->socket < 0)
            continue;
        int watched = carom__host_watch_room(host, peer, true);
        if (watched == 0)
            peer->asked_to_leave = true;
        else
            rc = carom__fail_errno(watched, "cannot ask a worker to leave");
        asked += watched == 0;
    }
    pthread_mutex_unlock(&host->lock);
    return rc < 0 ? rc : asked;
}

/* ---------------------------------------------------------------- what waits */

static int64_t watch_first(struct carom__host_lane *lane, int64_t now_ns)
{
    uint64_t first = carom__lane_first_waiting(&lane->lane);
    if (first != lane->first_waiting)
        lane->first_seen_ns = now_ns;
    lane->first_waiting = first;
    return first != 0 ? now_ns - lane->first_seen_ns : 0;
}

static void look_at_lane(struct carom__host_lane *lane, int64_t now_ns,
                         struct carom_waiting *waiting)
{
    int64_t waited_ns = watch_first(lane, now_ns);
    waiting->calls += carom__lane_count_waiting(&lane->lane);
    if (waited_ns > waiting->oldest_ns)
        waiting->oldest_ns = waited_ns;
}

/* Only lanes with their ready bit can have work: the others cost nothing. */
void carom_host_waiting(struct carom_host *host, struct carom_waiting *waiting)
{
    const int64_t now_ns = carom__now_ns();
    *waiting = (struct carom_waiting){0};
    if (host->forks != carom__forks)
        return;
    pthread_mutex_lock(&host->lock);
    for (uint32_t word = 0; word < CAROM__LANE_WORDS; word++) {
        uint64_t ready = carom__bell_ready_word(host->bell, word);
        for (; ready != 0; ready &= ready - 1) {
            struct carom__peer *client =
                host->clients[word * 64 + (uint32_t)__builtin_ctzll(ready)];
            if (client != NULL)
                look_at_lane(client->lane, now_ns, waiting);
        }
    }
    pthread_mutex_unlock(&host->lock);
}

/* ---------------------------------------------------------------- how the service is */

static_assert(CAROM_DESCRIPTION_MAX < CAROM__DESCRIPTION_BYTES, "the longest text fits");

/* Sequence lock, for observers that copy meanwhile: they take only what lies between two equal even
 * versions. */
static void write_description(struct carom__directory *directory, const char *text, size_t length)
{
    /* relaxed: only the host writes it, one thread at a time */
    uint32_t version = atomic_load_explicit(&directory->description_version, memory_order_relaxed);
    /* relaxed: the fence orders it before the words; it pairs with the reader's acquire fence */
    atomic_store_explicit(&directory->description_version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* as above */
    /* relaxed: published by the even version below */
    atomic_store_explicit(&directory->description_bytes, (uint32_t)length, memory_order_relaxed);
    for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, text + at, length - at < sizeof word ? length - at : sizeof word);
        /* relaxed: published by the even version below */
        atomic_store_explicit(&directory->description[at / sizeof word], word,
                              memory_order_relaxed);
    }
    /* release: the words are complete; pairs with the reader's acquire of an even version */
    atomic_store_explicit(&directory->description_version, version + 2, memory_order_release);
}

static bool can_be_described(enum carom_service_state state)
{
    return state == CAROM_STARTING || state == CAROM_READY || state == CAROM_DEGRADED ||
           state == CAROM_FAILING || state == CAROM_DRAINING;
}

static void set_state(struct carom_host *host, enum carom_service_state state)
{
    _Atomic uint32_t *word = &host->directory->state;
    host->described = true;
    /* relaxed: only the host writes it */
    if (atomic_load_explicit(word, memory_order_relaxed) != CAROM_STOPPING)
        /* release: as in carom__host_count_peers */
        atomic_store_explicit(word, state, memory_order_release);
}

int carom_host_describe(struct carom_host *host, enum carom_service_state state, const char *text)
{
    const size_t length = text == NULL ? 0 : strlen(text);
    int rc = carom__check_fork(host->forks);
    if (rc < 0)
        return rc;
    if (!can_be_described(state))
        return carom__fail(-EINVAL, "state %d cannot be set: carom_host_stop says STOPPING",
                           (int)state);
    if (length > CAROM_DESCRIPTION_MAX)
        return carom__fail(-EMSGSIZE, "the description has %zu bytes, %d are allowed", length,
                           CAROM_DESCRIPTION_MAX);
    pthread_mutex_lock(&host->lock);
    write_description(host->directory, text == NULL ? "" : text, length);
    set_state(host, state);
    carom__host_changed(host);
    pthread_mutex_unlock(&host->lock);
    return 0;
}
