/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.c - who sleeps for ever? Looks at the board, and into sleepers' memory for their words. */
#include "wakeup.h"

#include "proof.h"

#include <sys/uio.h>

/* What the watcher remembers of a seat. */
struct memory {
    uint64_t progress, naps;
    double moved_s, turned_s;
};
static struct memory memories[SEATS];

void watch_begin(void)
{
    const double now_s = proof_seconds();
    for (unsigned i = 0; i < SEATS; i++)
        memories[i] = (struct memory){.moved_s = now_s, .turned_s = now_s};
}

/* The word that a thread sleeps on, as it is now. */
static bool read_word(const struct seat *seat, uint32_t *value)
{
    uintptr_t word = atomic_load_explicit(&seat->word, memory_order_relaxed);
    struct iovec here = {value, sizeof *value};
    struct iovec there = {(void *)word, sizeof *value};
    return process_vm_readv(seat->pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof *value;
}

void watch_describe(unsigned seats)
{
    for (unsigned i = 0; i < seats; i++) {
        struct seat *seat = &board->seats[i];
        uint32_t slept_on = atomic_load_explicit(&seat->value, memory_order_relaxed), now = 0;
        if (seat->pid == 0)
            continue;
        printf("# %s %d: %llu calls, %llu sleeps", seat->role, (int)seat->pid,
               (unsigned long long)value_of(&seat->progress),
               (unsigned long long)value_of(&seat->sleeps));
        if (!atomic_load_explicit(&seat->asleep, memory_order_relaxed))
            printf(", awake\n");
        else if (read_word(seat, &now))
            printf(", asleep on a word that was 0x%08x and is 0x%08x\n", slept_on, now);
        else
            printf(", asleep on a word that was 0x%08x\n", slept_on);
    }
}

/* Whether a seat's thread has been in the same sleep for too long, on a word that has changed. */
static bool overslept(struct seat *seat, struct memory *memory, double now_s, double patience_s)
{
    uint64_t naps = value_of(&seat->sleeps) + value_of(&seat->refused);
    uint32_t word;
    if (naps != memory->naps || !atomic_load_explicit(&seat->asleep, memory_order_relaxed)) {
        memory->naps = naps;
        memory->turned_s = now_s;
    }
    return now_s - memory->turned_s > patience_s && read_word(seat, &word) &&
           word != atomic_load_explicit(&seat->value, memory_order_relaxed);
}

static bool stands_still(struct seat *seat, struct memory *memory, double now_s, double patience_s)
{
    uint64_t progress = value_of(&seat->progress);
    if (progress != memory->progress ||
        !atomic_load_explicit(&seat->calling, memory_order_relaxed)) {
        memory->progress = progress;
        memory->moved_s = now_s;
    }
    return now_s - memory->moved_s > patience_s;
}

const char *watch_find_fault(unsigned seats, double patience_s)
{
    const double now_s = proof_seconds();
    if (atomic_load_explicit(&board->complained, memory_order_relaxed))
        return board->complaint;
    for (unsigned i = 0; i < seats; i++) {
        struct seat *seat = &board->seats[i];
        if (seat->pid != 0 && overslept(seat, &memories[i], now_s, patience_s))
            return "a thread sleeps on a word that has changed: its wake-up was lost";
        if (stands_still(seat, &memories[i], now_s, patience_s))
            return "a thread waits for ever: a wake-up was lost";
    }
    return NULL;
}
