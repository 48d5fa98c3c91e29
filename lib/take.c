/* SPDX-License-Identifier: Apache-2.0
 *
 * take.c - how a worker takes calls: look, spin, park; and what it decides about each.
 *
 * It looks at the lane served last, then at every lane with a ready bit, for as long as spinning on
 * that paid recently; then it says "parked", looks once more, and sleeps on its own park word.
 *
 * Time. Reading the clock costs as much as the rest of a short call, so it is read
 *   - before a call whose deadline is less than FAR_NS away;
 *   - before and after a call that is timed for the statistics: every one while calls take longer
 *     than SHORT_NS, else every SAMPLE-th, counted SAMPLE times;
 *   - while spinning, every CAROM__HOT_POLLS looks.
 * Otherwise the clock of the last tick does, which is late by a tick at most and costs half. */
#include "worker.h"

#include "connection.h"
#include "error.h"
#include "stats.h"

#include <errno.h>
#include <stdio.h>

/** Calls taken from one lane before the others have their turn. */
#define BURST 16u
/** Fruitless looks after which an idle lane loses its ready bit and costs nothing more. */
#define EMPTY_LOOKS 4096u
/** A call this short is not worth two readings of the clock. */
#define SHORT_NS INT64_C(2000)
/** One of so many short calls is timed, for all of them. */
#define SAMPLE 16u
/** Deadlines nearer than this are judged by the exact clock. Twenty of the longest ticks, because a
 *  virtual machine may lose some. */
#define FAR_NS INT64_C(200000000)
/** Between two looks at the socket, and at lanes without a ready bit. */
#define SOCKET_LOOK_NS INT64_C(50000000)

/* ---------------------------------------------------------------- taking */

/* The timed call is over: counts it, and the short ones that it stands for. */
static void record_duration(struct carom_worker *worker)
{
    int64_t took_ns = worker->now_ns - worker->claimed_ns;
    uint64_t weight = worker->untimed + 1;
    carom__count(&worker->stats->busy_ns, (uint64_t)took_ns * weight);
    carom__count(&worker->stats->histogram[carom__bucket_of((uint64_t)took_ns)], weight);
    worker->claimed_ns = 0;
    worker->untimed = 0;
    worker->until_timed = took_ns < SHORT_NS ? SAMPLE - 1 : 0;
}

/* Decides whether this call is timed. */
static inline void start_timing(struct carom_worker *worker)
{
    if (CAROM__LIKELY(worker->until_timed > 0)) {
        worker->until_timed--;
        worker->untimed++;
        return;
    }
    worker->now_ns = worker->claimed_ns = carom__now_ns();
}

static bool is_far(const struct carom_worker *worker, int64_t deadline_ns)
{
    return deadline_ns >= worker->now_ns + FAR_NS;
}

static bool is_expired(struct carom_worker *worker, int64_t deadline_ns)
{
    if (is_far(worker, deadline_ns))
        return false;
    worker->now_ns = carom__now_ns();
    return deadline_ns <= worker->now_ns;
}

/* Which of this worker's methods a call is for; -1: none. */
static int method_of(const struct carom_worker *worker, uint32_t method)
{
    return method < CAROM__MAX_METHODS ? worker->method_index[method] : -1;
}

/* Answers a claimed call that no handler shall see. */
static void answer(struct carom_request *request, int status, const char *message)
{
    request->method = -1;
    request->open = true;
    if (message != NULL)
        carom_request_fail(request, status, "carom.UnknownMethod", message, NULL);
    else
        carom__request_finish(request, status, 0);
}

/* The call is this worker's to run. */
static inline bool hand_over(struct carom_request *request)
{
    struct carom_worker *worker = request->worker;
    request->open = true;
    start_timing(worker);
    carom__note_running(worker->stats, request->claim.method, worker->now_ns);
    return true;
}

