/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c - joining a service as a worker, and leaving it. Taking calls is in take.c. */
#include "worker.h"

#include "connection.h"
#include "error.h"
#include "segment.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int check_methods(const struct carom_method *methods, size_t count)
{
    if (count == 0 || count > CAROM__MAX_METHODS)
        return carom__fail(-EINVAL, "a worker serves 1 to %u methods, not %zu", CAROM__MAX_METHODS,
                           count);
    for (size_t i = 0; i < count; i++) {
        const char *name = methods[i].name;
        if (name == NULL || name[0] == '\0' || strlen(name) > CAROM_METHOD_NAME_MAX)
            return carom__fail(-EINVAL, "method %zu: a name has 1 to %d bytes", i,
                               CAROM_METHOD_NAME_MAX);
        if (methods[i].flags & ~(unsigned)CAROM_IDEMPOTENT)
            return carom__fail(-EINVAL, "method '%s' has flags 0x%x: use CAROM_IDEMPOTENT or 0",
                               name, methods[i].flags);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(methods[j].name, name) == 0)
                return carom__fail(-EEXIST, "method '%s' is named twice", name);
        }
    }
    return 0;
}

static int copy_methods(struct carom_worker *worker, const struct carom_method *methods,
                        size_t count)
{
    worker->methods = calloc(count, sizeof *worker->methods);
    for (size_t i = 0; worker->methods != NULL && i < count; i++) {
        worker->methods[i] = methods[i];
        worker->methods[i].name = strdup(methods[i].name);
        worker->method_count = i + 1;
        if (worker->methods[i].name == NULL)
            return carom__fail(-ENOMEM, "no memory for method names");
    }
    return worker->methods != NULL ? 0 : carom__fail(-ENOMEM, "no memory for method names");
}

static int map_objects(struct carom_worker *worker, const struct carom__fds *fds)
{
    worker->bell = carom__segment_map(fds->fd[0], sizeof *worker->bell, true);
    if (worker->bell != NULL)
        worker->directory = carom__segment_map(fds->fd[1], sizeof *worker->directory, false);
    if (worker->directory != NULL)
        worker->statistics = carom__segment_map(fds->fd[2], sizeof *worker->statistics, true);
    if (worker->statistics == NULL)
        return carom__fail_errno(-errno, "cannot map the service's memory");
    worker->stats = &worker->statistics->workers[worker->id];
    return 0;
}

static void write_methods(const struct carom_worker *worker, struct carom__method_entry *entries)
{
    for (size_t i = 0; i < worker->method_count; i++) {
        const struct carom_method *method = &worker->methods[i];
        memcpy(entries[i].name, method->name, strlen(method->name));
        /* relaxed: private memory, which a message carries */
        atomic_store_explicit(&entries[i].flags, method->flags, memory_order_relaxed);
    }
}

static int shake_hands(struct carom_worker *worker, int64_t deadline_ns, bool stand_in)
{
    size_t names_bytes = worker->method_count * sizeof(struct carom__method_entry);
    struct carom__hello *hello = calloc(1, sizeof *hello + names_bytes);
    struct carom__welcome welcome;
    struct carom__fds fds;
    if (hello == NULL)
        return carom__fail(-ENOMEM, "no memory for the handshake");
    hello->role = CAROM__WORKER;
    hello->method_count = (uint32_t)worker->method_count;
    hello->stand_in = stand_in;
    write_methods(worker, (void *)(hello + 1));
    int rc = carom__shake_hands(&worker->connection, hello, sizeof *hello + names_bytes, -1,
                                deadline_ns, &welcome, &fds, 3);
    free(hello);
    if (rc < 0)
        return rc;
    worker->id = welcome.id;
    worker->owner = carom__owner(welcome.id, welcome.epoch);
    if (welcome.id < CAROM__MAX_WORKERS) {
        rc = map_objects(worker, &fds);
    } else {
        carom__fail(-EPROTO, "the host named worker %u, which cannot be", welcome.id);
        rc = -EPROTO;
    }
    carom__close_fds(&fds);
    return rc;
}

