/* SPDX-License-Identifier: Apache-2.0
 *
 * host.c - owning a service: its name, its memory objects, the event loop.
 *
 * The host is never on the path of a call: stop it (SIGSTOP) and calls go on. One epoll loop does
 * everything; it allocates nothing that outlives a peer. */
#include "host.h"

#include "address.h"
#include "connection.h"
#include "error.h"
#include "segment.h"
#include "wait.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS 64
#define BACKLOG 128
#define GREETING_MS 1000
#define RETRY_MS 20
#define LOCK_ATTEMPTS 100
#define DEFAULT_BLOCK_MOST (UINT64_C(1) << 30)

/* ---------------------------------------------------------------- the name */

/* Whether the locked file is still the one at its path: a closing host removes it. 1, 0 or an
 * error. */
static int is_current(int fd, const char *path)
{
    struct stat locked, named;
    if (fstat(fd, &locked) != 0)
        return -errno;
    if (stat(path, &named) != 0)
        return errno == ENOENT ? 0 : -errno;
    return locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

/* A record lock belongs to the process alone: children that it forks neither inherit the lock nor
 * keep it after the process is killed. For the same reason it does not keep this process from
 * locking twice, and closing any descriptor of the file gives it up: hence this list of hosts. */
static pthread_mutex_t own_hosts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct carom_host *own_hosts;

/* Hosts of a parent, which fork has copied into the list, are not this process's. */
static bool is_same_name(const struct carom_host *one, const struct carom_host *other)
{
    return one->forks == other->forks &&
           memcmp(&one->address, &other->address, sizeof one->address) == 0;
}

static bool list_name(struct carom_host *host)
{
    pthread_mutex_lock(&own_hosts_lock);
    struct carom_host *other = own_hosts;
    while (other != NULL && !is_same_name(other, host))
        other = other->next;
    if (other == NULL) {
        host->next = own_hosts;
        own_hosts = host;
        host->listed = true;
    }
    pthread_mutex_unlock(&own_hosts_lock);
    return other == NULL;
}

static void unlist_name(struct carom_host *host)
{
    pthread_mutex_lock(&own_hosts_lock);
    struct carom_host **link = &own_hosts;
    while (*link != host)
        link = &(*link)->next;
    *link = host->next;
    pthread_mutex_unlock(&own_hosts_lock);
}

static int fail_served(const struct carom_host *host)
{
    char path[CAROM__ADDRESS_TEXT_BYTES];
    carom__address_text(&host->address, path);
    return carom__fail(-EADDRINUSE, "service '%s' is already served by another host (%s)",
                       host->name, path);
}

/* The lock tells a live host from the socket of a killed one: the kernel drops it at death. */
static int lock_name(struct carom_host *host)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!list_name(host))
        return fail_served(host);
    if (carom__address_is_abstract(&host->address)) /* bind alone is exclusive there */
        return 0;
    snprintf(host->lock_path, sizeof host->lock_path, "%s.lock", host->address.sun_path);
    for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
        int fd = open(host->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return carom__fail(-errno, "cannot create %s: %s", host->lock_path, strerror(errno));
        bool locked = fcntl(fd, F_SETLK, &whole) == 0;
        int rc = locked ? is_current(fd, host->lock_path) : -errno;
        if (rc == 1) {
            host->lock_fd = fd;
            return 0;
        }
        close(fd);
        if (!locked && (rc == -EACCES || rc == -EAGAIN)) /* fcntl(2): another process has it */
            return fail_served(host);
        if (rc < 0)
            return carom__fail(rc, "cannot lock %s: %s", host->lock_path, strerror(-rc));
    }
    return carom__fail(-ENOENT, "cannot lock %s: somebody removes it again and again",
                       host->lock_path);
}

static int listen_on_abstract(struct carom_host *host)
{
    const struct sockaddr *address = (const struct sockaddr *)&host->address;
    if (bind(host->listen_fd, address, carom__address_bytes(&host->address)) != 0)
        return errno == EADDRINUSE ? fail_served(host)
                                   : carom__fail_errno(-errno, "cannot bind an abstract socket");
    if (listen(host->listen_fd, BACKLOG) != 0)
        return carom__fail_errno(-errno, "cannot listen on an abstract socket");
    return 0;
}

static int listen_on_name(struct carom_host *host)
{
    const char *path = host->address.sun_path;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    host->listen_fd = fd;
    if (fd < 0)
        return carom__fail_errno(-errno, "cannot create a socket");
    if (carom__address_is_abstract(&host->address))
        return listen_on_abstract(host);
    unlink(path); /* of a killed host: the lock is ours */
    mode_t mode = host->allowed_uid_count > 0 ? 0666 : 0600;
    if (bind(fd, (struct sockaddr *)&host->address, sizeof host->address) != 0 ||
        chmod(path, mode) != 0 || listen(fd, BACKLOG) != 0)
        return carom__fail(-errno, "cannot listen on %s: %s", path, strerror(errno));
    return 0;
}

/* ---------------------------------------------------------------- memory objects */

