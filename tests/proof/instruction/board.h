/* SPDX-License-Identifier: Apache-2.0
 *
 * board.h - the page that the driver, the survivors and the subject share, outside carom: which
 * calls were run how often, gates that hold handlers back, what survivors are asked and answer.
 *
 * The driver waits for conditions, at most `patience_s`: what has not come by then never comes, is
 * noted with bad(), and ends the scenario. */
#ifndef BOARD_H
#define BOARD_H

#include "proof.h"

#include <stdatomic.h>
#include <sys/types.h>

#define SERVICE "instruction"
#define SLOTS 4u
#define BLOCK_BYTES 4096u
#define NUMBERS 65536u
#define MOST_CALLS 8u

/** Methods that every worker serves, in this order. */
enum { ECHO, HOLD, METHODS };

/** What is in a request, and comes back in the reply. */
struct order {
    uint32_t number; /* of the call, see `runs` */
    uint32_t gate;   /* HOLD: wait until this gate is open */
};

/** A call as the survivor tells of it. */
struct told {
    uint32_t number;
    int32_t outcome;
    const void *state; /* address of its state word in the survivor */
};

enum command { SUBMIT, SETTLE, NEXT, CANCEL, ABANDON, STALE, WRAP, CHECK, WORKERS };

/** A survivor. */
struct puppet {
    _Atomic uint32_t asked, answered; /* futex words: commands so far */
    int32_t command;
    int32_t argument[3];
    int32_t result;
    uint32_t count; /* of `calls` */
    struct told calls[MOST_CALLS];
    pid_t pid;
    int fds, mappings; /* as they were before the first kill */
    char text[200];    /* what went wrong */
};

enum { HOST, WORKER, CALLER, BYSTANDER, FILLER, PUPPETS };

struct board {
    _Atomic uint32_t gate;    /* open up to this one: futex word */
    _Atomic uint32_t held;    /* HOLD calls that have begun */
    _Atomic uint32_t joined;  /* times that the surviving worker opened the service */
    _Atomic uint32_t left;    /* times that it found the host dead */
    _Atomic uint32_t up;      /* hosts that have opened */
    _Atomic uint32_t arrived; /* visitors that are through */
    _Atomic uint32_t number;  /* of the last call */
    _Atomic uint32_t finish;
    _Atomic int64_t slice_ns; /* how long survivors sleep at most; negative: until woken */
    _Atomic uint32_t runs[2 * NUMBERS]; /* the upper half: of calls that look themselves */
    _Atomic int32_t ended[NUMBERS];     /* outcome of a subject's call, PENDING before */
    uint32_t wanted;                    /* the gate of this point */
    struct puppet puppets[PUPPETS];
};
extern struct board *board;

#define PENDING INT32_MIN

static inline uint32_t value_of(_Atomic uint32_t *word)
{
    return atomic_load_explicit(word, memory_order_seq_cst); /* tests take the strongest order */
}

static inline uint32_t add_to(_Atomic uint32_t *word, uint32_t more)
{
    return atomic_fetch_add_explicit(word, more, memory_order_seq_cst) + more; /* as above */
}

static inline void set_to(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_seq_cst); /* as above */
}

void board_make(void);

/** A number for a new call. */
uint32_t new_number(void);

/** Sleeps while the word has this value; wakes all who do. */
void word_wait(_Atomic uint32_t *word, uint32_t value);
void word_wake(_Atomic uint32_t *word);

/** Holds a handler until its gate is open; opens the gates of this point. */
void gate_pass(uint32_t gate);
void gate_open(void);

/* ---- waiting and failing */

extern double patience_s;
extern char problem[1000];

/** Notes what is wrong; the first problem of a scenario stays. Returns false. */
__attribute__((format(printf, 1, 2))) bool bad(const char *format, ...);

void pause_briefly(void);

/** Waits for a condition. False: it does not come. */
#define await(condition)                                                                           \
    ({                                                                                             \
        const double await_end_s = proof_seconds() + (problem[0] ? 0 : patience_s);                \
        bool holds;                                                                                \
        while (!(holds = (condition)) && proof_seconds() < await_end_s)                            \
            pause_briefly();                                                                       \
        holds;                                                                                     \
    })

/** For puppets and subjects, where nothing may fail: ends the process with a sentence. */
#define require(condition) ((condition) ? (void)0 : give_up(#condition, __FILE__, __LINE__))
_Noreturn void give_up(const char *condition, const char *file, int line);

#endif
