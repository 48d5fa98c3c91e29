/* SPDX-License-Identifier: Apache-2.0
 *
 * client_methods.c - names of methods and their ids. An id is an index into the client's own table,
 * so it outlives the connection; the id in the host's directory stands behind it and is looked up
 * again after each. Entries are never taken away. */
#include "client.h"

#include "error.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the directory */

static uint32_t known_methods(const struct carom__directory *directory)
{
    /* acquire: pairs with the host's release after it wrote the names */
    uint32_t count = atomic_load_explicit(&directory->method_count, memory_order_acquire);
    return count < CAROM__MAX_METHODS ? count : CAROM__MAX_METHODS;
}

static uint32_t find_in_directory(const struct carom__directory *directory, const char *name)
{
    uint32_t count = known_methods(directory);
    for (uint32_t id = 0; id < count; id++) {
        if (strncmp(directory->methods[id].name, name, CAROM__METHOD_NAME_BYTES) == 0)
            return id;
    }
    return CAROM__UNRESOLVED;
}

static int state_of(const struct carom__directory *directory)
{
    /* acquire: who sees that a worker is ready sees its methods as well; pairs with the host's
     * release of the state */
    return (int)atomic_load_explicit(&directory->state, memory_order_acquire);
}

bool carom__method_is_idempotent(const struct carom_client *client, uint32_t id)
{
    if (id >= CAROM__MAX_METHODS)
        return false;
    /* relaxed: a flag of an entry that was complete when its id was found */
    return (atomic_load_explicit(&client->directory->methods[id].flags, memory_order_relaxed) &
            CAROM_IDEMPOTENT) != 0;
}

static void list_methods(const struct carom__directory *directory, char *text, size_t capacity)
{
    uint32_t count = known_methods(directory);
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < count && used + CAROM__METHOD_NAME_BYTES + 3 < capacity; i++) {
        const char *name = directory->methods[i].name;
        size_t length = strnlen(name, CAROM__METHOD_NAME_BYTES - 1);
        if (i > 0) {
            memcpy(text + used, ", ", 2);
            used += 2;
        }
        memcpy(text + used, name, length);
        used += length;
        text[used] = '\0';
    }
}

static int fail_unknown(const struct carom__directory *directory, const char *name)
{
    char known[700];
    list_methods(directory, known, sizeof known);
    if (known[0] == '\0')
        return carom__fail(-ENOSYS,
                           "service '%.*s' has no method '%.100s': no worker was ready yet",
                           (int)CAROM__SERVICE_NAME_BYTES, directory->service, name);
    return carom__fail(-ENOSYS, "service '%.*s' has no method '%.100s'; it has: %s",
                       (int)CAROM__SERVICE_NAME_BYTES, directory->service, name, known);
}

/* ---------------------------------------------------------------- the client's table */

/* All of this under names.lock, which keeps the directory from being exchanged meanwhile. */

static bool resolve(struct carom_client *client, uint32_t method)
{
    _Atomic uint32_t *id = &client->method_ids[method];
    /* relaxed: written under the lock */
    if (atomic_load_explicit(id, memory_order_relaxed) == CAROM__UNRESOLVED)
        /* relaxed: the id alone is what readers use */
        atomic_store_explicit(id, find_in_directory(client->directory, client->names.name[method]),
                              memory_order_relaxed);
    return atomic_load_explicit(id, memory_order_relaxed) != CAROM__UNRESOLVED; /* as above */
}

void carom__methods_resolve(struct carom_client *client)
{
    for (uint32_t method = 0; method < client->names.count; method++) {
        /* relaxed: no thread has a slot, and the slots are pushed with release after this */
        atomic_store_explicit(&client->method_ids[method], CAROM__UNRESOLVED, memory_order_relaxed);
        resolve(client, method);
    }
}

static int find_entry(const struct carom__names *names, const char *name)
{
    for (uint32_t method = 0; method < names->count; method++) {
        if (strcmp(names->name[method], name) == 0)
            return (int)method;
    }
    return -1;
}

