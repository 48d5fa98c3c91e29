/* SPDX-License-Identifier: Apache-2.0
 *
 * host.h - the host's own memory: the service's objects, its peers, its lanes.
 *
 *   host.c             claim the name, the event loop, stop
 *   host_admission.c   who comes: greeting, refusing, admitting
 *   host_peers.c       who is there and who is gone: messages, hanging up, burying
 *   host_lanes.c       memory of lanes, telling workers
 *   host_deaths.c      how a worker died, and what its callers are told
 *   host_quarantine.c  keeping a request that has killed workers
 *   host_keeper.c      what whoever keeps the workers alive says and asks
 *   host_events.c      a line per event for the same
 *
 * One thread runs the loop. It holds `lock` while it handles events, the functions of host_keeper.c
 * hold it on whatever thread they run: it guards everything below that changes after opening. */
#ifndef CAROM_HOST_H
#define CAROM_HOST_H

#include "bell.h"
#include "carom.h"
#include "control.h"
#include "lane.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/un.h>

/** How a worker ended, in words, with NUL. */
#define CAROM__END_BYTES 256u
/** Longest path of a request that is kept, with NUL; a failure record holds it and more. */
#define CAROM__KEPT_BYTES 2048u

/** A client's lane as the host keeps it, to hand it to workers that come later. */
struct carom__host_lane {
    struct carom__lane lane; /* control mapped; blocks are not */
    struct carom__geometry geometry;
    int control_fd;
    int requests_fd; /* read-only */
    int replies_fd;
    uint64_t first_waiting; /* cell that carom_host_waiting saw last, 0 none */
    int64_t first_seen_ns;  /* and when it saw it for the first time */
};

/** One connection. */
struct carom__peer {
    uint32_t role; /* enum carom__role, 0 before HELLO */
    uint32_t id;   /* client: lane; worker: worker id */
    int socket;    /* -1: has hung up, but its process lives */
    int pidfd;     /* -1 if the peer has none */
    pid_t pid;
    uid_t uid;
    int64_t connected_ns;
    bool greeted;                  /* has said HELLO, or will not any more */
    bool gone;                     /* closed; freed when the batch of events is through */
    bool waits_for_room;           /* epoll says when its socket has room */
    struct carom__host_lane *lane; /* client */
    /* worker */
    uint32_t owner; /* carom__owner */
    bool stand_in;
    bool asked_to_leave;              /* and must still be told */
    bool said_goodbye;                /* it has left in order */
    bool retry;                       /* telling it failed for lack of something: again soon */
    uint64_t news[CAROM__LANE_WORDS]; /* lanes it must still be told about */
    char end[CAROM__END_BYTES];       /* of carom_host_note_end; "" none */
    struct carom__peer *next;         /* in host->peers */
};

struct carom_host {
    pthread_mutex_t lock;
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
    bool deaf;      /* it is not for a moment: something to accept peers with has run out */
    unsigned forks;
    int bell_fd, directory_fd, directory_ro_fd, statistics_fd, statistics_ro_fd;
    struct carom__bell *bell;
    struct carom__directory *directory;
    struct carom__statistics *statistics;
    uint32_t max_clients, max_workers, max_slots;
    uint64_t max_block_bytes;
    uid_t *allowed_uids;
    size_t allowed_uid_count;
    char *quarantine_folder; /* absolute; NULL none */
    uint32_t kept;           /* requests written there, or tried */
    int event_fd;            /* the caller's; 0 none */
    bool described;          /* carom_host_describe says what the state is */
    bool retrying;           /* some worker has `retry`; only the loop's thread uses it */
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

/* ---- host_admission.c */

/** Accepts everybody who knocks. */
void carom__host_accept(struct carom_host *host);

/** Tells a peer why (the sentence of the carom__fail before), and the keeper, and hangs up. */
void carom__host_refuse(struct carom_host *host, struct carom__peer *peer, int error);

/** Says why a peer is not wanted, if its socket takes that at once. */
void carom__host_send_refusal(int socket, int error, const char *reason);

/** Listens again if it was deaf. */
void carom__host_listen(struct carom_host *host);

/** Reads a peer's HELLO; admits or refuses it. */
void carom__host_admit(struct carom_host *host, struct carom__peer *peer);

/** The peer has said its first word, or will not any more. */
void carom__host_greeted(struct carom_host *host, struct carom__peer *peer);

/** Disconnects peers that have not said HELLO in time. */
void carom__host_expire(struct carom_host *host);

/* ---- host_peers.c */

/** A peer's socket has something: a message, room for our messages, or the end. */
void carom__host_serve(struct carom_host *host, struct carom__peer *peer, uint32_t events);

/** The peer's process has ended. */
void carom__host_end(struct carom_host *host, struct carom__peer *peer);

/** The peer is gone: undoes all that was done for it. */
void carom__host_bury(struct carom_host *host, struct carom__peer *peer);

/** Counts who is there, for the directory, and says that it has changed. */
void carom__host_count(struct carom_host *host);

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

/** The same, and has it look: it may sleep. */
void carom__host_catch_up(struct carom_host *host, struct carom__peer *worker);

/** Tries again where the kernel was short of something. */
void carom__host_retry(struct carom_host *host);

/** Whether the loop is to be told when a worker's socket has room. 0 or a negative errno. */
int carom__host_watch_room(struct carom_host *host, struct carom__peer *worker, bool wanted);

/** Says that the directory or a control socket has something new. */
void carom__host_changed(struct carom_host *host);

/** Wakes every worker once. */
void carom__host_wake_workers(struct carom_host *host);

/* ---- host_deaths.c */

/** Whether the kernel says that the peer's process has ended. False without a pidfd. */
bool carom__host_is_dead(const struct carom__peer *peer);

/** After a worker's death, or its leaving: ends the calls that it ran, in every lane, and repeats
 *  wakes it may have owed. Tells the keeper unless the worker left in order. */
void carom__host_recover(struct carom_host *host, const struct carom__peer *worker);

/* ---- host_quarantine.c */

/** Refuses a folder that is none or cannot be written to. 0 or a negative errno, with a sentence;
 *  host->quarantine_folder is then the folder's absolute path. NULL: no quarantine. */
int carom__host_quarantine_open(struct carom_host *host, const char *folder);

/** Writes a request to a file of its own, whole or not at all.
 *  path  receives the file's path, CAROM__KEPT_BYTES
 *  0 or a negative errno with a sentence. */
int carom__host_quarantine(struct carom_host *host, const struct carom__host_lane *lane,
                           uint32_t slot, const char *method, char *path);

/* ---- host_events.c */

/** 0, or -EINVAL with a sentence: no descriptor to write to. */
int carom__host_events_open(struct carom_host *host, int event_fd);

/** Room for a number as a field of an event. */
#define CAROM__NUMBER_BYTES 24u

/** Writes a line to host->event_fd, if that takes it at once: the fields with tabs between them. */
void carom__host_event(const struct carom_host *host, const char *const *fields, uint32_t count);

/** How much of a text to keep when it is cut at `length`: its last character is left out whole. */
static inline size_t carom__cut(const char *text, size_t length)
{
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

/** A number as a field; returns `text`. */
static inline const char *carom__field(char text[CAROM__NUMBER_BYTES], long long number)
{
    snprintf(text, CAROM__NUMBER_BYTES, "%lld", number);
    return text;
}

#endif