static int make_object(const char *name, size_t bytes, int *fd, int *read_only_fd, void *mapped)
{
    *fd = carom__segment_create(name, bytes);
    if (*fd < 0)
        return *fd;
    if (read_only_fd != NULL && (*read_only_fd = carom__segment_read_only(*fd)) < 0)
        return *read_only_fd;
    *(void **)mapped = carom__segment_map(*fd, bytes, true);
    return *(void **)mapped != NULL ? 0 : carom__fail_errno(-errno, "cannot map shared memory");
}

static int make_objects(struct carom_host *host)
{
    int rc = make_object("carom-bell", sizeof *host->bell, &host->bell_fd, NULL, &host->bell);
    if (rc == 0)
        rc = make_object("carom-directory", sizeof *host->directory, &host->directory_fd,
                         &host->directory_ro_fd, &host->directory);
    if (rc == 0)
        rc = make_object("carom-statistics", sizeof *host->statistics, &host->statistics_fd,
                         &host->statistics_ro_fd, &host->statistics);
    if (rc < 0)
        return rc;
    struct carom__directory *directory = host->directory;
    assert(directory != NULL); /* mapped above */
    memcpy(directory->service, host->name, sizeof directory->service);
    /* relaxed: nobody else has the memory yet */
    atomic_store_explicit(&directory->host_pid, getpid(), memory_order_relaxed);
    atomic_store_explicit(&directory->started_ns, carom__now_ns(), memory_order_relaxed);
    atomic_store_explicit(&directory->wake_ns, carom__measure_wake_ns(), memory_order_relaxed);
    return 0;
}

/* ---------------------------------------------------------------- opening */

static int watch(struct carom_host *host, int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return carom__fail_errno(-errno, "cannot watch a descriptor");
    return 0;
}

static int make_loop(struct carom_host *host)
{
    host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    host->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    host->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (host->epoll_fd < 0 || host->stop_fd < 0 || host->reserve_fd < 0)
        return carom__fail_errno(-errno, "cannot create the host's event loop");
    int rc = watch(host, host->listen_fd, &host->listen_fd);
    host->listening = rc == 0;
    return rc < 0 ? rc : watch(host, host->stop_fd, &host->stop_fd);
}

static uint32_t limit(uint32_t wanted, uint32_t most)
{
    return wanted == 0 || wanted > most ? most : wanted;
}

static int copy_uids(struct carom_host *host, const struct carom_host_options *options)
{
    if (options->allowed_uid_count == 0)
        return 0;
    host->allowed_uids = calloc(options->allowed_uid_count, sizeof *host->allowed_uids);
    if (host->allowed_uids == NULL)
        return carom__fail(-ENOMEM, "no memory for the list of allowed uids");
    memcpy(host->allowed_uids, options->allowed_uids,
           options->allowed_uid_count * sizeof *host->allowed_uids);
    host->allowed_uid_count = options->allowed_uid_count;
    return 0;
}

static int read_options(struct carom_host *host, const struct carom_host_options *given)
{
    struct carom_host_options options = {0};
    if (given != NULL && (given->size < sizeof given->size || given->size > sizeof *given))
        return carom__fail(-EINVAL, "carom_host_options.size is %zu: set it to sizeof",
                           given->size);
    if (given != NULL)
        memcpy(&options, given, given->size);
    host->max_clients = limit(options.max_clients, CAROM__MAX_LANES);
    host->max_workers = limit(options.max_workers, CAROM__MAX_WORKERS);
    host->max_slots = limit(options.max_slots, CAROM__MAX_SLOTS);
    host->max_block_bytes = options.max_block_bytes == 0 ? DEFAULT_BLOCK_MOST
                                                         : options.max_block_bytes;
    int rc = carom__host_events_open(host, options.event_fd);
    if (rc == 0)
        rc = carom__host_quarantine_open(host, options.quarantine_folder);
    return rc < 0 ? rc : copy_uids(host, &options);
}
static int open_host(struct carom_host *host, const char *service,
                     const struct carom_host_options *options)
{
    int rc = read_options(host, options);
    host->pidfd = carom__own_pidfd();
    if (rc == 0 && host->pidfd < 0 && host->pidfd != -ENOSYS)
        rc = carom__fail_errno(host->pidfd, "cannot get a pidfd of this process");
    if (rc == 0)
        rc = carom__address(service, true, &host->address);
    if (rc < 0)
        return rc;
    carom__service_label(service, host->name, sizeof host->name);
    rc = lock_name(host);
    if (rc == 0)
        rc = make_objects(host);
    if (rc == 0)
        rc = listen_on_name(host);
    return rc < 0 ? rc : make_loop(host);
}

int carom_host_open(const char *service, const struct carom_host_options *options,
                    struct carom_host **host)
{
    *host = NULL;
    int rc = carom__count_forks();
    if (rc < 0)
        return rc;
    struct carom_host *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return carom__fail(-ENOMEM, "no memory for a host");
    pthread_mutex_init(&opened->lock, NULL);
    opened->lock_fd = opened->listen_fd = opened->epoll_fd = opened->stop_fd = -1;
    opened->reserve_fd = opened->bell_fd = opened->directory_fd = opened->directory_ro_fd = -1;
    opened->statistics_fd = opened->statistics_ro_fd = -1;
    opened->pidfd = -1;
    opened->forks = carom__forks;
    rc = open_host(opened, service, options);
    if (rc < 0) {
        carom_host_close(opened);
        return rc;
    }
    *host = opened;
    return 0;
}

