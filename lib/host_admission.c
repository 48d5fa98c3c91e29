/* SPDX-License-Identifier: Apache-2.0
 *
 * host_admission.c - who comes: greeting, checking, refusing, and letting in clients, workers and
 * observers. */
#include "error.h"
#include "host.h"
#include "segment.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING_MOST 64u
#define GREETING_NS INT64_C(5000000000)

/* ---------------------------------------------------------------- refusing */

void carom__host_send_refusal(int socket, int error, const char *reason)
{
    struct carom__refused message = {.error = error};
    carom__header_set(&message.header, CAROM__REFUSED, sizeof message);
    snprintf(message.reason, sizeof message.reason, "%s", reason);
    carom__send(socket, &message, sizeof message, NULL, 0, false);
}

static void tell_keeper(const struct carom_host *host, pid_t pid, uid_t uid, const char *reason)
{
    char number[CAROM__NUMBER_BYTES], user[CAROM__NUMBER_BYTES];
    const char *event[] = {"refused", carom__field(number, pid), carom__field(user, uid), reason};
    carom__host_event(host, event, 4);
}

void carom__host_refuse(struct carom_host *host, struct carom__peer *peer, int error)
{
    carom__host_send_refusal(peer->socket, error, carom_error_detail());
    tell_keeper(host, peer->pid, peer->uid, carom_error_detail());
    carom__host_bury(host, peer);
}

static bool is_allowed(const struct carom_host *host, uid_t uid)
{
    if (uid == geteuid())
        return true;
    for (size_t i = 0; i < host->allowed_uid_count; i++) {
        if (host->allowed_uids[i] == uid)
            return true;
    }
    return false;
}

/* ---------------------------------------------------------------- accepting */

static int read_credentials(int socket, struct ucred *credentials)
{
    socklen_t length = sizeof *credentials;
    *credentials = (struct ucred){.uid = (uid_t)-1};
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, credentials, &length) != 0)
        return carom__fail_errno(-errno, "cannot read who connects");
    return 0;
}

static int check_credentials(const struct carom_host *host, const struct ucred *credentials)
{
    if (is_allowed(host, credentials->uid))
        return 0;
    return carom__fail(-EACCES,
                       "uid %u is not allowed to use service '%s': its host runs as uid %u; let it "
                       "allow yours (allowed_uids)",
                       (unsigned)credentials->uid, host->name, (unsigned)geteuid());
}

static struct carom__peer *new_peer(int socket, const struct ucred *credentials)
{
    struct carom__peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL)
        return NULL;
    peer->socket = socket;
    peer->pidfd = -1;
    peer->pid = credentials->pid;
    peer->uid = credentials->uid;
    peer->connected_ns = carom__now_ns();
    return peer;
}

static int welcome_stranger(struct carom_host *host, int socket, struct ucred *credentials)
{
    int rc = read_credentials(socket, credentials);
    if (rc == 0)
        rc = check_credentials(host, credentials);
    if (rc < 0)
        return rc;
    struct carom__peer *peer = new_peer(socket, credentials);
    if (peer == NULL)
        return carom__fail(-ENOMEM, "the host has no memory for another peer");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, socket, &event) != 0) {
        free(peer);
        return carom__fail_errno(-errno, "the host cannot watch another peer");
    }
    peer->next = host->peers;
    host->peers = peer;
    host->greeting++;
    return 0;
}

static void greet(struct carom_host *host, int socket)
{
    struct ucred credentials;
    int rc = welcome_stranger(host, socket, &credentials);
    if (rc == 0)
        return;
    carom__host_send_refusal(socket, rc, carom_error_detail());
    tell_keeper(host, credentials.pid, credentials.uid, carom_error_detail());
    close(socket);
}

/* While too many are silent, or nobody can be accepted, the others wait in the socket's queue. */
static void listen_or_not(struct carom_host *host)
{
    bool wanted = host->greeting < GREETING_MOST && !host->deaf;
    if (wanted == host->listening)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN : 0, .data.ptr = &host->listen_fd};
    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_MOD, host->listen_fd, &event) == 0)
        host->listening = wanted;
    else
        host->deaf = true; /* the loop tries again soon */
}

/* Who knocks and cannot be let in would wake the loop at once again. */
static void be_deaf(struct carom_host *host)
{
    host->deaf = true;
    listen_or_not(host);
}

void carom__host_listen(struct carom_host *host)
{
    if (!host->deaf)
        return;
    host->deaf = false;
    listen_or_not(host);
}

