/* SPDX-License-Identifier: Apache-2.0
 *
 * methods.c - a client's reading of the directory, of any content: client_methods.c. */
#include "lib/client_methods.c"

#include "peer.h"

static struct carom_client client;

bool carom__client_host_gone(struct carom_client *self)
{
    (void)self;
    return maybe();
}

void entry_methods(void)
{
    char name[CAROM__METHOD_NAME_BYTES] = "photo.resize", known[700];
    client.directory = unknown(sizeof *client.directory);
    client.names.count = 1;
    client.names.name[0] = name;
    find_in_directory(client.directory, name);
    carom__method_is_idempotent(&client, any32);
    list_methods(client.directory, known, sizeof known);
    fail_unknown(client.directory, name);
    carom__methods_resolve(&client);
    look(&client, 0);
    may_come(&client);
}
