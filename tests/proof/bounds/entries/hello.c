/* SPDX-License-Identifier: Apache-2.0
 *
 * hello.c - what the host does with a HELLO: check_hello on every length, then the methods and the
 * wishes of whoever passed. */
#undef _Atomic
/* All of it is the host's own: the message is a copy, the directory only read by others. */
#define _Atomic
#include "lib/host_admission.c"

#include "peer.h"

static struct carom_host *host;

/* As enter_methods reads them. That it does not enter more than there is room for hangs on how its
 * two passes count, which EVA cannot follow: tests/unit/test_host_peers.c. */
static void read_methods(const struct carom__hello *hello)
{
    const struct carom__method_entry *entries = (const void *)(hello + 1);
    for (uint32_t i = 0; i < hello->method_count; i++) {
        if (is_name(&entries[i]))
            find_method(host->directory, (uint32_t)any_up_to(CAROM__MAX_METHODS), &entries[i]);
    }
}

static void greet_as(uint32_t role)
{
    const struct carom__hello *hello = &host->message.hello;
    Frama_C_make_unknown(host->message.bytes, sizeof host->message.bytes);
    host->message.hello.role = role; /* one at a time: EVA sees what each may say then */
    if (check_hello(hello, any_int) < 0)
        return;
    check_wishes(host, &hello->geometry);
    if (role == CAROM__WORKER)
        read_methods(hello);
}

void entry_hello(void)
{
    host = memory(sizeof *host);
    host->directory = memory(sizeof *host->directory);
    host->max_slots = any32;
    host->max_block_bytes = any64;
    greet_as(CAROM__CLIENT);
    greet_as(CAROM__WORKER);
    greet_as(CAROM__OBSERVER);
    greet_as(0);
    greet_as(any32 | 4);
}