/* ---------------------------------------------------------------- the loop */

/* True: told to stop. */
static bool dispatch(struct carom_host *host, const struct epoll_event *event)
{
    uintptr_t tag = (uintptr_t)event->data.ptr;
    if (event->data.ptr == &host->stop_fd)
        return true;
    if (event->data.ptr == &host->listen_fd) {
        carom__host_accept(host);
        return false;
    }
    struct carom__peer *peer = (void *)(tag & ~(uintptr_t)CAROM__PIDFD_TAG);
    if (peer->gone)
        return false;
    if (tag & CAROM__PIDFD_TAG)
        carom__host_end(host, peer);
    else
        carom__host_serve(host, peer, event->events);
    return false;
}

static void announce_stop(struct carom_host *host)
{
    /* relaxed: published by the change that follows */
    atomic_store_explicit(&host->directory->state, CAROM_STOPPING, memory_order_relaxed);
    carom__host_changed(host);
    carom__host_wake_workers(host);
}

/* Only this thread changes what decides. */
static int patience_ms(const struct carom_host *host)
{
    return host->retrying || host->deaf ? RETRY_MS : host->greeting > 0 ? GREETING_MS : -1;
}

/* True: told to stop. */
static bool handle(struct carom_host *host, const struct epoll_event *events, int count)
{
    bool stop = false;
    pthread_mutex_lock(&host->lock);
    carom__host_listen(host);
    for (int i = 0; i < count; i++)
        stop |= dispatch(host, &events[i]);
    carom__host_retry(host);
    carom__host_expire(host);
    carom__host_sweep(host);
    if (stop)
        announce_stop(host);
    pthread_mutex_unlock(&host->lock);
    return stop;
}

int carom_host_run(struct carom_host *host)
{
    struct epoll_event events[EVENTS];
    int rc = carom__check_fork(host->forks);
    while (rc == 0) {
        int count = epoll_wait(host->epoll_fd, events, EVENTS, patience_ms(host));
        if (count < 0 && errno != EINTR)
            rc = carom__fail_errno(-errno, "the host cannot wait for events");
        else if (handle(host, events, count))
            break;
    }
    return rc;
}

void carom_host_stop(struct carom_host *host)
{
    uint64_t one = 1;
    if (host->forks != carom__forks) /* a child shares the eventfd, but this is not its host */
        return;
    int error = errno; /* signal handlers must leave errno alone */
    ssize_t written = write(host->stop_fd, &one, sizeof one);
    (void)written; /* fails only when the counter is full: then the host has been told */
    errno = error;
}

int carom_host_wait_ready(struct carom_host *host, uint32_t workers, int64_t timeout_ns)
{
    int rc = carom__check_fork(host->forks);
    return rc < 0
               ? rc
               : carom__await_ready(host->directory, NULL, workers, carom__deadline_ns(timeout_ns));
}

/* ---------------------------------------------------------------- closing */

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void close_peers(struct carom_host *host)
{
    while (host->peers != NULL) {
        struct carom__peer *peer = host->peers;
        host->peers = peer->next;
        if (!peer->gone) {
            close_fd(peer->socket);
            close_fd(peer->pidfd);
            carom__host_lane_close(peer, host->forks == carom__forks);
        }
        free(peer);
    }
}

static void remove_name(struct carom_host *host)
{
    if (host->lock_fd < 0 || host->forks != carom__forks)
        return;
    if (host->listen_fd >= 0)
        unlink(host->address.sun_path);
    unlink(host->lock_path); /* while it is locked: see is_current */
}

void carom_host_close(struct carom_host *host)
{
    if (host == NULL)
        return;
    remove_name(host);
    close_fd(host->listen_fd);
    close_peers(host);
    close_fd(host->epoll_fd);
    close_fd(host->stop_fd);
    close_fd(host->reserve_fd);
    if (host->forks == carom__forks) { /* a child has no mappings: they are not inherited */
        carom__segment_unmap(host->bell, sizeof *host->bell);
        carom__segment_unmap(host->directory, sizeof *host->directory);
        carom__segment_unmap(host->statistics, sizeof *host->statistics);
    }
    close_fd(host->bell_fd);
    close_fd(host->directory_fd);
    close_fd(host->directory_ro_fd);
    close_fd(host->statistics_fd);
    close_fd(host->statistics_ro_fd);
    close_fd(host->pidfd);
    close_fd(host->lock_fd);
    if (host->listed)
        unlist_name(host);
    if (host->forks == carom__forks) /* in a child a thread that is not there may hold it */
        pthread_mutex_destroy(&host->lock);
    free(host->quarantine_folder);
    free(host->allowed_uids);
    free(host);
}