static int16_t find_method(const struct carom_worker *worker,
                           const struct carom__method_entry *entry)
{
    for (size_t i = 0; i < worker->method_count; i++) {
        if (strncmp(worker->methods[i].name, entry->name, CAROM__METHOD_NAME_BYTES) == 0)
            return (int16_t)i;
    }
    return -1;
}

/* Ids of the directory -> indexes of this worker's methods. */
static void index_methods(struct carom_worker *worker)
{
    /* acquire: pairs with the host's release after it wrote the names */
    uint32_t count = atomic_load_explicit(&worker->directory->method_count, memory_order_acquire);
    for (uint32_t id = 0; id < CAROM__MAX_METHODS; id++)
        worker->method_index[id] = id < count ? find_method(worker, &worker->directory->methods[id])
                                              : -1;
}

static int open_worker(struct carom_worker *worker, const char *service, int64_t deadline_ns,
                       const struct carom_worker_options *options)
{
    int rc = worker->connection.socket = carom__connect(service, deadline_ns);
    if (rc >= 0)
        rc = shake_hands(worker, deadline_ns, options->stand_in);
    if (rc != 0)
        return rc;
    assert(worker->directory != NULL); /* shake_hands has mapped it */
    index_methods(worker);
    /* relaxed: the host wrote it before the handshake, whose messages order it */
    int64_t cap_ns = atomic_load_explicit(&worker->directory->wake_ns, memory_order_relaxed);
    if (options->spin_ns > 0)
        cap_ns = options->spin_ns;
    carom__spin_init(&worker->spin, options->no_spin ? 0 : cap_ns);
    return carom__worker_news(worker);
}

static int read_options(const struct carom_worker_options *given,
                        struct carom_worker_options *options)
{
    *options = (struct carom_worker_options){0};
    if (given != NULL && (given->size < sizeof given->size || given->size > sizeof *given))
        return carom__fail(-EINVAL, "carom_worker_options.size is %zu: set it to sizeof",
                           given->size);
    if (given != NULL)
        memcpy(options, given, given->size);
    return 0;
}

int carom_worker_open(const char *service, const struct carom_method *methods, size_t method_count,
                      int64_t timeout_ns, const struct carom_worker_options *given,
                      struct carom_worker **worker)
{
    struct carom_worker_options options;
    *worker = NULL;
    int rc = carom__count_forks();
    if (rc == 0)
        rc = read_options(given, &options);
    if (rc == 0)
        rc = check_methods(methods, method_count);
    if (rc != 0)
        return rc;
    struct carom_worker *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return carom__fail(-ENOMEM, "no memory for a worker");
    opened->connection = (struct carom__connection){-1, -1};
    opened->forks = carom__forks;
    opened->request.worker = opened;
    rc = copy_methods(opened, methods, method_count);
    if (rc == 0)
        rc = open_worker(opened, service, carom__deadline_ns(timeout_ns), &options);
    if (rc < 0) {
        carom_worker_close(opened);
        return rc;
    }
    *worker = opened;
    return 0;
}

/* Without it the host takes the hang-up for a mishap and waits for this process to end. */
static void say_goodbye(const struct carom_worker *worker)
{
    struct carom__header header;
    carom__header_set(&header, CAROM__LEAVE, sizeof header);
    if (worker->connection.socket >= 0)
        carom__worker_say(worker, &header, sizeof header);
}

void carom_worker_close(struct carom_worker *worker)
{
    if (worker == NULL)
        return;
    if (worker->forks == carom__forks) { /* a child has no mappings: they are not inherited */
        if (worker->request.open)
            carom_request_fail(&worker->request, CAROM_INTERNAL, "carom.Unfinished",
                               "the worker left without a reply", NULL);
        carom__worker_drop_lanes(worker);
        carom__segment_unmap(worker->bell, sizeof *worker->bell);
        carom__segment_unmap(worker->directory, sizeof *worker->directory);
        carom__segment_unmap(worker->statistics, sizeof *worker->statistics);
        say_goodbye(worker); /* after the last touch of a lane */
    }
    carom__disconnect(&worker->connection);
    for (size_t i = 0; i < worker->method_count; i++)
        free((void *)(uintptr_t)worker->methods[i].name);
    free(worker->methods);
    free(worker);
}
