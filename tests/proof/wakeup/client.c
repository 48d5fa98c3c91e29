/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - the client of a scene. None of its calls has a deadline and it never spins, so each of
 * its waits ends only if somebody wakes it. */
#include "wakeup.h"

#include "carom.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define SECOND INT64_C(1000000000)

/* One thread of a client. */
struct player {
    pthread_t thread, canceller;
    struct carom_client *client;
    const struct scene *scene;
    struct seat *seat;
    uint64_t seed;
    uint64_t sequence;
    int method;
    pthread_mutex_t lock;         /* CANCELLED: of the next line */
    struct carom_call *cancelled; /* the call to cancel; NULL: none */
    bool over;
};

static bool enough(void)
{
    return atomic_load_explicit(&board->enough, memory_order_relaxed) != 0;
}

static struct carom_client *open_client(const struct scene *scene)
{
    const struct carom_client_options options = {
        .size = sizeof options,
        .slots = scene->slots,
        .request_block_bytes = 4096,
        .reply_block_bytes = 4096,
        .no_spin = true,
        .retry_pause_ns = 1000 * SECOND,
        .retry_pause_most_ns = 1000 * SECOND,
        .reconnect_timeout_ns = -1,
    };
    struct carom_client *client;
    if (carom_client_open(SERVICE, 10 * SECOND, &options, &client) < 0)
        complain("a client does not open: %s", carom_error_detail());
    return client;
}

static int find_method(struct carom_client *client, const char *name)
{
    int method = carom_client_method(client, name);
    if (method < 0)
        complain("no method %s: %s", name, carom_error_detail());
    return method;
}

static struct carom_call *submit(struct player *player, unsigned flags)
{
    struct carom_call *call;
    int rc = carom_call_begin(player->client, player->method, CAROM_FOREVER, flags, &call);
    if (rc < 0)
        complain("a call does not begin: %d %s", rc, carom_error_detail());
    player->sequence += 2;
    memcpy(carom_call_request(call, NULL), &player->sequence, sizeof player->sequence);
    rc = carom_call_submit(call, sizeof player->sequence);
    if (rc < 0)
        complain("a call is not submitted: %d %s", rc, carom_error_detail());
    return call;
}

/* Looks at what came back. sequence 0: of another thread's call. */
static void check_reply(struct carom_call *call, int outcome, uint64_t sequence)
{
    size_t bytes = 0;
    uint64_t reply = 0;
    if (outcome != CAROM_OK)
        complain("a call ended with %d: %s", outcome, carom_error_detail());
    const void *data = carom_call_reply(call, &bytes);
    if (bytes != sizeof reply)
        complain("a reply has %zu bytes", bytes);
    memcpy(&reply, data, sizeof reply);
    if (sequence != 0 && reply != sequence)
        complain("the reply of call %llu is that of %llu", (unsigned long long)sequence,
                 (unsigned long long)reply);
}

static void play_synchronous(struct player *player)
{
    struct carom_call *call = submit(player, 0);
    check_reply(call, carom_call_wait(call), player->sequence);
    carom_call_end(call);
    done_one(player->seat);
}

/* Each thread takes as many as it gives, so that there is always one to wait for. */
static void play_notified(struct player *player)
{
    struct carom_call *call;
    const unsigned window = 1 + (unsigned)(delays_random() >> 60 & 1);
    for (unsigned i = 0; i < window; i++)
        submit(player, CAROM_NOTIFY);
    for (unsigned i = 0; i < window; i++) {
        int rc = carom_client_next(player->client, CAROM_FOREVER, &call);
        if (rc < 0)
            complain("no next call: %d %s", rc, carom_error_detail());
        check_reply(call, carom_call_poll(call), 0);
        carom_call_end(call);
        done_one(player->seat);
    }
}

static void play_abandoning(struct player *player)
{
    if ((delays_random() >> 60 & 3) != 0) {
        play_synchronous(player);
        return;
    }
    carom_call_end(submit(player, 0));
    done_one(player->seat);
}

static bool is_behind(const struct seat *seat, uint64_t progress)
{
    return seat->plays && atomic_load_explicit(&seat->progress, memory_order_relaxed) < progress;
}

