/* SPDX-License-Identifier: Apache-2.0
 *
 * deaths.c - what the host reads of a dead worker's calls: host_deaths.c on a lane whose slots
 * anybody may write. The kernel ended the worker in any way. */
#include "peer.h"
#include "text.h"

#include <string.h>

/* Everything that is atomic is of any value, but for one word that the host alone writes. */
static const volatile void *own_word;
static uint32_t own_value;
#undef atomic_load_explicit
#define atomic_load_explicit(at, order)                                                            \
    ((const volatile void *)(at) == own_word ? (BOUNDS_VALUE(at))own_value : *(at))

#include "lib/host_deaths.c"

static struct carom_host *host;

/* ---- what is not looked at here */

void carom__host_event(const struct carom_host *self, const char *const *fields, uint32_t count)
{
    (void)self;
    (void)fields[count - 1];
}

/* It reads the request's length, which it checks, and copies through descriptors. */
int carom__host_quarantine(struct carom_host *self, const struct carom__host_lane *lane,
                           uint32_t slot, const char *method, char *path)
{
    (void)self;
    (void)(lane->lane.slots[slot].request_bytes + (uint64_t)method[0]);
    path[0] = 'p';
    path[1] = 0;
    return maybe() ? 0 : -EIO;
}

size_t carom__failure_write(void *block, size_t capacity, const struct carom_error *error)
{
    (void)(error->type[0] + error->message[0]);
    Frama_C_make_unknown(block, capacity);
    return 19 + any_up_to(capacity - 19);
}

const char *carom_error_detail(void)
{
    return "why";
}

int poll(struct pollfd *pollers, nfds_t count, int timeout_ms)
{
    (void)timeout_ms;
    pollers[count - 1].revents = (short)any_int;
    return maybe();
}

int waitid(idtype_t type, id_t id, siginfo_t *end, int options)
{
    (void)type;
    (void)id;
    (void)options;
    end->si_pid = any_int;
    end->si_code = any_int;
    end->si_status = any_int;
    return maybe() ? 0 : -1;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    (void)fd;
    (void)at;
    (void)((const char *)data)[bytes - 1];
    errno = 1 + (int)any_below(133);
    return maybe() ? (ssize_t)any_up_to(bytes) : -1;
}

/* ---- entry */

static void with_lane(const struct carom__geometry *geometry)
{
    struct carom__peer *worker = memory(sizeof *worker), *client = memory(sizeof *client);
    host = memory(sizeof *host);
    host->directory = unknown(sizeof *host->directory);
    host->bell = memory(sizeof *host->bell);
    host->max_clients = 2;
    host->quarantine_folder = maybe() ? memory(2) : NULL;
    host->clients[1] = client;
    own_word = &host->directory->method_count;
    own_value = any_below(CAROM__MAX_METHODS + 1);
    client->lane = memory(sizeof *client->lane);
    client->lane->geometry = *geometry;
    open_lane(&client->lane->lane, geometry);
    worker->id = any_below(CAROM__MAX_WORKERS);
    worker->owner = any32;
    worker->pid = any_int;
    worker->pidfd = (int)any_below(1000);
    worker->said_goodbye = maybe();
    carom__host_recover(host, worker);
}

void entry_recover(void)
{
    FOR_EACH_GEOMETRY(with_lane);
}