static void open_reserve(struct carom_host *host)
{
    if (host->reserve_fd < 0)
        host->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

#define TOO_MANY_FILES "the host has too many open files: raise its ulimit -n"

/* Descriptors have run out: gives up the reserve so that the peer at least learns why. */
static void refuse_for_lack_of_fds(struct carom_host *host)
{
    if (host->reserve_fd >= 0)
        close(host->reserve_fd);
    host->reserve_fd = -1;
    int socket = accept4(host->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket >= 0) {
        struct ucred credentials;
        read_credentials(socket, &credentials);
        carom__host_send_refusal(socket, -EMFILE, TOO_MANY_FILES);
        tell_keeper(host, credentials.pid, credentials.uid, TOO_MANY_FILES);
        close(socket);
    } else if (errno != EAGAIN) {
        be_deaf(host);
    }
    open_reserve(host);
}

void carom__host_greeted(struct carom_host *host, struct carom__peer *peer)
{
    if (peer->greeted)
        return;
    peer->greeted = true;
    host->greeting--;
    listen_or_not(host);
}

void carom__host_accept(struct carom_host *host)
{
    open_reserve(host);
    while (host->greeting < GREETING_MOST) {
        int socket = accept4(host->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (socket >= 0) {
            greet(host, socket);
        } else if (errno == EMFILE || errno == ENFILE) {
            refuse_for_lack_of_fds(host);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN)
                be_deaf(host);
            return;
        }
    }
    listen_or_not(host);
}

/* ---------------------------------------------------------------- HELLO */

static int check_hello(const struct carom__hello *hello, int length)
{
    size_t names = 0;
    if (length == -EMFILE)
        return carom__fail(length, TOO_MANY_FILES);
    if (length < 0 && length != -EPROTO)
        return carom__fail_errno(length, "the host cannot read HELLO");
    if (length < (int)sizeof hello->header)
        return carom__fail(-EPROTO, "this is a carom service: what you sent is not a HELLO");
    if (hello->header.type != CAROM__HELLO)
        return carom__fail(-EPROTO, "the first message must be HELLO, not type %u",
                           hello->header.type);
    if (hello->header.protocol != CAROM__PROTOCOL)
        return carom__fail(-EPROTO,
                           "the peer speaks protocol %u, this host (carom %s) protocol %u: use "
                           "the same release of carom on both sides",
                           hello->header.protocol, carom_version(), CAROM__PROTOCOL);
    if (length < (int)sizeof *hello)
        return carom__fail(-EPROTO, "HELLO is cut off: %d of %zu bytes", length, sizeof *hello);
    if (hello->layout_hash != carom__layout_hash())
        return carom__fail(-EPROTO,
                           "the peer was built with another memory layout than this host (carom "
                           "%s): use the same release of carom on both sides",
                           carom_version());
    if (hello->role == CAROM__WORKER) /* more than CAROM__MAX_METHODS fit no message */
        names = hello->method_count * sizeof(struct carom__method_entry);
    if (hello->stand_in > (hello->role == CAROM__WORKER))
        return carom__fail(-EPROTO, "HELLO says stand_in %u: a worker says 1 or 0, others 0",
                           hello->stand_in);
    if ((size_t)length != sizeof *hello + names ||
        (hello->role == CAROM__WORKER && hello->method_count > CAROM__MAX_METHODS))
        return carom__fail(-EPROTO, "HELLO has %d bytes instead of %zu", length,
                           sizeof *hello + names);
    return 0;
}

static int watch_pidfd(struct carom_host *host, struct carom__peer *peer, int pidfd)
{
    struct epoll_event event = {.events = EPOLLIN};
    event.data.ptr = (void *)((uintptr_t)peer | CAROM__PIDFD_TAG);
    peer->pidfd = pidfd;
    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, pidfd, &event) == 0)
        return 0;
    if (errno == ENOMEM || errno == ENOSPC)
        return carom__fail_errno(-errno, "the host cannot watch another process");
    return carom__fail(-EPROTO, "the first descriptor handed over is not a pidfd");
}

static void enter(struct carom__peer_entry *entry, const struct carom__peer *peer)
{
    /* relaxed: published by `present` */
    atomic_store_explicit(&entry->pid, peer->pid, memory_order_relaxed);
    atomic_store_explicit(&entry->uid, peer->uid, memory_order_relaxed);
    atomic_store_explicit(&entry->epoch, peer->owner >> 16, memory_order_relaxed);
    atomic_store_explicit(&entry->joined_ns, peer->connected_ns, memory_order_relaxed);
    /* release: publishes the entry; pairs with the observer's acquire */
    atomic_store_explicit(&entry->present,
                          peer->stand_in ? CAROM__PRESENT_STAND_IN : CAROM__PRESENT,
                          memory_order_release);
}

