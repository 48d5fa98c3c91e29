/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - `client SERVICE LEDGER FIRST_STREAM THREADS CONNECTIONS HEAVY SEED`: makes every call
 * of so many streams, one per thread, and checks every reply. Each connection carries its share of
 * them. Of 1000 runs of calls HEAVY have many large ones, whose memory is given back while others
 * are on their way.
 *
 * A thread changes its manner every some dozens of calls: one by one, several at a time with
 * CAROM_NOTIFY, carom_invoke, or carelessly, which is with deadlines that pass, cancelled and left
 * behind. What became of each call goes into the ledger; anything that cannot be right ends the
 * program. */
#include "message.h"

#include "carom.h"
#include "proof.h"

#include <errno.h>
#include <pthread.h>

#define SECOND INT64_C(1000000000)
#define SLOTS 64u
#define WINDOW 16u
#define LONGEST_RUN 256u /* calls in one manner */
#define HEAVY_RUN 48u

/* What a call asks for. With NOTIFY another thread may get the reply. */
struct plan {
    struct message message; /* length 0 to 31: it is a short one */
    uint32_t key;           /* of a short request and of a short reply */
    bool used;
};

struct streamer {
    pthread_t thread;
    uint32_t stream;
    uint64_t random, next, end; /* numbers of calls */
    bool is_heavy;
    void *request, *reply;    /* buffers of carom_invoke */
    struct plan plans[SLOTS]; /* of calls with NOTIFY: those in flight */
};

static struct streamer streamers[STREAMS_MOST];

static struct ledger ledger;
static struct carom_client *client;
static int method;
static uint64_t heavy; /* runs of 1000 */

/* ---------------------------------------------------------------- what to ask for */

static uint64_t between(uint64_t *random, uint64_t least, uint64_t most)
{
    return least + proof_random(random) % (most - least + 1);
}

/* Mostly short, as calls are; up to 16 MiB, rarely. */
static uint64_t choose_bytes(uint64_t *random)
{
    const uint64_t lot = proof_random(random) % 1000000;
    return lot < 20000    ? 0
           : lot < 60000  ? between(random, 1, SHORT_BYTES - 1)
           : lot < 984000 ? between(random, SHORT_BYTES, 512)
           : lot < 999000 ? between(random, 512, 8192)
           : lot < 999900 ? between(random, 8192, 65536)
           : lot < 999980 ? between(random, 65536, 1 << 20)
           : lot < 999996 ? between(random, 1 << 20, 3 << 20)
           : lot < 999999 ? between(random, 3 << 20, LARGEST_BYTES)
                          : LARGEST_BYTES;
}

/* Of a heavy run every eighth is a little larger than what a block keeps. */
static uint64_t choose_for(struct streamer *self)
{
    if (self->is_heavy && proof_random(&self->random) % 8 == 0)
        return between(&self->random, 15 << 16, 24 << 16);
    return choose_bytes(&self->random);
}

static struct plan make_plan(struct streamer *self)
{
    struct plan plan = {.message = {.stream = self->stream, .sequence = self->next++}};
    plan.message.length_bytes = choose_for(self);
    plan.message.reply_bytes = choose_for(self);
    if (plan.message.sequence == 1000) /* each stream has at least one of the largest calls */
        plan.message.length_bytes = plan.message.reply_bytes = LARGEST_BYTES;
    if (plan.message.length_bytes < SHORT_BYTES)
        plan.message.reply_bytes = plan.message.length_bytes == 0 ? 0 : self->random % SHORT_BYTES;
    return plan;
}

static void write_request(struct plan *plan, void *at)
{
    if (plan->message.length_bytes >= SHORT_BYTES) {
        message_write(&ledger, at, &plan->message);
        memcpy(&plan->key, at, sizeof plan->key); /* its check */
        return;
    }
    short_write(at, plan->message.length_bytes, (uint32_t)plan->message.reply_bytes);
    plan->key = short_key(at, plan->message.length_bytes);
}

/* ---------------------------------------------------------------- what came of it */

_Noreturn static void wrong(const struct plan *plan, const char *what, long long value)
{
    soak_fail("%s (%lld): stream %u, call %llu, %llu bytes, reply of %llu; %s", what, value,
              plan->message.stream, (unsigned long long)plan->message.sequence,
              (unsigned long long)plan->message.length_bytes,
              (unsigned long long)plan->message.reply_bytes, carom_error_detail());
}

