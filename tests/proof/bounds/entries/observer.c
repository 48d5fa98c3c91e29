/* SPDX-License-Identifier: Apache-2.0
 *
 * observer.c - what tools read of a service: directory, description and statistics, of any
 * content. */
#include "lib/observer.c"

#include "peer.h"

#define PEERS 3

static struct carom_observer observer;

bool carom__host_is_gone(const struct carom__connection *connection)
{
    (void)connection;
    return maybe();
}

void entry_observer(void)
{
    static struct carom_service_info service;
    static struct carom_worker_info workers[PEERS];
    static struct carom_client_info clients[PEERS];
    observer.directory = unknown(sizeof *observer.directory);
    observer.statistics = unknown(sizeof *observer.statistics);
    carom_observer_service(&observer, &service);
    carom_observer_workers(&observer, workers, PEERS);
    carom_observer_clients(&observer, clients, PEERS);
    (void)carom_observer_method(&observer, any32)[0];
}

void entry_description(void)
{
    const size_t capacities[] = {0, 1, 64, CAROM_DESCRIPTION_MAX + 1};
    observer.directory = unknown(sizeof *observer.directory);
    //@ loop unroll 4;
    for (int i = 0; i < 4; i++) {
        char *text = memory(capacities[i] > 0 ? capacities[i] : 1);
        carom_observer_description(&observer, text, capacities[i]);
    }
}
