/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.h - one call of a client of the storm: what it asks, and how it may end.
 *
 * A request says which launch, thread and call it is of and goes on with bytes that follow from
 * these, so that a foreign byte, or an old one, in a reply shows. A call has to end with its exact
 * bytes, with a status or with a local error that fit what has been done to it; anything else is
 * `wrong`. Everything is counted where the driver sees it (tally.h). */
#ifndef ASK_H
#define ASK_H

#include "tally.h"

#include <carom.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (512u << 10)
#define HEADER_BYTES sizeof(struct header)
#define STATUS(status) (1u << (status))

enum method { ECHO, AGAIN, ONCE, SLOW, HOLD, METHODS };
static const char *const method_names[METHODS] = {"echo", "again", "once", "slow", "hold"};

/** How every request begins. */
struct header {
    uint32_t launch;
    uint32_t thread;
    uint64_t sequence;
    uint64_t bytes;
};

struct load {
    const char *service;
    struct carom_client *client;
    const _Atomic uint64_t *command;
    uint32_t launch;
    uint32_t threads;
    bool is_paced, is_held;
    int methods[METHODS];
};

/** One thread that makes calls. */
struct caller {
    const struct load *load;
    struct tally *tally;
    pthread_t thread;
    uint32_t index;
    uint64_t random;
    uint64_t sequence;
    unsigned char expected[BLOCK_BYTES];
};

/** A call in flight. */
struct ask {
    struct carom_call *call;
    enum method method;
    uint64_t sequence;
    size_t bytes;
    unsigned statuses; /* that may end it */
    bool is_timed;
};

/* ---------------------------------------------------------------- requests */

/* xorshift64* */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t choose(struct caller *caller, uint64_t count)
{
    return (draw(&caller->random) >> 20) % count;
}

static void compose(const struct caller *caller, const struct ask *ask, unsigned char *to)
{
    struct header header = {.launch = caller->load->launch,
                            .thread = caller->index,
                            .sequence = ask->sequence,
                            .bytes = ask->bytes};
    uint64_t random = (uint64_t)header.launch << 40 ^ (uint64_t)header.thread << 34 ^
                      ask->sequence << 1 ^ 1;
    size_t at = ask->bytes < HEADER_BYTES ? ask->bytes : HEADER_BYTES;
    memcpy(to, &header, at);
    while (at < ask->bytes) {
        uint64_t word = draw(&random);
        size_t part = ask->bytes - at < sizeof word ? ask->bytes - at : sizeof word;
        memcpy(to + at, &word, part);
        at += part;
    }
}

static size_t choose_bytes(struct caller *caller)
{
    static const size_t most[] = {0, 8, 64, 64, 256, 256, 4096, 20000};
    if (choose(caller, 200) == 0)
        return BLOCK_BYTES - (size_t)choose(caller, 2) * (size_t)choose(caller, BLOCK_BYTES);
    size_t limit = most[choose(caller, sizeof most / sizeof most[0])];
    return (size_t)choose(caller, limit + 1);
}

/* ---------------------------------------------------------------- outcomes */

