/* SPDX-License-Identifier: Apache-2.0
 *
 * wakeup.h - what the processes of this suite share.
 *
 * The parent forks a host, clients and workers for each scene, which meet over a real socket. All
 * of them write what they do into the board, a page that the parent watches: it uses nothing of
 * carom itself. Each thread that calls the library has a seat there. */
#ifndef WAKEUP_H
#define WAKEUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SEATS 64
#define SERVICE "wakeup"
#define COMPLAINT_BYTES 256

/** One thread. It alone writes here, relaxed: the parent reads numbers, nothing is published. */
struct seat {
    _Alignas(128) _Atomic uint64_t progress; /* calls that it has brought to their end */
    _Atomic uint64_t sleeps;                 /* futex waits that slept and were woken */
    _Atomic uint64_t refused;                /* futex waits that the kernel refused: EAGAIN */
    _Atomic uint32_t asleep;                 /* inside FUTEX_WAIT, as far as it knows itself */
    _Atomic uint32_t value;                  /* the value of the word that it sleeps on */
    _Atomic uintptr_t word;                  /* the word's address, in its own process */
    _Atomic uint32_t calling; /* inside calls that end by themselves: it must make progress */
    pid_t pid;
    const char *role;
    bool plays; /* a client's thread */
};

struct board {
    _Atomic uint32_t enough;     /* clients finish what they do and leave */
    _Atomic uint32_t stopping;   /* the host is about to stop: workers do not come again */
    _Atomic uint32_t complained; /* the first complaint is in `complaint` */
    char complaint[COMPLAINT_BYTES];
    struct seat seats[SEATS];
};
extern struct board *board;

/** What a client's threads do. */
enum play {
    SYNCHRONOUS, /* one call at a time */
    NOTIFIED,    /* two calls at a time, taken with carom_client_next by whichever thread */
    ABANDONING,  /* one at a time, every fourth left before it is done */
    CANCELLED,   /* calls that only their cancellation ends, by a second thread */
    PAUSED,      /* the same between two attempts of an idempotent call */
    ROUNDS,      /* a call of each thread, then all meet: nobody heals what the last one forgot */
    COMING,      /* a new connection every few calls */
    LEAVING,     /* one call at a time; it is a worker that comes and goes */
};

struct scene {
    const char *name;
    const char *what;
    enum play play;
    unsigned clients, threads, workers, slots;
    bool early;     /* the clients begin before there is a worker */
    unsigned share; /* of the sleeps, in percent */
};

/** One more call of this seat's thread is over. */
static inline void done_one(struct seat *seat)
{
    atomic_store_explicit(&seat->progress,
                          atomic_load_explicit(&seat->progress, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/** Who the calling thread is; its random delays follow from the seed. NULL: it is not watched, and
 *  its waits keep their timeouts. */
void delays_begin(struct seat *seat, uint64_t seed);

/** The calling thread's random numbers. */
uint64_t delays_random(void);

/** Nothing mostly; sometimes a short or a long delay. pc: of the access in the library's code. */
void delay(const void *pc);

/* The parent's eyes: watch_begin for a new board, then now and then for the first fault that it
 * shows; NULL: none. */
void watch_begin(void);
const char *watch_find_fault(unsigned seats, double patience_s);
/** Prints what each seat's thread does. */
void watch_describe(unsigned seats);

static inline uint64_t value_of(_Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

/* Processes; they return exit statuses. `seats` are as many as the process has threads. */
int host_main(void);
int worker_main(struct seat *seat, uint64_t seed, bool leaves);
int client_main(const struct scene *scene, struct seat *seats, uint64_t seed);

/** Whether each thread of a client has a second one that cancels its calls. */
static inline bool has_cancellers(const struct scene *scene)
{
    return scene->play == CANCELLED || scene->play == PAUSED;
}

static inline unsigned seats_of_client(const struct scene *scene)
{
    return has_cancellers(scene) ? 2 * scene->threads : scene->threads;
}

/** Says what is wrong, for the parent, and ends the process. */
_Noreturn void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
