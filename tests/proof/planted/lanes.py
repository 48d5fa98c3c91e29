# SPDX-License-Identifier: Apache-2.0
"""Planted bugs in the memory that client and workers share."""

from __future__ import annotations

from planted.bug import bug

BUGS = (
    bug(
        "two_step_publish",
        "the ring's cell is published in two steps: first its lap, then which call it is",
        (
            "lib/ring.h",
            """    /* relaxed: notes of this process. release: this thread""",
            """    atomic_store_explicit(&ring->cells[at], cell, memory_order_release);
    /* relaxed: notes of this process. release: this thread""",
        ),
        (
            "lib/ring.h",
            """atomic_compare_exchange_strong_explicit(&ring->cells[at], &before, cell,""",
            """atomic_compare_exchange_strong_explicit(&ring->cells[at], &before,
                                                 cell & ~UINT64_C(0xffffffffff),""",
        ),
    ),
    bug(
        "double_fetch",
        "a worker checks the length of a request, then reads it once more and uses that",
        (
            "lib/lane.h",
            """    return claim->request_bytes <= lane->geometry.request_block_bytes ? 1 : -EPROTO;""",
            """    if (claim->request_bytes > lane->geometry.request_block_bytes)
        return -EPROTO;
    claim->request_bytes = atomic_load_explicit(&slot->request_bytes, memory_order_relaxed);
    return 1;""",
        ),
    ),
    bug(
        "unchecked_slot",
        "a worker does not check which slot a cell names",
        (
            "lib/lane.h",
            """    if (CAROM__UNLIKELY(index >= lane->geometry.slots))
        return -EPROTO;
    struct carom__slot *slot = &lane->slots[index];
    uint64_t state = carom__state(CAROM__SUBMITTED, generation, 0);""",
            """    struct carom__slot *slot = &lane->slots[index];
    uint64_t state = carom__state(CAROM__SUBMITTED, generation, 0);""",
        ),
    ),
    bug(
        "endless_claim",
        "a worker that meets a stale cell looks on for as long as head moves",
        (
            "lib/lane.c",
            """    for (uint32_t looks = 0; looks < lane->geometry.ring_cells; looks++) {
        uint64_t position, cell;
        if (!carom__ring_peek(&lane->ring, &position, &cell)) {
            if (!carom__ring_moved""",
            """    for (;;) {
        uint64_t position, cell;
        if (!carom__ring_peek(&lane->ring, &position, &cell)) {
            if (!carom__ring_moved""",
        ),
    ),
    bug(
        "acquire_release_park",
        "a worker that parks says and looks with acquire and release instead of seq_cst",
        (
            "lib/bell.h",
            """    atomic_thread_fence(memory_order_seq_cst);""",
            """    atomic_thread_fence(memory_order_acq_rel);""",
        ),
    ),
    bug(
        "flags_lost_in_recovery",
        "the host ends a dead worker's call with a store that forgets who waits for it",
        (
            "lib/lane.c",
            """    atomic_fetch_xor_explicit(&slot->state, CAROM__RUNNING ^ CAROM__DONE, memory_order_release);
""",
            """    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    atomic_store_explicit(&slot->state, state ^ CAROM__RUNNING ^ CAROM__DONE,
                          memory_order_release);
""",
        ),
    ),
    bug(
        "unchecked_request_bytes",
        "a worker hands over a request of whatever length its client wrote",
        (
            "lib/lane.h",
            """lane->geometry.request_block_bytes ? 1 : -EPROTO;""",
            """lane->geometry.request_block_bytes ? 1 : 1;""",
        ),
    ),
    bug(
        "unmasked_ring",
        "a position is taken for the index of its cell",
        (
            "lib/ring.h",
            """    return (uint32_t)position & ring->mask;""",
            """    return (uint32_t)position;""",
        ),
    ),
    bug(
        "waiter_looks_again",
        "a client sleeps on the state word as it is, not as it was when it said it would",
        (
            "lib/lane.c",
            """(uint32_t)seen,
                             timeout_ns);""",
            """(uint32_t)(carom__lane_state(lane, slot) | (seen & CAROM__WAITER)),
                             timeout_ns);""",
        ),
    ),
    bug(
        "wake_before_word",
        "a worker is woken first, then its park word changes",
        (
            "lib/bell.c",
            """    /* release: what the waker said is seen by who reads the new word""",
            """    carom__futex_wake(&bell->parks[worker].word, 1);
    /* release: what the waker said is seen by who reads the new word""",
        ),
        (
            "lib/bell.c",
            """1, memory_order_release);
    carom__futex_wake(&bell->parks[worker].word, 1);""",
            """1, memory_order_release);""",
        ),
    ),
    bug(
        "sleeper_forgotten",
        "who rings the event word clears the sleepers' bit after the wake, not before",
        (
            "lib/lane.c",
            """    /* relaxed: sleepers that arm from now on set the bit again */""",
            """    carom__futex_wake(event, INT_MAX);""",
        ),
        (
            "lib/lane.c",
            """memory_order_relaxed);
    carom__futex_wake(event, INT_MAX);
}

void carom__lane_notify""",
            """memory_order_relaxed);
}

void carom__lane_notify""",
        ),
    ),
    bug(
        "blocks_overlap",
        "the memory of two neighbouring calls overlaps",
        (
            "lib/layout.h",
            """    return slot * carom__block_stride(block_bytes) +""",
            """    return slot / 2 * carom__block_stride(block_bytes) +""",
        ),
    ),
    bug(
        "claim_by_look",
        "a worker looks whether a call is to be had, then takes it, in two steps",
        (
            "lib/lane.h",
            """    if (CAROM__UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &slot->state, &state, running, memory_order_acq_rel, memory_order_relaxed))) {""",
            """    if (atomic_load_explicit(&slot->state, memory_order_acquire) == state) {
        atomic_store_explicit(&slot->state, running, memory_order_release);
    } else {""",
        ),
    ),
    bug(
        "withdrawn_in_name_only",
        "a call that is cancelled stays in the ring, to be run",
        (
            "lib/lane.c",
            """        if (!atomic_compare_exchange_strong_explicit(word, &state, done, memory_order_acq_rel,
                                                     memory_order_acquire))
            continue;
        if (state & CAROM__WAITER)
            carom__futex_wake((_Atomic uint32_t *)word, INT_MAX);""",
            """        if (state == done)
            continue;
        if (state & CAROM__WAITER)
            carom__futex_wake((_Atomic uint32_t *)word, INT_MAX);""",
        ),
    ),
    bug(
        "unchecked_length",
        "a worker believes the length of a request",
        (
            "lib/lane.h",
            """claim->request_bytes <= lane->geometry.request_block_bytes ? 1 : -EPROTO;""",
            """claim->request_bytes <= UINT64_MAX ? 1 : -EPROTO;""",
        ),
    ),
)