static int send_welcome(const struct carom_host *host, const struct carom__peer *peer,
                        const int *fds, uint32_t count)
{
    struct carom__welcome message = {
        .id = peer->id, .epoch = peer->owner >> 16, .has_pidfd = host->pidfd >= 0};
    int all[CAROM__MESSAGE_FDS];
    memcpy(all, fds, count * sizeof fds[0]);
    if (message.has_pidfd)
        all[count++] = host->pidfd;
    carom__header_set(&message.header, CAROM__WELCOME, sizeof message);
    int rc = carom__send(peer->socket, &message, sizeof message, all, count, false);
    return rc < 0 ? carom__fail_errno(rc, "the host cannot send its welcome") : 0;
}

/* ---- client */

static int check_wishes(const struct carom_host *host, const struct carom__geometry *geometry)
{
    if (carom__geometry_check(geometry) < 0)
        return carom__fail(-EPROTO, "the geometry in HELLO is not valid");
    if (geometry->slots > host->max_slots)
        return carom__fail(-EINVAL, "%u slots asked, this service allows %u: ask for fewer",
                           geometry->slots, host->max_slots);
    if (geometry->request_block_bytes > host->max_block_bytes ||
        geometry->reply_block_bytes > host->max_block_bytes)
        return carom__fail(-EINVAL, "blocks of %llu and %llu bytes asked, this service allows %llu",
                           (unsigned long long)geometry->request_block_bytes,
                           (unsigned long long)geometry->reply_block_bytes,
                           (unsigned long long)host->max_block_bytes);
    return 0;
}

static int check_requests(const struct carom__peer *peer, const struct carom__geometry *geometry,
                          int fd)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY)
        return carom__fail(-EPROTO, "HELLO must bring the requests as a read-only descriptor");
    return carom__segment_check(fd,
                                carom__blocks_bytes(geometry->slots, geometry->request_block_bytes),
                                peer->uid == geteuid());
}

static int find_free(struct carom__peer *const *table, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (table[i] == NULL)
            return (int)i;
    }
    return -1;
}

static int welcome_client(struct carom_host *host, struct carom__peer *peer)
{
    int replies_ro = carom__segment_read_only(peer->lane->replies_fd);
    if (replies_ro < 0)
        return replies_ro;
    int fds[] = {peer->lane->control_fd, replies_ro, host->bell_fd, host->directory_ro_fd};
    int rc = send_welcome(host, peer, fds, 4);
    close(replies_ro);
    return rc;
}

static int admit_client(struct carom_host *host, struct carom__peer *peer,
                        const struct carom__hello *hello, struct carom__fds *fds)
{
    struct carom__geometry geometry = hello->geometry;
    int requests_fd = carom__take_fd(fds, hello->has_pidfd ? 1 : 0);
    int id = find_free(host->clients, host->max_clients);
    int rc = check_wishes(host, &geometry);
    if (rc == 0)
        rc = check_requests(peer, &geometry, requests_fd);
    if (rc == 0 && id < 0)
        rc = carom__fail(-ENOSPC, "the service has its %u clients already", host->max_clients);
    if (rc < 0) {
        if (requests_fd >= 0)
            close(requests_fd);
        return rc;
    }
    rc = carom__host_lane_open(peer, &geometry, requests_fd);
    if (rc < 0)
        return rc;
    peer->role = CAROM__CLIENT;
    peer->id = (uint32_t)id;
    host->clients[id] = peer;
    enter(&host->directory->lanes[id], peer);
    /* before WELCOME: workers know the lane when calls come */
    carom__host_tell_all(host, peer->id);
    carom__host_count(host);
    /* Those that sleep map the lane now, and not while the first call waits for it. */
    carom__host_wake_workers(host);
    return welcome_client(host, peer);
}

/* ---- worker */

static bool is_name(const struct carom__method_entry *entry)
{
    return entry->name[0] != '\0' && memchr(entry->name, '\0', sizeof entry->name) != NULL;
}

/* Its id; `count` if it has none. */
static uint32_t find_method(const struct carom__directory *directory, uint32_t count,
                            const struct carom__method_entry *entry)
{
    uint32_t id = 0;
    while (id < count && strcmp(directory->methods[id].name, entry->name) != 0)
        id++;
    return id;
}

/* A stand-in does not run the method: what it says of it does not count. */
static void enter_method(struct carom__directory *directory, uint32_t *count,
                         const struct carom__method_entry *entry, bool stand_in)
{
    uint32_t id = find_method(directory, *count, entry);
    /* relaxed: a private copy */
    uint32_t flags = atomic_load_explicit(&entry->flags, memory_order_relaxed) & CAROM_IDEMPOTENT;
    if (id == *count) {
        memcpy(directory->methods[id].name, entry->name, sizeof entry->name);
        (*count)++;
    }
    if (!stand_in) /* relaxed: says something of later calls only; nothing hangs on it */
        atomic_store_explicit(&directory->methods[id].flags, flags, memory_order_relaxed);
}

