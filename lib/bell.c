/* SPDX-License-Identifier: Apache-2.0
 *
 * bell.c - ready bits, parked bits and park words. The protocol is told in bell.h. */
#include "bell.h"

#include "wait.h"

static uint64_t bit_of(uint32_t index)
{
    return UINT64_C(1) << (index % 64);
}

void carom__bell_set_ready(struct carom__bell *bell, uint32_t lane)
{
    /* seq_cst: said before this thread looks for parked workers; pairs with carom__bell_park */
    atomic_fetch_or_explicit(&bell->ready[lane / 64], bit_of(lane), memory_order_seq_cst);
}

void carom__bell_wake_worker(struct carom__bell *bell, uint32_t worker)
{
    /* release: what the waker said is seen by who reads the new word (carom__bell_park_word) */
    atomic_fetch_add_explicit(&bell->parks[worker].word, 1, memory_order_release);
    carom__futex_wake(&bell->parks[worker].word, 1);
}

/* Takes one parked bit of a word; -1 when there is none. A bit that is lost to another was cleared
 * after the caller's submit: its worker is awake and looks at every lane. Only who wants to keep us
 * here can make us lose more often than there are bits, so that is where it ends. */
static int take_parked(_Atomic uint64_t *word)
{
    /* relaxed: the caller has looked with seq_cst; the read-modify-write below decides */
    uint64_t parked = atomic_load_explicit(word, memory_order_relaxed);
    for (int attempt = 0; attempt < 64 && parked != 0; attempt++) {
        int bit = __builtin_ctzll(parked);
        /* acq_rel: exactly one taker sees the bit set and owns the wake */
        uint64_t before = atomic_fetch_and_explicit(word, ~(UINT64_C(1) << bit),
                                                    memory_order_acq_rel);
        if (before & UINT64_C(1) << bit)
            return bit;
        parked = before & ~(UINT64_C(1) << bit);
    }
    return -1;
}

uint32_t carom__bell_wake(struct carom__bell *bell, uint32_t count)
{
    uint32_t woken = 0;
    for (uint32_t word = 0; word < CAROM__WORKER_WORDS && woken < count;) {
        int bit = take_parked(&bell->parked[word]);
        if (bit < 0) {
            word++;
            continue;
        }
        carom__bell_wake_worker(bell, word * 64 + (uint32_t)bit);
        woken++;
    }
    return woken;
}

void carom__bell_wake_all(struct carom__bell *bell)
{
    for (uint32_t worker = 0; worker < CAROM__MAX_WORKERS; worker++)
        carom__bell_wake_worker(bell, worker);
}

void carom__bell_park(struct carom__bell *bell, uint32_t worker)
{
    /* relaxed: the fence below orders it before everything this worker looks at next */
    atomic_fetch_or_explicit(&bell->parked[worker / 64], bit_of(worker), memory_order_relaxed);
    carom__bell_fence();
}

void carom__bell_unpark(struct carom__bell *bell, uint32_t worker)
{
    _Atomic uint64_t *word = &bell->parked[worker / 64];
    /* relaxed: only this worker sets its bit; that a waker clears it meanwhile does no harm */
    if (atomic_load_explicit(word, memory_order_relaxed) & bit_of(worker))
        atomic_fetch_and_explicit(word, ~bit_of(worker), memory_order_relaxed); /* as above */
}

void carom__bell_clear_ready(struct carom__bell *bell, uint32_t lane)
{
    /* relaxed: the fence below orders it before the caller's second look; pairs with
     * carom__ring_publish and the look in carom__bell_ready */
    atomic_fetch_and_explicit(&bell->ready[lane / 64], ~bit_of(lane), memory_order_relaxed);
    carom__bell_fence();
}

void carom__bell_forget_worker(struct carom__bell *bell, uint32_t worker)
{
    carom__bell_unpark(bell, worker);
}

void carom__bell_forget_lane(struct carom__bell *bell, uint32_t lane)
{
    carom__bell_clear_ready(bell, lane);
}
