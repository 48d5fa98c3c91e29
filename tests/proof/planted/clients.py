# SPDX-License-Identifier: Apache-2.0
"""Planted bugs in clients."""

from __future__ import annotations

from planted.bug import bug

BUGS = (
    bug(
        "status_read_twice",
        "a client checks the status of a reply, then reads it once more",
        (
            "lib/call.c",
            """    call->reply_bytes = bytes;
    call->progress = CAROM__ANSWERED;
    return CAROM_OK;""",
            """    call->reply_bytes = bytes;
    call->progress = CAROM__ANSWERED;
    return atomic_load_explicit(&call->shared->status, memory_order_relaxed);""",
        ),
    ),
    bug(
        "unchecked_reply",
        "a client does not check how long a worker says that a reply is",
        (
            "lib/call.c",
            """    if (bytes > call->client->lane.geometry.reply_block_bytes || status < 0 ||""",
            """    if (status < 0 ||""",
        ),
    ),
    bug(
        "waiters_before_push",
        "a freed slot's thread looks for threads that want one before it puts the slot back",
        (
            "lib/call_end.c",
            """    carom__slots_push(&client->slots, call->submission.slot);
    /* seq_cst: after the push; pairs with await_slot in call_begin.c */
    if (atomic_load_explicit(&client->slot_waiters, memory_order_seq_cst) > 0)""",
            """    uint32_t waiters = atomic_load_explicit(&client->slot_waiters,
                                            memory_order_seq_cst);
    carom__slots_push(&client->slots, call->submission.slot);
    if (waiters > 0)""",
        ),
    ),
    bug(
        "trim_too_long",
        "memory of a request that is given back reaches into the block behind it",
        (
            "lib/call_end.c",
            """            stride - CAROM__KEEP_BYTES, MADV_REMOVE);""",
            """            stride, MADV_REMOVE);""",
        ),
    ),
    bug(
        "run_again",
        "a client that makes every call again when its worker has died, idempotent or not",
        (
            "lib/call_retry.c",
            """!carom__method_is_idempotent(client, call->submission.method) ||""",
            "",
        ),
    ),
    bug(
        "wait_for_ever",
        "a caller that is woken for nothing again and again does not look for its host",
        (
            "lib/call.c",
            """(rc == -ETIMEDOUT || carom__now_ns() >= look_ns)""",
            """rc == -ETIMEDOUT && look_ns > 0""",
        ),
    ),
    bug(
        "silent_error",
        "a client without memory for its calls fails without a sentence",
        (
            "lib/client.c",
            """        return carom__fail(-ENOMEM, "no memory for %u calls", slots);""",
            """        return -ENOMEM;""",
        ),
    ),
    bug(
        "forgotten_mapping",
        "a client that fails to join leaves the requests mapped",
        (
            "lib/client_join.c",
            """    carom__segment_unmap(joined->requests, requests_bytes(geometry));
""",
            "",
        ),
    ),
    bug(
        "unchecked_lane_id",
        "a client that believes which lane its host gave it",
        (
            "lib/client_join.c",
            """welcome.id < CAROM__MAX_LANES ?""",
            """welcome.id <= CAROM__MAX_LANES ?""",
        ),
    ),
)
