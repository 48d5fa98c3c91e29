/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - connecting to a service and leaving it, and method names. */
#include "client.h"

#include "bell.h"
#include "connection.h"
#include "error.h"
#include "segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_SLOTS 256u
#define DEFAULT_BLOCK_BYTES (UINT64_C(64) << 20)
#define DEFAULT_RESIDENT_BYTES (UINT64_C(256) << 20)

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + CAROM__PAGE_BYTES - 1) & ~(CAROM__PAGE_BYTES - 1);
}

static int read_options(const struct carom_client_options *given,
                        struct carom_client_options *options)
{
    *options = (struct carom_client_options){0};
    if (given != NULL && (given->size < sizeof given->size || given->size > sizeof *given))
        return carom__fail(-EINVAL, "carom_client_options.size is %zu: set it to sizeof",
                           given->size);
    if (given != NULL)
        memcpy(options, given, given->size);
    if (options->slots == 0)
        options->slots = DEFAULT_SLOTS;
    if (options->request_block_bytes == 0)
        options->request_block_bytes = DEFAULT_BLOCK_BYTES;
    if (options->reply_block_bytes == 0)
        options->reply_block_bytes = DEFAULT_BLOCK_BYTES;
    if (options->resident_bytes == 0)
        options->resident_bytes = DEFAULT_RESIDENT_BYTES;
    return 0;
}

static int choose_geometry(const struct carom_client_options *options,
                           struct carom__geometry *geometry)
{
    *geometry = (struct carom__geometry){
        .slots = options->slots,
        .ring_cells = options->slots * CAROM__CELLS_PER_SLOT,
        .request_block_bytes = whole_pages(options->request_block_bytes),
        .reply_block_bytes = whole_pages(options->reply_block_bytes),
    };
    if (carom__geometry_check(geometry) == 0)
        return 0;
    return carom__fail(-EINVAL,
                       "slots must be a power of two up to %u (%u asked), blocks up to 1 TiB",
                       CAROM__MAX_SLOTS, options->slots);
}

static int map_fd(struct carom__fds *fds, uint32_t index, size_t bytes, bool writable, void *at)
{
    void *base = NULL;
    if (carom__segment_check(fds->fd[index], bytes, true) == 0)
        base = carom__segment_map(fds->fd[index], bytes, writable);
    *(void **)at = base;
    return base != NULL ? 0 : carom__fail_errno(-ENOMEM, "cannot map the lane");
}

/* Maps what WELCOME brought: lane control, replies, bell, directory. */
static int map_objects(struct carom_client *client, struct carom__fds *fds,
                       const struct carom__geometry *geometry)
{
    void *control;
    size_t replies_bytes = carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes);
    int rc = map_fd(fds, 0, carom__control_bytes(geometry), true, &control);
    if (rc == 0) {
        carom__lane_view(&client->lane, control, geometry);
        rc = map_fd(fds, 1, replies_bytes, false, &client->replies);
    }
    if (rc == 0)
        rc = map_fd(fds, 2, sizeof *client->bell, true, &client->bell);
    if (rc == 0)
        rc = map_fd(fds, 3, sizeof *client->directory, false, &client->directory);
    return rc;
}

static int make_calls(struct carom_client *client, uint32_t slots)
{
    client->calls = aligned_alloc(CAROM__LINE_BYTES, slots * sizeof *client->calls);
    _Atomic uint16_t *next = calloc(slots, sizeof *next);
    client->slots.next = next;
    client->producer.cells = calloc(client->lane.geometry.ring_cells,
                                    sizeof *client->producer.cells);
    if (client->calls == NULL || next == NULL || client->producer.cells == NULL)
        return carom__fail(-ENOMEM, "no memory for %u calls", slots);
    memset(client->calls, 0, slots * sizeof *client->calls);
    const struct carom__geometry *geometry = &client->lane.geometry;
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct carom_call *call = &client->calls[slot];
        call->client = client;
        call->submission.slot = slot;
        call->shared = &client->lane.slots[slot];
        call->request = client->requests + carom__block_offset(slot, geometry->request_block_bytes);
        call->reply = client->replies + carom__block_offset(slot, geometry->reply_block_bytes);
    }
    carom__slots_init(&client->slots, next, slots);
    return 0;
}

static int join(struct carom_client *client, const struct carom__geometry *geometry,
                int64_t deadline_ns)
{
    struct carom__hello hello = {.role = CAROM__CLIENT, .geometry = *geometry};
    struct carom__welcome welcome;
    struct carom__fds fds;
    size_t requests_bytes = carom__blocks_bytes(geometry->slots, geometry->request_block_bytes);
    int requests_fd = carom__segment_create("carom-requests", requests_bytes);
    if (requests_fd < 0)
        return requests_fd;
    client->requests = carom__segment_map(requests_fd, requests_bytes, true);
    int rc = client->requests == NULL ? carom__fail_errno(-errno, "cannot map the requests") : 0;
    int read_only_fd = rc == 0 ? carom__segment_read_only(requests_fd) : rc;
    close(requests_fd); /* from here on nobody can map the requests writable again */
    if (read_only_fd < 0)
        return read_only_fd;
    rc = carom__shake_hands(&client->connection, &hello, sizeof hello, read_only_fd, deadline_ns,
                            &welcome, &fds, 4);
    close(read_only_fd);
    if (rc < 0)
        return rc;
    client->lane_id = welcome.id;
    rc = welcome.id < CAROM__MAX_LANES ? map_objects(client, &fds, geometry)
                                       : carom__fail(-EPROTO, "the host named a lane out of range");
    carom__close_fds(&fds);
    return rc;
}