/* Workers of one service may serve different methods, and clients may write any number. */
static void answer_unknown(struct carom_request *request)
{
    char message[CAROM__METHOD_NAME_BYTES + 128];
    const struct carom__directory *directory = request->worker->directory;
    const uint32_t method = request->claim.method;
    /* acquire: pairs with the host's release after it wrote the names */
    uint32_t count = atomic_load_explicit(&directory->method_count, memory_order_acquire);
    if (method < count && method < CAROM__MAX_METHODS)
        snprintf(message, sizeof message,
                 "this worker does not serve the method '%.*s', which another worker of the "
                 "service does",
                 (int)CAROM_METHOD_NAME_MAX, directory->methods[method].name);
    else
        snprintf(message, sizeof message, "the service has no method of number %u", method);
    answer(request, CAROM_UNIMPLEMENTED, message);
}

/* Answers a call that the client's library has made for itself. */
static void answer_uncounted(const struct carom_request *request)
{
    if (carom__lane_finish(&request->lane->lane, &request->claim, CAROM_OK, 0) < 0)
        carom__worker_poison(request->worker, request->lane);
}

/* Decides about a claimed call that is not quite the usual one. */
CAROM__RARE static bool accept_carefully(struct carom_worker *worker)
{
    struct carom_request *request = &worker->request;
    if (request->claim.method == CAROM__METHOD_TRIM) { /* in time or not: it counts nowhere */
        carom__request_trim(request);
        answer_uncounted(request);
        return false;
    }
    if (is_expired(worker, request->claim.deadline_ns)) {
        carom__count(&worker->stats->expired, 1);
        answer(request, CAROM_DEADLINE_EXCEEDED, NULL);
        return false;
    }
    request->method = method_of(worker, request->claim.method);
    if (request->method < 0) {
        answer_unknown(request);
        return false;
    }
    return hand_over(request);
}

/* Decides about a claimed call. True: it is the caller's to run. */
static inline bool accept_call(struct carom_worker *worker)
{
    struct carom_request *request = &worker->request;
    request->method = method_of(worker, request->claim.method);
    if (CAROM__UNLIKELY(request->method < 0 || !is_far(worker, request->claim.deadline_ns)))
        return accept_carefully(worker);
    return hand_over(request);
}

/* Lets an idle lane drop out of the looks. If work came meanwhile the bit is set again. */
static bool retire(struct carom_worker *worker, struct carom__worker_lane *mapped)
{
    mapped->empty_looks = 0;
    carom__bell_clear_ready(worker->bell, mapped->id);
    if (!carom__lane_has_work(&mapped->lane))
        return false;
    carom__bell_ready(worker->bell, mapped->id);
    return true;
}

/* Three cache lines of a call are at its client: the slot, the request's first, the reply's first.
 * Asking for them together costs one journey instead of three in a row; asking for those of the
 * call behind hides the journey altogether. */
static void prefetch(const struct carom__worker_lane *mapped, uint64_t cell)
{
    uint32_t slot = carom__cell_slot(cell) & (mapped->lane.geometry.slots - 1);
    carom__prefetch_write(&mapped->lane.slots[slot]);
    __builtin_prefetch(mapped->blocks[slot].request);
    carom__prefetch_write(mapped->blocks[slot].reply);
}

/* Asks for the lines of the call after the next one. */
static inline void prefetch_behind(const struct carom__worker_lane *mapped, uint64_t position)
{
    uint64_t cell;
    if (carom__ring_read(&mapped->lane.ring, position + 1, &cell) &&
        carom__ring_read(&mapped->lane.ring, position + 2, &cell))
        prefetch(mapped, cell);
}

/* The cell under head was stale, or nonsense. */
CAROM__RARE static bool claim_carefully(struct carom_worker *worker,
                                        struct carom__worker_lane *mapped, int rc)
{
    if (rc == 0)
        rc = carom__lane_claim(&mapped->lane, worker->owner, &worker->request.claim);
    if (rc > 0)
        return accept_call(worker);
    if (rc < 0)
        carom__worker_poison(worker, mapped);
    return false;
}