static void play_round(struct player *player)
{
    play_synchronous(player);
    const uint64_t round = atomic_load_explicit(&player->seat->progress, memory_order_relaxed);
    for (unsigned i = 0; i < SEATS; i++)
        while (is_behind(&board->seats[i], round) && !enough())
            sched_yield();
}

static void offer(struct player *player, struct carom_call *call)
{
    pthread_mutex_lock(&player->lock);
    player->cancelled = call;
    pthread_mutex_unlock(&player->lock);
}

static void play_cancelled(struct player *player)
{
    struct carom_call *call = submit(player, 0);
    offer(player, call);
    int outcome = carom_call_wait(call);
    /* a call that fails after it was cancelled is not made again */
    if (outcome != CAROM_CANCELLED &&
        !(outcome == CAROM_UNAVAILABLE && player->scene->play == PAUSED))
        complain("a cancelled call ended with %d: %s", outcome, carom_error_detail());
    offer(player, NULL);
    carom_call_end(call);
    done_one(player->seat);
}

/* Comes once, as the first call of a connection, for as many as there are. */
static void play_coming(struct player *player)
{
    const unsigned calls = (unsigned)(delays_random() >> 60 & 3);
    player->client = open_client(player->scene);
    player->method = find_method(player->client, "echo");
    for (unsigned i = 0; i <= calls; i++)
        play_synchronous(player);
    carom_client_close(player->client);
}

static void play(struct player *player)
{
    switch (player->scene->play) {
    case SYNCHRONOUS:
    case LEAVING:
        play_synchronous(player);
        break;
    case NOTIFIED:
        play_notified(player);
        break;
    case ABANDONING:
        play_abandoning(player);
        break;
    case CANCELLED:
    case PAUSED:
        play_cancelled(player);
        break;
    case ROUNDS:
        play_round(player);
        break;
    case COMING:
        play_coming(player);
        break;
    }
}

static void *player_main(void *argument)
{
    struct player *player = argument;
    delays_begin(player->seat, player->seed);
    atomic_store_explicit(&player->seat->calling, 1, memory_order_relaxed);
    while (!enough())
        play(player);
    atomic_store_explicit(&player->seat->calling, 0, memory_order_relaxed);
    return NULL;
}

/* The second thread of a player. */
static void *canceller_main(void *argument)
{
    struct player *player = argument;
    bool over = false;
    delays_begin(player->seat + player->scene->threads, ~player->seed);
    while (!over) {
        nanosleep(&(struct timespec){0, (long)(delays_random() >> 47)}, NULL);
        pthread_mutex_lock(&player->lock);
        if (player->cancelled != NULL)
            carom_call_cancel(player->cancelled);
        over = player->over;
        pthread_mutex_unlock(&player->lock);
    }
    return NULL;
}

static void start(pthread_t *thread, void *(*main)(void *), void *argument)
{
    if (pthread_create(thread, NULL, main, argument) != 0)
        complain("no thread: %s", strerror(errno));
}

static void begin_player(struct player *player)
{
    pthread_mutex_init(&player->lock, NULL);
    start(&player->thread, player_main, player);
    if (has_cancellers(player->scene))
        start(&player->canceller, canceller_main, player);
}

static void end_player(struct player *player)
{
    pthread_join(player->thread, NULL);
    if (!has_cancellers(player->scene))
        return;
    pthread_mutex_lock(&player->lock);
    player->over = true;
    pthread_mutex_unlock(&player->lock);
    pthread_join(player->canceller, NULL);
}

int client_main(const struct scene *scene, struct seat *seats, uint64_t seed)
{
    struct player players[SEATS] = {0};
    struct carom_client *client = NULL;
    int method = 0;
    delays_begin(NULL, seed);
    if (scene->play != COMING) {
        client = open_client(scene);
        method = find_method(client, scene->play == CANCELLED ? "hold"
                                     : scene->play == PAUSED  ? "refuse"
                                                              : "echo");
    }
    for (unsigned i = 0; i < scene->threads; i++) {
        players[i] = (struct player){.client = client, .scene = scene, .seat = &seats[i]};
        players[i].seed = seed + UINT64_C(1000) * (i + 1);
        players[i].sequence = i & 1;
        players[i].method = method;
        begin_player(&players[i]);
    }
    for (unsigned i = 0; i < scene->threads; i++)
        end_player(&players[i]);
    carom_client_close(client);
    return 0;
}
