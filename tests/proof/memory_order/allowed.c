/* SPDX-License-Identifier: Apache-2.0
 *
 * allowed.c - orders that may be weaker as far as this suite can see, and why they may, or why they
 * are as they are all the same. Everything that is not here has to be caught. */
#include "memory_order.h"

#define FLAGS_ONLY                                                                                 \
    "what comes back is a flag in the word itself: nothing that was written before it is read"
#define CELL_FIRST                                                                                 \
    "a call is claimed only by who has read its cell, which is published after it with release "   \
    "and read with acquire; the slot's own order is for readers to come without a cell"
#define WORD_ONLY "who finds the call withdrawn uses the word alone: it never ran, and has no reply"
#define OWN_NOTES                                                                                  \
    "notes of one process, which may be old: a cell is replaced by compare-and-swap from the "     \
    "value of the lap before, so who believes old notes fails and looks again"
#define BEHIND_CHANGE                                                                              \
    "who looks for a method has read directory.change or state with acquire before, and the host " \
    "stores those, with release, after the count"
#define NO_MODEL_OF "the model has no "
#define OBSERVERS NO_MODEL_OF "observers: the unit tests have"

static const struct {
    const char *name;
    int weaker;
    const char *why;
} allowed[] = {
    {"ring.h carom__ring_peek acquire", __ATOMIC_RELAXED,
     "head says where to look and nothing more: a cell counts only if its lap is that position's, "
     "and brings what its client wrote with an acquire of its own"},
    {"bell.h carom__bell_park_word acquire", __ATOMIC_RELAXED,
     "the fence of carom__bell_park comes behind this load and is an acquire fence as well, which "
     "synchronizes with the wake (C11 7.17.4 p4)"},
    {"slots.h carom__slots_pop seq_cst on failure", __ATOMIC_ACQ_REL,
     "a failed exchange is a look like the first one; that it fails with an old and empty stack is "
     "too seldom to be seen here"},
    {"slots.h carom__slots_pop seq_cst #2", __ATOMIC_ACQ_REL,
     "only looks that find nothing must be in the total order, and this one has taken a slot"},
    {"lane.h carom__lane_fill release", __ATOMIC_RELAXED, CELL_FIRST},
    {"lane.h carom__lane_claim_cell acq_rel", __ATOMIC_RELEASE, CELL_FIRST},
    {"lane.h carom__lane_claim_cell acq_rel", __ATOMIC_ACQUIRE,
     "who sees an owner uses the word alone"},
    {"lane.c carom__lane_claim_flagged acq_rel", __ATOMIC_RELEASE, CELL_FIRST},
    {"lane.c carom__lane_claim_flagged acq_rel", __ATOMIC_ACQUIRE,
     "who sees an owner uses the word alone"},
    {"lane.h carom__lane_finish acq_rel", __ATOMIC_RELEASE, FLAGS_ONLY},
    {"lane.c end_running acq_rel", __ATOMIC_RELEASE, FLAGS_ONLY},
    {"lane.c end_running acquire on failure", __ATOMIC_RELAXED, FLAGS_ONLY},
    {"lane.c carom__lane_flag acq_rel", __ATOMIC_RELEASE, FLAGS_ONLY},
    {"lane.c carom__lane_flag acq_rel", __ATOMIC_ACQUIRE, FLAGS_ONLY},
    {"lane.c carom__lane_withdraw acq_rel", __ATOMIC_RELEASE, WORD_ONLY},
    {"lane.c carom__lane_withdraw acq_rel", __ATOMIC_ACQUIRE, WORD_ONLY},
    {"lane.c carom__lane_withdraw acquire on failure", __ATOMIC_RELAXED,
     "who was too late looks at the word again, with acquire"},
    {"ring.c look acquire #2", __ATOMIC_RELAXED, OWN_NOTES},
    {"ring.c look release", __ATOMIC_RELAXED, OWN_NOTES},
    {"ring.h carom__ring_put release", __ATOMIC_RELAXED, OWN_NOTES},
    {"ring.h carom__ring_has_room acquire", __ATOMIC_RELAXED, OWN_NOTES},
    {"bell.c take_parked acq_rel", __ATOMIC_ACQUIRE,
     "one taker sees the bit because this is one operation; the park word hands things on"},
    {"bell.c take_parked acq_rel", __ATOMIC_RELEASE,
     "one taker sees the bit because this is one operation; the park word hands things on"},
    {"stats.h carom__note_running release", __ATOMIC_RELAXED, OBSERVERS},
    {"host_peers.c leave release", __ATOMIC_RELAXED, OBSERVERS},
    {"host_admission.c enter release", __ATOMIC_RELAXED, OBSERVERS},
    {"call.c submit_carefully release", __ATOMIC_RELAXED,
     NO_MODEL_OF "clients that connect again: the unit tests have"},
    {"completion.c carom__client_host_gone acquire", __ATOMIC_RELAXED,
     NO_MODEL_OF "clients that connect again: the unit tests have"},
    {"client_methods.c known_methods acquire", __ATOMIC_RELAXED, BEHIND_CHANGE},
    {"host_admission.c enter_methods release", __ATOMIC_RELAXED, BEHIND_CHANGE},
    {"worker.c index_methods acquire", __ATOMIC_RELAXED,
     "the names came before WELCOME, and the message orders them"},
    {"call_begin.c carom__client_put_slot seq_cst", __ATOMIC_ACQ_REL,
     "as free_slot in call_end.c, which is caught; but a slot goes back here only while methods "
     "are unknown, and the scenarios have nobody wait for one then"},
    {"take.c carom_worker_stop seq_cst", __ATOMIC_ACQ_REL,
     "the model's total order is that of execution, in which the store comes before the wake; C11 "
     "promises that for seq_cst only"},
};

/* Caught within a few executions. */
static const char *const at_once[] = {
    "bell.h carom__bell_fence seq_cst",  "ring.h carom__ring_put seq_cst",
    "ring.h carom__ring_read acquire",   "call.c carom_call_wait acquire",
    "lane.c carom__lane_notify release",
};

const char *allowed_reason(const char *name, int weaker)
{
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        if (strcmp(allowed[i].name, name) == 0 && allowed[i].weaker == weaker)
            return allowed[i].why;
    }
    return NULL;
}

const char *allowed_name(unsigned number)
{
    return number < sizeof allowed / sizeof allowed[0] ? allowed[number].name : NULL;
}

bool is_caught_at_once(const char *name)
{
    for (size_t i = 0; i < sizeof at_once / sizeof at_once[0]; i++) {
        if (strcmp(at_once[i], name) == 0)
            return true;
    }
    return false;
}