/* Takes the call under the head of a lane. True: worker->request is a call to run. */
static inline bool claim(struct carom_worker *worker, struct carom__worker_lane *mapped,
                         uint64_t position, uint64_t cell)
{
    prefetch(mapped, cell);
    mapped->empty_looks = 0;
    worker->request.lane = mapped;
    int rc = carom__lane_claim_cell(&mapped->lane, worker->owner, cell, &worker->request.claim);
    if (CAROM__LIKELY(rc >= 0))
        carom__ring_advance(&mapped->lane.ring, position);
    if (CAROM__UNLIKELY(rc <= 0))
        return claim_carefully(worker, mapped, rc);
    prefetch_behind(mapped, position);
    return accept_call(worker);
}

/* Tries one lane. True: worker->request is a call to run. */
static inline bool try_lane(struct carom_worker *worker, uint32_t lane)
{
    struct carom__worker_lane *mapped = worker->lanes[lane];
    uint64_t position, cell;
    if (mapped == NULL || mapped->poisoned)
        return false;
    if (carom__ring_peek(&mapped->lane.ring, &position, &cell))
        return claim(worker, mapped, position, cell);
    if (++mapped->empty_looks >= EMPTY_LOOKS)
        retire(worker, mapped);
    return false;
}

/* Tries the ready lanes from `from` up to (not including) `to`. */
static bool try_range(struct carom_worker *worker, uint32_t from, uint32_t to)
{
    for (uint32_t word = from / 64; word * 64 < to; word++) {
        uint64_t ready = carom__bell_ready_word(worker->bell, word);
        if (word == from / 64)
            ready &= ~UINT64_C(0) << (from % 64);
        for (; ready != 0; ready &= ready - 1) {
            uint32_t lane = word * 64 + (uint32_t)__builtin_ctzll(ready);
            if (lane >= to)
                return false;
            if (try_lane(worker, lane)) {
                worker->current = lane;
                worker->burst = 1;
                return true;
            }
        }
    }
    return false;
}

/* Whether a lane other than the current one has a ready bit. */
static bool others_ready(const struct carom_worker *worker)
{
    for (uint32_t word = 0; word < worker->lane_words; word++) {
        uint64_t own = word == worker->current / 64 ? UINT64_C(1) << (worker->current % 64) : 0;
        if (carom__bell_ready_word(worker->bell, word) & ~own)
            return true;
    }
    return false;
}

/* One look at everything that may have work: a burst from one lane, then the next in turn. */
static inline bool look(struct carom_worker *worker)
{
    if (worker->burst < BURST && try_lane(worker, worker->current)) {
        worker->burst++;
        return true;
    }
    worker->burst = 0;
    if (!others_ready(worker))
        return try_lane(worker, worker->current);
    return try_range(worker, worker->current + 1, worker->lane_words * 64) ||
           try_range(worker, 0, worker->current + 1);
}

static bool has_news(struct carom_worker *worker)
{
    /* relaxed: a hint; carom__worker_news acquires */
    return atomic_load_explicit(&worker->directory->change, memory_order_relaxed) != worker->change;
}

static bool told_to_stop(struct carom_worker *worker)
{
    /* relaxed: a flag; before parking it is ordered by the fence of carom__bell_park */
    return worker->stopping || worker->leaving ||
           atomic_load_explicit(&worker->stop, memory_order_relaxed);
}

/* The worker takes no call any more. It may have been woken for one: passes that on. */
CAROM__RARE static int stop_taking(const struct carom_worker *worker)
{
    carom__bell_wake(worker->bell, 1);
    if (worker->stopping)
        return carom__fail(-ESHUTDOWN, "the service is stopping");
    if (worker->leaving)
        return carom__fail(-ESHUTDOWN, "the host asked this worker to leave");
    return carom__fail(-ESHUTDOWN, "the worker was told to stop");
}

/* Ready bits are hints, in memory that every client of the service can write: one that somebody has
 * cleared would leave a call of another client waiting until that client's next. Not while a lane
 * with work has its bit, so this repairs what is wrong and changes nothing else. Whoever cleared
 * the bit may do so again at once: the lane is the next to be looked at whatever becomes of it. */
