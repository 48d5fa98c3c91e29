/* SPDX-License-Identifier: Apache-2.0
 *
 * scribble.h - the hostile processes of scribbler.c, and what all of them share. */
#ifndef SCRIBBLE_H
#define SCRIBBLE_H

#include "carom.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/** Written by all processes of a scene. */
struct tally {
    _Atomic uint64_t calls;      /* of honest clients */
    _Atomic uint64_t wrong;      /* of these */
    _Atomic uint64_t slowest_ns; /* of these */
    _Atomic uint64_t scribbles;  /* words written where they do not belong */
    _Atomic uint64_t poisoned;   /* times that the host hung up on a scribbler */
    _Atomic uint64_t messages;   /* of nonsense */
};
extern struct tally *tally;

extern const struct carom_method scribbled_methods[];

/* relaxed, all three: numbers to be reported */
static inline uint64_t value_of(_Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static inline void set(_Atomic uint64_t *number, uint64_t value)
{
    atomic_store_explicit(number, value, memory_order_relaxed);
}

static inline void add(_Atomic uint64_t *number, uint64_t more)
{
    atomic_fetch_add_explicit(number, more, memory_order_relaxed);
}

/** FNV-1a. */
static inline uint64_t checksum(const char *bytes, size_t length)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* Mains of processes: they run until they are killed, or return an exit status. */
int run_scribbling_client(const char *service, uint64_t seed);
int run_silencer(const char *service, uint64_t seed);
int run_talker(const char *service, uint64_t seed);
int run_scribbling_worker(const char *service, uint64_t seed);

#endif
