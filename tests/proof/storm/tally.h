/* SPDX-License-Identifier: Apache-2.0
 *
 * tally.h - what a client of the storm writes down, in a file that outlives it: storm.py maps the
 * same file (tally.py knows the layout) and judges.
 *
 * The file: one page with the driver's command, then one struct tally for each thread of each
 * client. A thread alone writes its tally, the driver reads it at any time, also after a SIGKILL,
 * so every field is a word that is written whole. All accesses are relaxed: the driver compares
 * numbers with each other only while the thread is parked or has ended, and the words of a notice
 * when `notices` counts it, which is why that one is a release. */
#ifndef TALLY_H
#define TALLY_H

#include <stdatomic.h>
#include <stdint.h>

#define TALLY_PAGE_BYTES 4096u
#define TALLY_THREADS 4u
#define TALLY_NOTICES 64u
#define TALLY_TEXT_BYTES 256u

/** First word of the file. */
enum tally_command { TALLY_RUN = 0, TALLY_PAUSE = 1, TALLY_STOP = 2 };

/** A status told this thread that the worker running its call had died. */
struct tally_notice {
    _Atomic uint64_t pid;      /* of the worker */
    _Atomic uint64_t heard_ns; /* CLOCK_MONOTONIC */
    _Atomic uint64_t next_ns;  /* when a call begun after it was answered; `hold` only */
};

struct tally {
    _Atomic uint64_t begun;        /* calls */
    _Atomic uint64_t replies;      /* of those: ended with the right bytes */
    _Atomic uint64_t statuses;     /* ended with a status that may be */
    _Atomic uint64_t locals;       /* ended with a local error that may be */
    _Atomic uint64_t abandoned;    /* ended without being waited for */
    _Atomic uint64_t wrong;        /* ended otherwise; the first is described in `text` */
    _Atomic uint64_t once_begun;   /* calls of `once` */
    _Atomic uint64_t once_replies; /* of those: ended with the right bytes */
    _Atomic uint64_t parked;       /* 1: obeys TALLY_PAUSE, no call in flight */
    _Atomic uint64_t doing;        /* an operation's first eight letters */
    _Atomic uint64_t since_ns;     /* when that began */
    _Atomic uint64_t died;         /* of statuses: because a worker died */
    _Atomic uint64_t lost;         /* of locals: because the host had gone */
    _Atomic uint64_t notices;      /* how many; the last TALLY_NOTICES are below */
    struct tally_notice notice[TALLY_NOTICES];
    char text[TALLY_TEXT_BYTES];
    char unused[144];
};

_Static_assert(sizeof(struct tally) == 2048, "tally.py says the same");

static inline void tally_add(_Atomic uint64_t *counter, uint64_t more)
{
    /* relaxed: see above; one writer */
    uint64_t count = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, count + more, memory_order_relaxed);
}

static inline void tally_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed); /* see above */
}

static inline uint64_t tally_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* see above */
}

#endif