CAROM__RARE static void repair_ready_bits(struct carom_worker *worker)
{
    const uint32_t lanes = worker->lane_words * 64, before = worker->current;
    for (uint32_t step = lanes; step > 0; step--) { /* ends with the one behind the current */
        const uint32_t lane = (before + step) % lanes;
        struct carom__worker_lane *mapped = worker->lanes[lane];
        if (mapped == NULL || mapped->poisoned || carom__bell_is_ready(worker->bell, lane) ||
            !carom__lane_has_work(&mapped->lane))
            continue;
        carom__bell_set_ready(worker->bell, lane);
        worker->current = lane;
        worker->burst = 0;
    }
}

/* What a worker looks at now and then: whether the host lives, and whether a lane was forgotten. */
CAROM__RARE static int look_around(struct carom_worker *worker)
{
    worker->next_look_ns = worker->now_ns + SOCKET_LOOK_NS;
    repair_ready_bits(worker);
    return carom__host_is_gone(&worker->connection)
               ? carom__fail(-EHOSTDOWN, "the service's host died")
               : 0;
}

/* What a worker looks at beside its lanes. */
static int check_orders(struct carom_worker *worker)
{
    if (told_to_stop(worker))
        return stop_taking(worker);
    if (has_news(worker)) {
        int rc = carom__worker_news(worker);
        if (rc < 0)
            return rc;
        if (told_to_stop(worker))
            return stop_taking(worker);
    }
    return worker->now_ns < worker->next_look_ns ? 0 : look_around(worker);
}

/* One look at everything. 1: worker->request is a call to run; 0; or an error. */
static inline int look_once(struct carom_worker *worker)
{
    int rc = check_orders(worker);
    return rc < 0 ? rc : look(worker);
}

/* After a fruitless look: looks on until something is there or the spin budget, at most limit_ns,
 * is used up. */
__attribute__((noinline)) static int look_spinning(struct carom_worker *worker, int64_t limit_ns,
                                                   bool last_chance)
{
    struct carom__spinning wait;
    if (!carom__spin_begin(&worker->spin, &wait, limit_ns))
        return -EAGAIN;
    while (carom__spin_again(&wait)) {
        if (wait.now_ns > worker->now_ns)
            worker->now_ns = wait.now_ns;
        int rc = look_once(worker);
        if (rc == 0)
            continue;
        if (rc > 0)
            carom__spin_hit(&worker->spin, &wait);
        return rc < 0 ? rc : 0;
    }
    if (last_chance)
        carom__spin_miss(&worker->spin, &wait);
    return -EAGAIN;
}

/* Whether there is a reason not to sleep. After carom__bell_park. */
static bool must_stay_awake(struct carom_worker *worker)
{
    if (told_to_stop(worker))
        return true;
    for (uint32_t word = 0; word < worker->lane_words; word++) {
        uint64_t ready = carom__bell_ready_word(worker->bell, word);
        for (; ready != 0; ready &= ready - 1) {
            struct carom__worker_lane *mapped =
                worker->lanes[word * 64 + (uint32_t)__builtin_ctzll(ready)];
            if (mapped != NULL && !mapped->poisoned &&
                (carom__lane_has_work(&mapped->lane) || retire(worker, mapped)))
                return true;
        }
    }
    /* Last: a ready bit that was just cleared may have been that of a new lane of the same id. */
    return has_news(worker);
}

/* The time of the last tick, unless the exact one is known of a later moment: a worker's time does
 * not go back, and no call looks older than the one before it. */
static inline void read_coarse_clock(struct carom_worker *worker)
{
    int64_t now_ns = carom__coarse_now_ns();
    if (now_ns > worker->now_ns)
        worker->now_ns = now_ns;
}

