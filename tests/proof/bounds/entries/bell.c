/* SPDX-License-Identifier: Apache-2.0
 *
 * bell.c - ready bits, parked bits and park words: bell.h and bell.c, on one bell. */
#include "lib/bell.c"

#include "peer.h"

void entry_bell(void)
{
    struct carom__bell *bell = memory(sizeof *bell);
    const uint32_t lane = any_below(CAROM__MAX_LANES), worker = any_below(CAROM__MAX_WORKERS);
    carom__bell_ready(bell, lane);
    carom__bell_clear_ready(bell, lane);
    carom__bell_ready_word(bell, any_below(CAROM__LANE_WORDS));
    if (carom__bell_any_parked(bell))
        carom__bell_wake(bell, any32);
    carom__bell_park(bell, worker);
    carom__futex_wait(&bell->parks[worker].word, carom__bell_park_word(bell, worker), -1);
    carom__bell_unpark(bell, worker);
    carom__bell_wake_worker(bell, worker);
    carom__bell_wake_all(bell);
    carom__bell_forget_worker(bell, worker);
    carom__bell_forget_lane(bell, lane);
}
