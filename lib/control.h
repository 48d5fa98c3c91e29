/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h - messages of the control plane: what travels over a service's Unix socket.
 *
 * SOCK_SEQPACKET keeps message boundaries; memory objects travel beside a message as file
 * descriptors. Every message begins with the same 16 bytes in every version, so that two versions
 * can at least tell each other that they differ. Order of a connection:
 *
 *   peer -> host  HELLO                       role, layout, geometry or method names
 *   host -> peer  WELCOME | REFUSED           ids and memory | reason, then the host hangs up
 *   host -> worker  LANE ...                  a lane came (with its memory) or went
 *   host -> worker  LEAVE                     finish the call you run and take no other
 *   worker -> host  LEAVE                     I leave in order and touch no lane any more
 *   worker -> host  POISONED ...              a lane that this worker cannot serve, because its
 *                                             client wrote nonsense or because it cannot map it:
 *                                             disconnect
 *                                             the client, with REFUSED and the reason
 *
 * Everything received is checked here for type and size, by the receiver for content. */
#ifndef CAROM_CONTROL_H
#define CAROM_CONTROL_H

#include "layout.h"

#include <stdbool.h>

#define CAROM__MAGIC UINT32_C(0x314d5243) /* "CRM1" */
#define CAROM__REASON_BYTES 256u
#define CAROM__MESSAGE_FDS 5u

enum carom__message_type {
    CAROM__HELLO = 1,
    CAROM__WELCOME = 2,
    CAROM__REFUSED = 3,
    CAROM__LANE = 4,
    CAROM__POISONED = 5,
    CAROM__LEAVE = 6, /* a header and no more */
};

enum carom__role { CAROM__CLIENT = 1, CAROM__WORKER = 2, CAROM__OBSERVER = 3 };

struct carom__header {
    uint32_t magic;
    uint16_t type;
    uint16_t protocol;
    uint32_t size_bytes; /* of the whole message */
    uint32_t reserved;
};

/** fds: the peer's own pidfd (absent if the kernel has none); client: then its requests object. */
struct carom__hello {
    struct carom__header header;
    uint64_t layout_hash;
    uint32_t role;
    uint32_t method_count; /* worker: that many struct carom__method_entry follow */
    uint32_t has_pidfd;
    uint32_t stand_in;               /* worker: 1, or 0 */
    struct carom__geometry geometry; /* client */
};

/** fds, client: lane control, replies (read-only), bell, directory. Worker: bell, directory,
 *  statistics. Observer: directory, statistics (read-only). Then the host's pidfd if it has one. */
struct carom__welcome {
    struct carom__header header;
    uint32_t id; /* of the lane, or of the worker */
    uint32_t epoch;
    uint32_t has_pidfd;
    uint32_t reserved;
};

struct carom__refused {
    struct carom__header header;
    int32_t error; /* negative errno */
    char reason[CAROM__REASON_BYTES];
};

/** fds when present: lane control, requests (read-only), replies. A worker that is told of a lane
 *  it already maps drops the older one first: ids are used again. */
struct carom__lane_news {
    struct carom__header header;
    uint32_t lane;
    uint32_t present;
    int32_t pid;
    uint32_t uid;
    struct carom__geometry geometry;
};

struct carom__poisoned {
    struct carom__header header;
    uint32_t lane;
    int32_t error; /* 0: its client wrote nonsense; else the worker cannot map it */
};

static_assert(sizeof(struct carom__header) == 16, "header");
static_assert(sizeof(struct carom__hello) == 64, "hello");
static_assert(sizeof(struct carom__welcome) == 32, "welcome");
static_assert(sizeof(struct carom__refused) == 276, "refused");
static_assert(sizeof(struct carom__lane_news) == 56, "lane_news");

/** Largest message: a worker's HELLO with every method. */
#define CAROM__MESSAGE_MAX                                                                         \
    (sizeof(struct carom__hello) + CAROM__MAX_METHODS * sizeof(struct carom__method_entry))

/** What came with a message. */
struct carom__fds {
    int fd[CAROM__MESSAGE_FDS];
    uint32_t count;
};

/** Fills a header. */
void carom__header_set(struct carom__header *header, enum carom__message_type type, size_t bytes);

/** A pidfd of this process; -ENOSYS where the kernel has none or gives none, another negative errno
 *  where it is short of something: then a peer's death might go unnoticed later. */
int carom__own_pidfd(void);

/** Sends one whole message. 0 or a negative errno (-EAGAIN: would block). Never raises SIGPIPE. */
int carom__send(int socket, const void *message, size_t bytes, const int *fds, uint32_t fd_count,
                bool wait);

/** Receives one message.
 *  fds  receives its descriptors, close-on-exec, owned by the caller; empty on failure
 *  Returns its length, -EAGAIN (not `wait`), -ECONNRESET the peer hung up, -EPROTO not a message
 *  (sizes, magic), -EMFILE no descriptor left, or another negative errno. */
int carom__receive(int socket, void *buffer, size_t capacity, struct carom__fds *fds, bool wait);

void carom__close_fds(struct carom__fds *fds);

/** Takes the descriptor at an index away from the set; -1 if there is none. */
int carom__take_fd(struct carom__fds *fds, uint32_t index);

/** Whether a received message is of this type, version and exact size. */
bool carom__is_message(const void *buffer, int length, enum carom__message_type type, size_t bytes);

#endif