/* Sleeps until woken, at most until deadline_ns and one slice. 0 or -EINTR. */
__attribute__((noinline)) static int park(struct carom_worker *worker, int64_t deadline_ns)
{
    int rc = 0;
    uint32_t word = carom__bell_park_word(worker->bell, worker->id);
    carom__bell_park(worker->bell, worker->id);
    if (!must_stay_awake(worker)) {
        int64_t left_ns = deadline_ns - worker->now_ns;
        rc = carom__futex_wait(&worker->bell->parks[worker->id].word, word,
                               left_ns < CAROM__PARK_SLICE_NS ? left_ns : CAROM__PARK_SLICE_NS);
        worker->now_ns = carom__now_ns();
        worker->until_timed = 0;
    } else { /* a client may keep it awake for nothing: its own time runs out all the same */
        read_coarse_clock(worker);
    }
    carom__bell_unpark(worker->bell, worker->id);
    return rc == -EINTR ? carom__fail(rc, "a signal arrived") : 0;
}

CAROM__RARE static int cannot_take(const struct carom_worker *worker)
{
    int rc = carom__check_fork(worker->forks);
    return rc < 0 ? rc : carom__fail(-EBUSY, "the request before is not finished");
}

static inline int start_taking(struct carom_worker *worker)
{
    if (CAROM__UNLIKELY(worker->forks != carom__forks || worker->request.open))
        return cannot_take(worker);
    if (worker->claimed_ns != 0) {
        worker->now_ns = carom__now_ns();
        record_duration(worker);
    } else {
        read_coarse_clock(worker);
    }
    return 0;
}

int carom_worker_poll(struct carom_worker *worker, int64_t spin_ns, struct carom_request **request)
{
    *request = &worker->request;
    int rc = start_taking(worker);
    if (rc == 0)
        rc = look_once(worker);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    return look_spinning(worker, spin_ns, false);
}

/* Nothing was there at the first look. */
__attribute__((noinline)) static int await(struct carom_worker *worker, int64_t timeout_ns)
{
    int64_t deadline_ns = INT64_MAX;
    if (timeout_ns >= 0)
        worker->now_ns = carom__now_ns();
    if (timeout_ns >= 0 && __builtin_add_overflow(worker->now_ns, timeout_ns, &deadline_ns))
        deadline_ns = INT64_MAX;
    for (;;) {
        int rc = look_spinning(worker, deadline_ns - worker->now_ns, true);
        if (rc != -EAGAIN)
            return rc;
        if (worker->now_ns >= deadline_ns)
            return carom__fail(-ETIMEDOUT, "no call came in time");
        rc = park(worker, deadline_ns);
        if (rc == 0)
            rc = look_once(worker);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
}

int carom_worker_take(struct carom_worker *worker, int64_t timeout_ns,
                      struct carom_request **request)
{
    *request = &worker->request;
    int rc = start_taking(worker);
    if (rc == 0)
        rc = look_once(worker);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    return await(worker, timeout_ns);
}

int carom_worker_run(struct carom_worker *worker)
{
    struct carom_request *request;
    for (;;) {
        int rc = carom_worker_take(worker, CAROM_FOREVER, &request);
        if (rc == -EINTR)
            continue;
        if (rc < 0)
            return rc == -ESHUTDOWN ? 0 : rc;
        const struct carom_method *method = &worker->methods[request->method];
        if (method->handler != NULL)
            method->handler(method->context, request);
        if (request->open)
            carom_request_fail(request, CAROM_INTERNAL, "carom.Unfinished",
                               "the handler returned without a reply", NULL);
    }
}

void carom_worker_stop(struct carom_worker *worker)
{
    if (worker->forks != carom__forks) /* a child: it has no bell, and its parent goes on */
        return;
    /* seq_cst: said before the park word changes; pairs with the look after carom__bell_park */
    atomic_store_explicit(&worker->stop, true, memory_order_seq_cst);
    carom__bell_wake_worker(worker->bell, worker->id);
}

/* No carom__check_fork: its sentence is not async-signal-safe. A child has no record. */
int carom_worker_running(const struct carom_worker *worker, int64_t *since_ns)
{
    int64_t since = 0;
    int32_t method = worker->forks == carom__forks ? carom__running(worker->stats, &since) : -1;
    if (since_ns != NULL)
        *since_ns = since;
    return method < 0 ? -1 : worker->method_index[method];
}

int carom_worker_id(const struct carom_worker *worker)
{
    return (int)worker->id;
}
