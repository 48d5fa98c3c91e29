/* SPDX-License-Identifier: Apache-2.0
 *
 * audit.c - `audit LEDGER`: for each outcome how many calls had it, by how often they ran. Lines of
 * four numbers: outcome, calls that never ran, that ran once, that ran more often. */
#include "message.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    uint64_t calls[OUTCOMES][3] = {0};
    if (argc != 2)
        soak_fail("usage: audit LEDGER");
    struct ledger ledger = ledger_open(argv[1]);
    for (uint64_t i = 0; i < ledger.books->streams * ledger.books->calls; i++) {
        if (ledger.outcomes[i] >= OUTCOMES)
            soak_fail("call %llu has the outcome %u", (unsigned long long)i, ledger.outcomes[i]);
        calls[ledger.outcomes[i]][ledger.runs[i] < 2 ? ledger.runs[i] : 2]++;
    }
    for (unsigned outcome = 0; outcome < OUTCOMES; outcome++)
        printf("%u %llu %llu %llu\n", outcome, (unsigned long long)calls[outcome][0],
               (unsigned long long)calls[outcome][1], (unsigned long long)calls[outcome][2]);
    return 0;
}