__attribute__((format(printf, 3, 4))) static void
note_wrong(struct caller *caller, const struct ask *ask, const char *format, ...)
{
    struct tally *tally = caller->tally;
    char what[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (tally->text[0] == '\0')
        snprintf(tally->text, sizeof tally->text,
                 "launch %u thread %u call %llu (%s, %zu bytes): %s", caller->load->launch,
                 caller->index, (unsigned long long)ask->sequence, method_names[ask->method],
                 ask->bytes, what);
    tally_add(&tally->wrong, 1);
}

static void judge_reply(struct caller *caller, const struct ask *ask)
{
    size_t bytes = 0;
    const void *reply = carom_call_reply(ask->call, &bytes);
    compose(caller, ask, caller->expected);
    if (bytes != ask->bytes)
        note_wrong(caller, ask, "a reply of %zu bytes", bytes);
    else if (bytes > 0 && memcmp(reply, caller->expected, bytes) != 0)
        note_wrong(caller, ask, "foreign bytes in the reply");
    else {
        tally_add(&caller->tally->replies, 1);
        if (ask->method == ONCE)
            tally_add(&caller->tally->once_replies, 1);
    }
}

/* Pid of the worker whose death ended the call, 0 if another thing did. The message begins with
 * "worker 3 (pid 4711) was killed by SIGKILL". */
static uint64_t read_dead_worker(const struct ask *ask)
{
    struct carom_error error;
    if (carom_call_error(ask->call, &error) != 0 || strcmp(error.type, "carom.WorkerDied") != 0)
        return 0;
    const char *pid = strstr(error.message, "(pid ");
    return pid != NULL ? strtoull(pid + 5, NULL, 10) : 0;
}

static void note_death(struct caller *caller, uint64_t pid, int64_t heard_ns, int64_t next_ns)
{
    struct tally *tally = caller->tally;
    struct tally_notice *notice = &tally->notice[tally_get(&tally->notices) % TALLY_NOTICES];
    tally_set(&notice->pid, pid);
    tally_set(&notice->heard_ns, (uint64_t)heard_ns);
    tally_set(&notice->next_ns, (uint64_t)next_ns);
    /* release: the notice is whole; this thread alone writes it */
    atomic_fetch_add_explicit(&tally->notices, 1, memory_order_release);
}

static void judge(struct caller *caller, const struct ask *ask, int outcome)
{
    int64_t now_ns = carom_now_ns();
    bool has_gone = outcome == -EHOSTDOWN || outcome == -ESHUTDOWN;
    if (outcome == CAROM_OK) {
        judge_reply(caller, ask);
    } else if (outcome > 0 && ask->statuses & STATUS(outcome)) {
        tally_add(&caller->tally->statuses, 1);
        tally_add(&caller->tally->died, outcome == CAROM_UNAVAILABLE || outcome == CAROM_ABORTED);
        if (outcome == CAROM_UNAVAILABLE)
            note_death(caller, read_dead_worker(ask), now_ns, 0);
    } else if (has_gone || (outcome == -ETIMEDOUT && ask->is_timed)) {
        tally_add(&caller->tally->locals, 1);
        tally_add(&caller->tally->lost, has_gone);
    } else {
        note_wrong(caller, ask, "outcome %d: %s", outcome, carom_error_detail());
    }
}

/* ---------------------------------------------------------------- begin and finish */

/* True: submitted, and to be ended. False: it has ended already, or (-EAGAIN) never began. */
static bool begin(struct caller *caller, struct ask *ask, int64_t timeout_ns, unsigned flags)
{
    ask->sequence = caller->sequence++;
    ask->is_timed = timeout_ns != CAROM_FOREVER;
    if (ask->method == ONCE)
        tally_add(&caller->tally->once_begun, 1);
    int rc = carom_call_begin(caller->load->client, caller->load->methods[ask->method], timeout_ns,
                              flags, &ask->call);
    if (rc == -EAGAIN && flags & CAROM_NOWAIT)
        return false;
    tally_add(&caller->tally->begun, 1);
    if (rc == 0) {
        compose(caller, ask, carom_call_request(ask->call, NULL));
        rc = carom_call_submit(ask->call, ask->bytes);
        if (rc == 0)
            return true;
        carom_call_end(ask->call);
    }
    judge(caller, ask, rc);
    return false;
}

static int wait_for(const struct ask *ask)
{
    int outcome;
    do {
        outcome = carom_call_wait(ask->call);
    } while (outcome == -EINTR);
    return outcome;
}

static void finish(struct caller *caller, struct ask *ask)
{
    judge(caller, ask, wait_for(ask));
    carom_call_end(ask->call);
    ask->call = NULL;
}

static struct ask ask_for(struct caller *caller, enum method method)
{
    struct ask ask = {.method = method, .statuses = STATUS(CAROM_UNAVAILABLE)};
    ask.bytes = choose_bytes(caller);
    if (method == ONCE && ask.bytes < HEADER_BYTES)
        ask.bytes = HEADER_BYTES;
    if (method == AGAIN)
        ask.statuses |= STATUS(CAROM_ABORTED); /* the second worker that it has met died, too */
    return ask;
}

#endif