static void choose_spin(struct carom_client *client, const struct carom_client_options *options)
{
    /* relaxed: the host wrote it before the handshake, whose messages order it */
    int64_t cap_ns = atomic_load_explicit(&client->directory->wake_ns, memory_order_relaxed);
    if (options->spin_ns > 0)
        cap_ns = options->spin_ns;
    carom__spin_init(&client->spin, options->no_spin ? 0 : cap_ns);
}

static int open_client(struct carom_client *client, const char *service, int64_t deadline_ns,
                       const struct carom_client_options *options)
{
    struct carom__geometry geometry;
    int rc = choose_geometry(options, &geometry);
    client->lane.geometry = geometry;
    if (rc == 0)
        rc = client->connection.socket = carom__connect(service, deadline_ns);
    if (rc >= 0)
        rc = join(client, &geometry, deadline_ns);
    if (rc == 0)
        rc = make_calls(client, geometry.slots);
    if (rc == 0)
        rc = carom__await_ready(client->directory, &client->connection, 1, deadline_ns);
    if (rc == 0)
        choose_spin(client, options);
    return rc;
}

int carom_client_open(const char *service, int64_t timeout_ns,
                      const struct carom_client_options *given, struct carom_client **client)
{
    struct carom_client_options options;
    *client = NULL;
    carom__count_forks();
    int rc = read_options(given, &options);
    if (rc < 0)
        return rc;
    struct carom_client *opened = aligned_alloc(CAROM__LINE_BYTES, sizeof *opened);
    if (opened == NULL)
        return carom__fail(-ENOMEM, "no memory for a client");
    memset(opened, 0, sizeof *opened);
    opened->connection = (struct carom__connection){-1, -1};
    opened->forks = carom__forks;
    opened->resident_limit_bytes = options.resident_bytes;
    pthread_mutex_init(&opened->completions.lock, NULL);
    rc = open_client(opened, service, carom__deadline_ns(timeout_ns), &options);
    if (rc < 0) {
        carom_client_close(opened);
        return rc;
    }
    *client = opened;
    return 0;
}

static void unmap_objects(struct carom_client *client)
{
    const struct carom__geometry *geometry = &client->lane.geometry;
    carom__segment_unmap((void *)(uintptr_t)client->replies,
                         carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes));
    carom__segment_unmap(client->requests,
                         carom__blocks_bytes(geometry->slots, geometry->request_block_bytes));
    carom__segment_unmap(client->lane.control, carom__control_bytes(geometry));
    carom__segment_unmap(client->bell, sizeof *client->bell);
    carom__segment_unmap(client->directory, sizeof *client->directory);
}

void carom_client_close(struct carom_client *client)
{
    if (client == NULL)
        return;
    if (client->forks == carom__forks) /* a child has no mappings: they are not inherited */
        unmap_objects(client);
    carom__disconnect(&client->connection);
    for (uint32_t slot = 0; client->calls != NULL && slot < client->lane.geometry.slots; slot++)
        free(client->calls[slot].failure.type);
    pthread_mutex_destroy(&client->completions.lock);
    free((void *)client->slots.next);
    free((void *)client->producer.cells);
    free(client->calls);
    free(client);
}

uint32_t carom_client_slots(const struct carom_client *client)
{
    return client->lane.geometry.slots;
}

/* ---------------------------------------------------------------- methods */

static void list_methods(const struct carom__directory *directory, uint32_t count, char *text,
                         size_t capacity)
{
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

int carom_client_method(struct carom_client *client, const char *name)
{
    const struct carom__directory *directory = client->directory;
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    /* acquire: pairs with the host's release after it wrote the names */
    uint32_t count = atomic_load_explicit(&directory->method_count, memory_order_acquire);
    if (count > CAROM__MAX_METHODS)
        count = CAROM__MAX_METHODS;
    for (uint32_t method = 0; method < count; method++) {
        if (strncmp(directory->methods[method].name, name, CAROM__METHOD_NAME_BYTES) == 0)
            return (int)method;
    }
    char known[700];
    list_methods(directory, count, known, sizeof known);
    return carom__fail(-ENOSYS, "service '%.*s' has no method '%.100s'; it has: %s",
                       (int)CAROM__SERVICE_NAME_BYTES, directory->service, name, known);
}
