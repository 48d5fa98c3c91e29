/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - connecting to a service and leaving it: options, the client's own memory. */
#include "client.h"

#include "connection.h"
#include "error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_SLOTS 256u
#define DEFAULT_BLOCK_BYTES (UINT64_C(64) << 20)
#define DEFAULT_RESIDENT_BYTES (UINT64_C(256) << 20)
#define DEFAULT_ATTEMPTS 3u
#define DEFAULT_STATUSES (1u << CAROM_UNAVAILABLE)
#define EVERY_ERROR_STATUS ((2u << CAROM_UNAUTHENTICATED) - 2u)
#define DEFAULT_PAUSE_NS INT64_C(5000000)
#define DEFAULT_PAUSE_MOST_NS INT64_C(1000000000)
#define DEFAULT_RECONNECT_NS INT64_C(5000000000)

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + CAROM__PAGE_BYTES - 1) & ~(CAROM__PAGE_BYTES - 1);
}

static int read_retry_options(struct carom_client_options *options)
{
    if (options->retry_attempts == 0)
        options->retry_attempts = DEFAULT_ATTEMPTS;
    if (options->retry_statuses == 0)
        options->retry_statuses = DEFAULT_STATUSES;
    if (options->retry_pause_ns == 0)
        options->retry_pause_ns = DEFAULT_PAUSE_NS;
    if (options->retry_pause_most_ns == 0)
        options->retry_pause_most_ns = options->retry_pause_ns > DEFAULT_PAUSE_MOST_NS
                                           ? options->retry_pause_ns
                                           : DEFAULT_PAUSE_MOST_NS;
    if (options->reconnect_timeout_ns == 0)
        options->reconnect_timeout_ns = DEFAULT_RECONNECT_NS;
    if ((options->retry_statuses & ~EVERY_ERROR_STATUS) != 0)
        return carom__fail(-EINVAL, "retry_statuses 0x%x has bits that are no error: bits 1 to %d",
                           options->retry_statuses, CAROM_UNAUTHENTICATED);
    if (options->retry_pause_ns < 0 || options->retry_pause_most_ns < options->retry_pause_ns)
        return carom__fail(-EINVAL,
                           "retry_pause_ns is %lld and retry_pause_most_ns %lld: neither may be "
                           "negative, nor the first more than the second",
                           (long long)options->retry_pause_ns,
                           (long long)options->retry_pause_most_ns);
    return 0;
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
    return read_retry_options(options);
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

static int make_calls(struct carom_client *client, uint32_t slots)
{
    client->calls = aligned_alloc(CAROM__LINE_BYTES, slots * sizeof *client->calls);
    if (client->calls != NULL) /* before anything fails: carom_client_close reads them */
        memset(client->calls, 0, slots * sizeof *client->calls);
    _Atomic uint16_t *next = calloc(slots, sizeof *next);
    client->slots.next = next;
    client->producer.cells = calloc(client->lane.geometry.ring_cells,
                                    sizeof *client->producer.cells);
    if (client->calls == NULL || next == NULL || client->producer.cells == NULL)
        return carom__fail(-ENOMEM, "no memory for %u calls", slots);
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

static void choose_spin(struct carom_client *client, const struct carom_client_options *options)
{
    /* relaxed: the host wrote it before the handshake, whose messages order it */
    int64_t cap_ns = atomic_load_explicit(&client->directory->wake_ns, memory_order_relaxed);
    if (options->spin_ns > 0)
        cap_ns = options->spin_ns;
    carom__spin_init(&client->spin, options->no_spin ? 0 : cap_ns);
}

/* Where the mappings are stays the same for the life of the client. */
static void take_over(struct carom_client *client, const struct carom__joined *joined)
{
    carom__lane_view(&client->lane, joined->control, &client->lane.geometry);
    client->requests = joined->requests;
    client->replies = joined->replies;
    client->bell = joined->bell;
    client->directory = joined->directory;
    client->connection = joined->connection;
    atomic_init(&client->lane_id, joined->lane_id);
    atomic_init(&client->reconnect.connected_ns, carom__now_ns());
}

static int connect_client(struct carom_client *client, int64_t deadline_ns)
{
    struct carom__joined joined;
    int socket = carom__connect(client->service, deadline_ns);
    if (socket < 0)
        return socket;
    int rc = carom__join(socket, &client->lane.geometry, deadline_ns, &joined);
    if (rc == 0)
        take_over(client, &joined);
    return rc;
}

static int open_client(struct carom_client *client, int64_t deadline_ns,
                       const struct carom_client_options *options)
{
    struct carom__geometry geometry;
    int rc = choose_geometry(options, &geometry);
    client->lane.geometry = geometry;
    if (rc == 0)
        rc = connect_client(client, deadline_ns);
    if (rc == 0)
        rc = make_calls(client, geometry.slots);
    if (rc < 0)
        return rc;
    choose_spin(client, options);
    carom__client_rehearse(client);
    return 0;
}

/* Where the kernel gives no random bytes yet, the clock and an address tell clients apart. */
static uint64_t random_seed(const void *address)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)carom__now_ns() ^ (uint64_t)(uintptr_t)address << 20;
    return seed | 1;
}