static int add_entry(struct carom_client *client, const char *name)
{
    struct carom__names *names = &client->names;
    if (names->count == CAROM__MAX_METHODS)
        return carom__fail(-ENOSPC,
                           "this client has asked for %u methods already, the most there "
                           "can be",
                           CAROM__MAX_METHODS);
    names->name[names->count] = strdup(name);
    if (names->name[names->count] == NULL)
        return carom__fail(-ENOMEM, "no memory for the name of a method");
    return (int)names->count++;
}

/* Whether a name that the directory does not have may yet come: with the first worker, or with the
 * next host. */
static bool may_come(const struct carom_client *client)
{
    if (!carom__client_is_open(client))
        return client->reconnect.timeout_ns >= 0;
    return state_of(client->directory) == CAROM_STARTING && known_methods(client->directory) == 0;
}

static int method_locked(struct carom_client *client, const char *name)
{
    /* before the look: a worker may come in between. No method has an empty name */
    bool is_possible = name[0] != '\0' && may_come(client);
    int method = find_entry(&client->names, name);
    bool is_there = method >= 0 ? resolve(client, (uint32_t)method)
                                : find_in_directory(client->directory, name) != CAROM__UNRESOLVED;
    if (!is_there && !is_possible)
        return fail_unknown(client->directory, name);
    if (method < 0 && (method = add_entry(client, name)) >= 0)
        resolve(client, (uint32_t)method);
    return method;
}

int carom_client_method(struct carom_client *client, const char *name)
{
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    if (name == NULL)
        return carom__fail(-EINVAL, "the name of the method is NULL");
    if (strnlen(name, CAROM_METHOD_NAME_MAX + 1) > CAROM_METHOD_NAME_MAX)
        return carom__fail(-EINVAL, "a method's name has at most %d bytes: '%.100s...'",
                           CAROM_METHOD_NAME_MAX, name);
    pthread_mutex_lock(&client->names.lock);
    rc = method_locked(client, name);
    pthread_mutex_unlock(&client->names.lock);
    return rc;
}

/* ---------------------------------------------------------------- waiting for a method */

/* 1 it is there, 0 it may come, or why it will not. */
static int look(struct carom_client *client, uint32_t method)
{
    int state = state_of(client->directory); /* before the look for the name */
    if (resolve(client, method))
        return 1;
    if (carom__client_host_gone(client))
        return carom__fail(-EHOSTDOWN, "the service's host died");
    if (state == CAROM_STOPPING)
        return carom__fail(-ESHUTDOWN, "the service is stopping");
    return state == CAROM_STARTING ? 0
                                   : fail_unknown(client->directory, client->names.name[method]);
}

static int look_locked(struct carom_client *client, int method)
{
    pthread_mutex_lock(&client->names.lock);
    int rc = (uint32_t)method < client->names.count
                 ? look(client, (uint32_t)method)
                 : carom__fail(-EINVAL,
                               "%d is not the id of a method: carom_client_method gives "
                               "them",
                               method);
    pthread_mutex_unlock(&client->names.lock);
    return rc;
}

int carom__method_await(struct carom_client *client, int method, int64_t deadline_ns,
                        unsigned flags)
{
    const struct carom__directory *directory = client->directory;
    for (;;) {
        /* acquire: pairs with the host's release after it wrote what changed */
        uint32_t change = atomic_load_explicit(&directory->change, memory_order_acquire);
        int rc = look_locked(client, method);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        if (flags & CAROM_NOWAIT)
            return carom__fail(-EAGAIN, "no worker of the service is ready yet");
        int64_t left_ns = deadline_ns - carom__now_ns();
        if (left_ns <= 0)
            return carom__fail(-ETIMEDOUT, "no worker of service '%.*s' was ready in time",
                               (int)CAROM__SERVICE_NAME_BYTES, directory->service);
        rc = carom__futex_wait(&directory->change, change,
                               left_ns < CAROM__SLICE_NS ? left_ns : CAROM__SLICE_NS);
        if (rc == -EINTR && flags & CAROM_INTERRUPTIBLE)
            return carom__fail(rc, "a signal arrived before a worker was ready: begin again");
    }
}
