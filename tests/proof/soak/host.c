/* SPDX-License-Identifier: Apache-2.0
 *
 * host.c - `host SERVICE`: the host of the service that has no Python in it. Until SIGTERM. */
#include "message.h"

#include "carom.h"

#include <signal.h>
#include <stdio.h>

static struct carom_host *host;

static void stop(int signal)
{
    (void)signal;
    carom_host_stop(host);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        soak_fail("usage: host SERVICE");
    if (carom_host_open(argv[1], NULL, &host) < 0)
        soak_fail("the host does not open: %s", carom_error_detail());
    signal(SIGTERM, stop);
    printf("ready\n");
    fflush(stdout);
    int rc = carom_host_run(host);
    carom_host_close(host);
    return rc == 0 ? 0 : 1;
}
