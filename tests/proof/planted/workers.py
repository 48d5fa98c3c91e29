# SPDX-License-Identifier: Apache-2.0
"""Planted bugs in workers."""

from __future__ import annotations

from planted.bug import bug

BUGS = (
    bug(
        "advance_before_claim",
        "a worker moves the ring's head before it has claimed the call",
        (
            "lib/take.c",
            """    int rc = carom__lane_claim_cell(&mapped->lane, worker->owner, cell, &worker->request.claim);
    if (CAROM__LIKELY(rc >= 0))
        carom__ring_advance(&mapped->lane.ring, position);
""",
            """    carom__ring_advance(&mapped->lane.ring, position);
    int rc = carom__lane_claim_cell(&mapped->lane, worker->owner, cell, &worker->request.claim);
""",
        ),
    ),
    bug(
        "look_before_park",
        "a worker looks for work before it says that it is going to sleep, not after",
        (
            "lib/take.c",
            """    if (!must_stay_awake(worker)) {""",
            """    if (true) {""",
        ),
    ),
    bug(
        "unchecked_lane",
        "a worker keeps a lane under whatever number a message says",
        (
            "lib/worker_lanes.c",
            """sizeof news) &&
        news.lane < CAROM__MAX_LANES) {""",
            """sizeof news)) {""",
        ),
    ),
    bug(
        "retired_unlooked",
        "a worker clears the ready bit of an empty lane and does not look at the lane again",
        (
            "lib/take.c",
            """    if (!carom__lane_has_work(&mapped->lane))
        return false;
    carom__bell_ready""",
            """    if (mapped->id < CAROM__MAX_LANES)
        return false;
    carom__bell_ready""",
        ),
    ),
    bug(
        "wake_taken_along",
        "a worker that was woken for a call and stops does not pass the wake on",
        (
            "lib/take.c",
            """    carom__bell_wake(worker->bell, 1);
    if (worker->stopping)""",
            """    if (worker->stopping)""",
        ),
    ),
    bug(
        "long_reply_shortened",
        "replies of more than 1 MiB lose their last byte",
        (
            "lib/request.c",
            """    finish(request, CAROM_OK, length_bytes);""",
            """    finish(request, CAROM_OK, length_bytes - (length_bytes > 1 << 20));""",
        ),
    ),
    bug(
        "detached_not_copied",
        "what a handler keeps gets memory of its own, but not the bytes",
        (
            "lib/request.c",
            """    memcpy(copy, pages, bytes);
""",
            "",
        ),
    ),
    bug(
        "kept_awake",
        "a worker that a client keeps awake for nothing does not look at the clock",
        (
            "lib/take.c",
            """    } else { /* a client may keep it awake for nothing""",
            """    } else if (rc > 0) { /* a client may keep it awake for nothing""",
        ),
    ),
    bug(
        "trusted_bell",
        "workers look at lanes with a ready bit only, which any client can clear",
        (
            "lib/take.c",
            """            !carom__lane_has_work(&mapped->lane))""",
            """            !carom__lane_has_work(&mapped->lane) || lanes > 0)""",
        ),
    ),
    bug(
        "unchecked_lane_news",
        "a worker believes which lane it is told about",
        (
            "lib/worker_lanes.c",
            """    if (carom__is_message(&news, length, CAROM__LANE, sizeof news) &&
        news.lane < CAROM__MAX_LANES) {""",
            """    if (carom__is_message(&news, length, CAROM__LANE, sizeof news)) {""",
        ),
    ),
)