static void note(const struct plan *plan, enum outcome outcome)
{
    uint8_t *at =
        &ledger.outcomes[plan->message.stream * ledger.books->calls + plan->message.sequence];
    if (*at != NOT_MADE)
        wrong(plan, "a call ends twice", *at);
    *at = (uint8_t)(outcome == REPLIED && plan->message.length_bytes < SHORT_BYTES ? REPLIED_SHORT
                                                                                   : outcome);
}

static void check_reply(const struct plan *plan, const void *reply, size_t bytes)
{
    struct message got;
    if (bytes != plan->message.reply_bytes)
        wrong(plan, "a reply has another length", (long long)bytes);
    if (bytes < SHORT_BYTES) {
        if (!short_matches(reply, bytes, plan->key))
            wrong(plan, "a short reply is damaged", 0);
    } else if (!message_read(reply, bytes, &got)) {
        wrong(plan, "a reply is damaged", (long long)got.sequence);
    } else if (got.stream != plan->message.stream || got.sequence != plan->message.sequence) {
        wrong(plan, "a reply is that of another call", (long long)got.sequence);
    }
    note(plan, REPLIED);
}

/* A call that had nothing in its way. */
static void conclude(struct carom_call *call, const struct plan *plan, int status)
{
    size_t bytes = 0;
    struct carom_error error;
    if (status > 0 && carom_call_error(call, &error) == 0)
        wrong(plan, error.message, status);
    if (status != CAROM_OK)
        wrong(plan, "a call failed", status);
    const void *reply = carom_call_reply(call, &bytes);
    check_reply(plan, reply, bytes);
}

/* A call that was cancelled or had little time. */
static void conclude_careless(struct carom_call *call, const struct plan *plan, int status)
{
    struct carom_error error;
    if (status == -ETIMEDOUT)
        note(plan, LATE);
    else if (status == CAROM_CANCELLED && carom_call_error(call, &error) == 0 && error.worker < 0)
        note(plan, WITHDRAWN);
    else
        conclude(call, plan, status);
}

/* ---------------------------------------------------------------- manners */

static struct carom_call *submit(struct plan *plan, int64_t timeout_ns, unsigned flags)
{
    struct carom_call *call;
    int rc = carom_call_begin(client, method, timeout_ns, flags, &call);
    if (rc < 0 && timeout_ns >= 0 && rc == -ETIMEDOUT) {
        note(plan, LATE);
        return NULL;
    }
    if (rc < 0)
        wrong(plan, "a call does not begin", rc);
    write_request(plan, carom_call_request(call, NULL));
    carom_call_set_data(call, plan);
    rc = carom_call_submit(call, plan->message.length_bytes);
    if (rc < 0)
        wrong(plan, "a call is not submitted", rc);
    return call;
}

static void call_one(struct streamer *self)
{
    struct plan plan = make_plan(self);
    struct carom_call *call = submit(&plan, CAROM_FOREVER, 0);
    conclude(call, &plan, carom_call_wait(call));
    carom_call_end(call);
}

static void take_one(void)
{
    struct carom_call *call;
    int rc = carom_client_next(client, 60 * SECOND, &call);
    if (rc < 0)
        soak_fail("no call is done (%d): %s", rc, carom_error_detail());
    struct plan *plan = carom_call_data(call);
    conclude(call, plan, carom_call_poll(call));
    carom_call_end(call);
    __atomic_store_n(&plan->used, false, __ATOMIC_RELEASE);
}

static struct plan *unused(struct plan *plans)
{
    while (__atomic_load_n(&plans->used, __ATOMIC_ACQUIRE))
        plans++;
    plans->used = true;
    return plans;
}

/* The threads take what is done, whoever began it, each as many as it began; so a plan of this
 * thread may still be in use when it has taken its last. */
static void call_several(struct streamer *self, uint64_t end)
{
    uint64_t begun = 0, taken = 0;
    while (taken < begun || self->next < end) {
        if (self->next < end && begun - taken < WINDOW) {
            struct plan *plan = unused(self->plans);
            const bool used = plan->used;
            *plan = make_plan(self);
            plan->used = used;
            submit(plan, CAROM_FOREVER, CAROM_NOTIFY);
            begun++;
        } else {
            take_one();
            taken++;
        }
    }
}