static struct carom_client *new_client(const char *service,
                                       const struct carom_client_options *options)
{
    struct carom_client *client = aligned_alloc(CAROM__LINE_BYTES, sizeof *client);
    if (client == NULL)
        return NULL;
    memset(client, 0, sizeof *client);
    client->connection = (struct carom__connection){-1, -1};
    client->forks = carom__forks;
    client->service = strdup(service);
    client->resident_limit_bytes = options->resident_bytes;
    client->retry.attempts = options->retry_attempts;
    client->retry.statuses = options->retry_statuses;
    client->retry.pause_ns = options->retry_pause_ns;
    client->retry.pause_most_ns = options->retry_pause_most_ns;
    client->reconnect.timeout_ns = options->reconnect_timeout_ns;
    atomic_init(&client->retry.random, random_seed(client));
    for (uint32_t method = 0; method < CAROM__MAX_METHODS; method++)
        atomic_init(&client->method_ids[method], CAROM__UNRESOLVED);
    pthread_mutex_init(&client->completions.lock, NULL);
    pthread_mutex_init(&client->names.lock, NULL);
    return client;
}

int carom_client_open(const char *service, int64_t timeout_ns,
                      const struct carom_client_options *given, struct carom_client **client)
{
    struct carom_client_options options;
    *client = NULL;
    int rc = carom__count_forks();
    if (rc == 0)
        rc = read_options(given, &options);
    if (rc != 0)
        return rc;
    if (service == NULL)
        return carom__fail(-EINVAL, "the name of the service is NULL");
    struct carom_client *opened = new_client(service, &options);
    rc = opened != NULL && opened->service != NULL
             ? open_client(opened, carom__deadline_ns(timeout_ns), &options)
             : carom__fail(-ENOMEM, "no memory for a client");
    if (rc < 0)
        carom_client_close(opened);
    else
        *client = opened;
    return rc;
}

static void leave(struct carom_client *client)
{
    struct carom__joined joined = {
        .connection = client->connection,
        .control = client->lane.control,
        .requests = client->requests,
        .replies = (void *)(uintptr_t)client->replies,
        .bell = client->bell,
        .directory = client->directory,
    };
    if (client->forks == carom__forks)
        carom__unjoin(&joined, &client->lane.geometry);
    else /* a child has no mappings: they are not inherited */
        carom__disconnect(&joined.connection);
}

void carom_client_close(struct carom_client *client)
{
    if (client == NULL)
        return;
    leave(client);
    for (uint32_t slot = 0; client->calls != NULL && slot < client->lane.geometry.slots; slot++)
        free(client->calls[slot].failure);
    for (uint32_t method = 0; method < client->names.count; method++)
        free(client->names.name[method]);
    pthread_mutex_destroy(&client->completions.lock);
    pthread_mutex_destroy(&client->names.lock);
    free((void *)client->slots.next);
    free((void *)client->producer.cells);
    free(client->calls);
    free(client->service);
    free(client);
}

uint32_t carom_client_slots(const struct carom_client *client)
{
    return client->lane.geometry.slots;
}

int carom_client_statistics(struct carom_client *client, struct carom_client_statistics *statistics)
{
    int rc = carom__check_fork(client->forks);
    if (rc < 0)
        return rc;
    *statistics = (struct carom_client_statistics){
        /* relaxed: numbers for people */
        .reconnects = atomic_load_explicit(&client->reconnect.count, memory_order_relaxed),
        .retries = atomic_load_explicit(&client->retry.count, memory_order_relaxed),
        .connected_ns = atomic_load_explicit(&client->reconnect.connected_ns, memory_order_relaxed),
        .connected = !carom__client_host_gone(client) && carom__client_is_open(client),
    };
    return 0;
}
