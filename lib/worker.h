/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.h - the worker's own memory: the worker, the lanes it maps, the request it runs. */
#ifndef CAROM_WORKER_H
#define CAROM_WORKER_H

#include "bell.h"
#include "carom.h"
#include "connection.h"
#include "lane.h"
#include "wait.h"

/** Where this process sees the blocks of one slot. Separate pointers, because a detached block
 *  moves (carom_request_detach). */
struct carom__blocks {
    const char *request;
    char *reply;
};

/** First page of a block. */
static inline void *carom__block_pages(const void *block)
{
    return (void *)((uintptr_t)block & ~(uintptr_t)(CAROM__PAGE_BYTES - 1));
}

/** A lane as this worker maps it. */
struct carom__worker_lane {
    struct carom__lane lane;
    uint32_t id;
    bool poisoned;        /* its client wrote nonsense: never looked at again */
    uint32_t empty_looks; /* in a row; a lane that stays empty loses its ready bit */
    struct carom_peer client;
    struct carom__blocks blocks[]; /* one per slot */
};

struct carom_request {
    struct carom_worker *worker;
    struct carom__worker_lane *lane;
    struct carom__claim claim;
    int method; /* index into the worker's own methods */
    bool open;  /* taken and not finished */
};

struct carom_worker {
    struct carom__bell *bell;
    struct carom__directory *directory; /* read-only mapping */
    struct carom__statistics *statistics;
    struct carom__worker_stats *stats; /* this worker's record */
    struct carom_method *methods;
    size_t method_count;
    uint32_t id;
    uint32_t owner; /* carom__owner(id, epoch) */
    struct carom__connection connection;
    unsigned forks;
    uint32_t change;   /* directory->change when the socket was last drained */
    bool stopping;     /* the service stops */
    bool leaving;      /* the host asked this worker to leave */
    _Atomic bool stop; /* carom_worker_stop was called */
    struct carom__spin spin;
    int64_t now_ns;       /* latest reading of the clock */
    int64_t claimed_ns;   /* when the timed request was claimed; 0 when none is being timed */
    uint32_t until_timed; /* calls until the next one that is timed */
    uint32_t untimed;     /* short calls that the next timed one stands for */
    int64_t next_look_ns; /* at the socket, for the host's death */
    uint32_t current;     /* lane served last */
    uint32_t burst;       /* calls taken from it in a row */
    uint32_t lane_words;  /* words of ready bits that can be set */
    struct carom_request request;
    struct carom__worker_lane *lanes[CAROM__MAX_LANES];
    int16_t method_index[CAROM__MAX_METHODS]; /* by the directory's id; -1 not served here */
};

/** Reads what the host has sent: lanes that came or went, LEAVE, the stop of the service.
 *  0, -EHOSTDOWN. */
int carom__worker_news(struct carom_worker *worker);

/** Sends a message to the host without waiting; more than once where the kernel is short of memory,
 *  because nobody says it again. */
void carom__worker_say(const struct carom_worker *worker, const void *message, size_t bytes);

/** Stops looking at a lane and asks the host to disconnect its client. */
void carom__worker_poison(struct carom_worker *worker, struct carom__worker_lane *lane);

/** Unmaps every lane. */
void carom__worker_drop_lanes(struct carom_worker *worker);

/** Where a lane's clients' blocks lie. */
static inline struct carom__blocks *carom__request_blocks(const struct carom_request *request)
{
    return &request->lane->blocks[request->claim.slot];
}

/** Ends the open request. */
void carom__request_finish(struct carom_request *request, int status, size_t reply_bytes);

/** Gives the memory of a reply block back, except for its first CAROM__KEEP_BYTES. */
void carom__request_trim(struct carom_request *request);

#endif