static void invoke_one(struct streamer *self)
{
    struct plan plan = make_plan(self);
    size_t bytes = 0;
    write_request(&plan, self->request);
    int status = carom_invoke(client, method, self->request, plan.message.length_bytes, self->reply,
                              LARGEST_BYTES, &bytes, CAROM_FOREVER);
    if (status != CAROM_OK)
        wrong(&plan, "a call failed", status);
    check_reply(&plan, self->reply, bytes);
}

/* Short requests have no number: it would not be known whether they ran. */
static void call_carelessly(struct streamer *self)
{
    struct plan plan = make_plan(self);
    const uint64_t lot = self->random % 3;
    if (plan.message.length_bytes < SHORT_BYTES)
        plan.message.length_bytes = SHORT_BYTES;
    struct carom_call *call = submit(
        &plan, lot == 0 ? (int64_t)between(&self->random, 0, 200000) : CAROM_FOREVER, 0);
    if (call == NULL)
        return;
    if (lot == 1)
        carom_call_cancel(call);
    if (lot == 2 && self->random >> 32 & 1) {
        note(&plan, ABANDONED);
    } else {
        conclude_careless(call, &plan, carom_call_wait(call));
    }
    carom_call_end(call);
}

/* ---------------------------------------------------------------- streams */

static void note_progress(const struct streamer *self)
{
    __atomic_store_n(&ledger.books->stream[self->stream].done, self->next, __ATOMIC_RELAXED);
}

static void *streamer_main(void *argument)
{
    struct streamer *self = argument;
    while (self->next < self->end) {
        uint64_t lot = proof_random(&self->random) % 100;
        uint64_t end = self->next +
                       between(&self->random, 1, lot < 60 ? LONGEST_RUN : LONGEST_RUN / 4);
        if (end > self->end)
            end = self->end;
        self->is_heavy = proof_random(&self->random) % 1000 < heavy;
        if (self->is_heavy && end > self->next + HEAVY_RUN)
            end = self->next + HEAVY_RUN;
        if (lot < 60)
            call_several(self, end);
        while (self->next < end) {
            if (lot < 76)
                call_one(self);
            else if (lot < 90)
                invoke_one(self);
            else
                call_carelessly(self);
            note_progress(self);
        }
        note_progress(self);
    }
    return NULL;
}

static void open_client(const char *service)
{
    const struct carom_client_options options = {
        .size = sizeof options,
        .slots = SLOTS,
        .request_block_bytes = LARGEST_BYTES,
        .reply_block_bytes = LARGEST_BYTES,
        .resident_bytes = 4 << 20, /* little, so that memory is given back again and again */
        .reconnect_timeout_ns = -1,
    };
    if (carom_client_open(service, 10 * SECOND, &options, &client) < 0)
        soak_fail("a client does not open: %s", carom_error_detail());
    method = carom_client_method(client, "soak");
    if (method < 0)
        soak_fail("no method: %s", carom_error_detail());
}

static void run_connection(const char *service, unsigned threads)
{
    open_client(service);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&streamers[i].thread, NULL, streamer_main, &streamers[i]) != 0)
            soak_fail("no thread");
    for (unsigned i = 0; i < threads; i++)
        pthread_join(streamers[i].thread, NULL);
    carom_client_close(client);
}

int main(int argc, char **argv)
{
    if (argc != 8)
        soak_fail("usage: client SERVICE LEDGER FIRST_STREAM THREADS CONNECTIONS HEAVY SEED");
    ledger = ledger_open(argv[2]);
    const unsigned first = (unsigned)strtoul(argv[3], NULL, 10);
    const unsigned threads = (unsigned)strtoul(argv[4], NULL, 10);
    const uint64_t connections = strtoull(argv[5], NULL, 10), seed = strtoull(argv[7], NULL, 10);
    heavy = strtoull(argv[6], NULL, 10);
    for (unsigned i = 0; i < threads; i++) {
        struct streamer *self = &streamers[i];
        self->stream = first + i;
        self->random = seed * 1000 + self->stream + 1;
        self->request = malloc(LARGEST_BYTES);
        self->reply = malloc(LARGEST_BYTES);
        if (self->request == NULL || self->reply == NULL)
            soak_fail("no memory");
    }
    for (uint64_t connection = 1; connection <= connections; connection++) {
        for (unsigned i = 0; i < threads; i++)
            streamers[i].end = ledger.books->calls * connection / connections;
        run_connection(argv[1], threads);
    }
    for (unsigned i = 0; i < threads; i++) {
        free(streamers[i].request);
        free(streamers[i].reply);
    }
    return 0;
}