/* All or none: the names are checked before the first is entered. */
static int enter_methods(struct carom_host *host, const struct carom__hello *hello)
{
    const struct carom__method_entry *entries = (const void *)(hello + 1);
    struct carom__directory *directory = host->directory;
    /* relaxed: only the host writes it */
    uint32_t count = atomic_load_explicit(&directory->method_count, memory_order_relaxed);
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < hello->method_count; i++) {
        if (!is_name(&entries[i]))
            return carom__fail(-EPROTO, "a method name in HELLO is not valid");
        fresh += find_method(directory, count, &entries[i]) == count;
    }
    if (count + fresh > CAROM__MAX_METHODS)
        return carom__fail(-ENOSPC,
                           "the service has room for %u methods; %u more than that are asked",
                           CAROM__MAX_METHODS, count + fresh - CAROM__MAX_METHODS);
    for (uint32_t i = 0; i < hello->method_count; i++)
        enter_method(directory, &count, &entries[i], hello->stand_in != 0);
    /* release: the names are complete before the count covers them */
    atomic_store_explicit(&directory->method_count, count, memory_order_release);
    return 0;
}

static uint32_t next_epoch(struct carom_host *host, uint32_t worker)
{
    host->epochs[worker] = host->epochs[worker] >= 0xfffe ? 1 : host->epochs[worker] + 1;
    return host->epochs[worker];
}

static int admit_worker(struct carom_host *host, struct carom__peer *peer,
                        const struct carom__hello *hello)
{
    int id = find_free(host->workers, host->max_workers);
    if (id < 0)
        return carom__fail(-ENOSPC, "the service has its %u workers already", host->max_workers);
    int rc = enter_methods(host, hello);
    if (rc < 0)
        return rc;
    peer->role = CAROM__WORKER;
    peer->stand_in = hello->stand_in != 0;
    peer->id = (uint32_t)id;
    peer->owner = carom__owner(peer->id, next_epoch(host, peer->id));
    host->workers[id] = peer;
    memset(&host->statistics->workers[id], 0, sizeof host->statistics->workers[id]);
    enter(&host->directory->workers[id], peer);
    carom__host_count(host); /* before WELCOME: who has joined finds itself counted */
    int fds[] = {host->bell_fd, host->directory_ro_fd, host->statistics_fd};
    rc = send_welcome(host, peer, fds, 3);
    if (rc < 0)
        return rc;
    for (uint32_t lane = 0; lane < host->max_clients; lane++) {
        if (host->clients[lane] != NULL)
            peer->news[lane / 64] |= UINT64_C(1) << (lane % 64);
    }
    carom__host_flush(host, peer);
    /* The worker may have looked at its socket, and gone to sleep, before the lanes were there. */
    carom__host_changed(host);
    carom__bell_wake_worker(host->bell, peer->id);
    return 0;
}

static int admit_observer(struct carom_host *host, struct carom__peer *peer)
{
    int fds[] = {host->directory_ro_fd, host->statistics_ro_fd};
    peer->role = CAROM__OBSERVER;
    return send_welcome(host, peer, fds, 2);
}

static int admit(struct carom_host *host, struct carom__peer *peer,
                 const struct carom__hello *hello, struct carom__fds *fds)
{
    switch (hello->role) {
    case CAROM__CLIENT:
        return admit_client(host, peer, hello, fds);
    case CAROM__WORKER:
        return admit_worker(host, peer, hello);
    case CAROM__OBSERVER:
        return admit_observer(host, peer);
    default:
        return carom__fail(-EPROTO, "role %u is unknown", hello->role);
    }
}

void carom__host_admit(struct carom_host *host, struct carom__peer *peer)
{
    const struct carom__hello *hello = &host->message.hello;
    struct carom__fds fds;
    int length = carom__receive(peer->socket, &host->message, sizeof host->message, &fds, false);
    if (length == -EAGAIN)
        return;
    if (length == -ECONNRESET) {
        carom__host_bury(host, peer);
        return;
    }
    int rc = check_hello(hello, length);
    if (rc == 0 && hello->has_pidfd)
        rc = watch_pidfd(host, peer, carom__take_fd(&fds, 0));
    if (rc == 0)
        rc = admit(host, peer, hello, &fds);
    carom__close_fds(&fds);
    carom__host_greeted(host, peer);
    if (rc < 0)
        carom__host_refuse(host, peer, rc);
}

void carom__host_expire(struct carom_host *host)
{
    int64_t now_ns = carom__now_ns();
    for (struct carom__peer *peer = host->peers; host->greeting > 0 && peer != NULL;
         peer = peer->next) {
        if (peer->greeted || peer->gone || now_ns - peer->connected_ns < GREETING_NS)
            continue;
        carom__host_refuse(host, peer, carom__fail(-ETIMEDOUT, "no HELLO came within 5 seconds"));
    }
}
