/* SPDX-License-Identifier: Apache-2.0
 *
 * host.h - the host's own memory: the service's objects, its peers, its lanes.
 *
 *   host.c        claim the name, the event loop, stop
 *   host_peers.c  greeting, refusing, admitting and burying peers
 *   host_lanes.c  memory of lanes, telling workers, recovery */
#ifndef CAROM_HOST_H
#define CAROM_HOST_H

#include "bell.h"
#include "carom.h"
#include "control.h"
#include "lane.h"

#include <sys/un.h>

/** A client's lane as the host keeps it, to hand it to workers that come later. */
struct carom__host_lane {
    struct carom__lane lane; /* control mapped; blocks are not */
    struct carom__geometry geometry;
    int control_fd;
    int requests_fd; /* read-only */
    int replies_fd;
};

/** One connection. */
struct carom__peer {
    uint32_t role; /* enum carom__role, 0 before HELLO */
    uint32_t id;   /* client: lane; worker: worker id */
    int socket;
    int pidfd; /* -1 if the peer has none */
    pid_t pid;
    uid_t uid;
    int64_t connected_ns;
    bool greeted;                     /* has said HELLO, or will not any more */
    bool gone;                        /* closed; freed when the batch of events is through */
    struct carom__host_lane *lane;    /* client */
    uint32_t owner;                   /* worker: carom__owner */
    uint64_t news[CAROM__LANE_WORDS]; /* worker: lanes it must still be told about */
    struct carom__peer *next;         /* in host->peers */
};

struct carom_host {
    struct sockaddr_un address;
    char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    struct carom_host *next; /* in the list of this process's hosts */
    char name[CAROM__SERVICE_NAME_BYTES];
    int lock_fd;
    int listen_fd;
    int epoll_fd;
    int stop_fd;    /* eventfd */
    int reserve_fd; /* given up to refuse a peer when descriptors run out */
    int pidfd;      /* of this process, for the peers; -1 where the kernel has none */
    bool listed;    /* in the list of this process's hosts */
    bool listening; /* listen_fd is in epoll with events */
    unsigned forks;
    int bell_fd, directory_fd, directory_ro_fd, statistics_fd, statistics_ro_fd;
    struct carom__bell *bell;
    struct carom__directory *directory;
    struct carom__statistics *statistics;
    uint32_t max_clients, max_workers, max_slots;
    uint64_t max_block_bytes;
    uid_t *allowed_uids;
    size_t allowed_uid_count;
    struct carom__peer *peers;
    uint32_t greeting; /* peers before HELLO */
    struct carom__peer *workers[CAROM__MAX_WORKERS];
    struct carom__peer *clients[CAROM__MAX_LANES];
    uint16_t epochs[CAROM__MAX_WORKERS];
    union {
        struct carom__hello hello;
        char bytes[CAROM__MESSAGE_MAX];
    } message; /* the HELLO that is being read */
};

/** Descriptors in epoll: a peer's socket, or its pidfd (lowest bit set). */
#define CAROM__PIDFD_TAG 1u

/* ---- host_peers.c */

/** Accepts everybody who knocks. */
void carom__host_accept(struct carom_host *host);

/** A peer's socket has something: a message, room for our messages, or the end. */
void carom__host_serve(struct carom_host *host, struct carom__peer *peer, uint32_t events);

/** The peer is gone: undoes all that was done for it. */
void carom__host_bury(struct carom_host *host, struct carom__peer *peer);

/** Disconnects peers that have not said HELLO in time. */
void carom__host_expire(struct carom_host *host);

/** Frees buried peers. */
void carom__host_sweep(struct carom_host *host);

/* ---- host_lanes.c */

/** Makes a client's lane. 0 or a negative errno with a sentence; takes requests_fd in any case. */
int carom__host_lane_open(struct carom__peer *peer, const struct carom__geometry *geometry,
                          int requests_fd);

/** Closes it. mapped: false in a child, which did not inherit the mapping. */
void carom__host_lane_close(struct carom__peer *peer, bool mapped);

/** Tells one worker, or all, that a lane came or went. Never blocks: what does not fit the socket
 *  follows when there is room. */
void carom__host_tell(struct carom_host *host, struct carom__peer *worker, uint32_t lane);
void carom__host_tell_all(struct carom_host *host, uint32_t lane);

/** Sends a worker what it has not been told yet. */
void carom__host_flush(struct carom_host *host, struct carom__peer *worker);

/** Says that the directory or a control socket has something new. */
void carom__host_changed(struct carom_host *host);

/** Wakes every worker once. */
void carom__host_wake_workers(struct carom_host *host);

/** After a worker's death: ends its calls in every lane, and repeats wakes it may have owed. */
void carom__host_recover(struct carom_host *host, uint32_t owner);

#endif
