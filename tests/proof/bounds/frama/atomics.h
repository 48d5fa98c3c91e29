/* SPDX-License-Identifier: Apache-2.0
 *
 * atomics.h - C11 atomics for Frama-C, which takes them for plain memory otherwise.
 *
 * An atomic is volatile here: EVA takes every read of it for any value of its type, whatever was
 * written before. That is memory of which a hostile peer may change every byte between any two
 * accesses. Memory orders say nothing then. A compare-and-swap may fail or succeed, and a failed
 * one gives any value. */
#ifndef BOUNDS_STDATOMIC_H
#define BOUNDS_STDATOMIC_H
#define __FC_STDATOMIC

#define ATOMIC_INT_LOCK_FREE 2
#define ATOMIC_LLONG_LOCK_FREE 2

#define _Atomic volatile
typedef volatile unsigned atomic_uint;

/* What Frama-C's parser does not know of C11. */
#define _Alignas(bytes) __attribute__((aligned(bytes)))
#define _Thread_local

/* The instruction may be given any address. */
static inline void bounds_prefetch(const volatile void *address)
{
    (void)address;
}
#define __builtin_prefetch(address, ...) bounds_prefetch(address)

typedef enum {
    memory_order_relaxed,
    memory_order_acquire,
    memory_order_release,
    memory_order_acq_rel,
    memory_order_seq_cst
} memory_order;

/* Type of an atomic's value: the sum is not volatile. */
#define BOUNDS_VALUE(at) __typeof__(*(at) + 0)

#define atomic_init(at, value) ((void)(*(at) = (value)))
#define atomic_thread_fence(order) ((void)0)
#define atomic_load_explicit(at, order) (*(at))
#define atomic_store_explicit(at, value, order) ((void)(*(at) = (value)))

#define BOUNDS_FETCH(at, operator, value)                                                          \
    ({                                                                                             \
        BOUNDS_VALUE(at) before_ = *(at);                                                          \
        *(at) = before_ operator(value);                                                           \
        before_;                                                                                   \
    })
#define atomic_fetch_add_explicit(at, value, order) BOUNDS_FETCH(at, +, value)
#define atomic_fetch_sub_explicit(at, value, order) BOUNDS_FETCH(at, -, value)
#define atomic_fetch_or_explicit(at, value, order) BOUNDS_FETCH(at, |, value)
#define atomic_fetch_and_explicit(at, value, order) BOUNDS_FETCH(at, &, value)
#define atomic_fetch_xor_explicit(at, value, order) BOUNDS_FETCH(at, ^, value)

#define atomic_exchange_explicit(at, value, order)                                                 \
    ({                                                                                             \
        BOUNDS_VALUE(at) before_ = *(at);                                                          \
        *(at) = (value);                                                                           \
        before_;                                                                                   \
    })

#define atomic_compare_exchange_strong_explicit(at, expected, value, success, failure)             \
    ({                                                                                             \
        BOUNDS_VALUE(at) seen_ = *(at);                                                            \
        _Bool same_ = seen_ == *(expected);                                                        \
        if (same_)                                                                                 \
            *(at) = (value);                                                                       \
        else                                                                                       \
            *(expected) = seen_;                                                                   \
        same_;                                                                                     \
    })
#define atomic_compare_exchange_weak_explicit(at, expected, value, success, failure)               \
    atomic_compare_exchange_strong_explicit(at, expected, value, success, failure)

/* The stack of free slots is memory of the client's own: no peer can write it. Plain here, because
 * a slot is taken for granted that came from it. */
#undef _Atomic
#define _Atomic
#include "slots.h"
#undef _Atomic
#define _Atomic volatile

#endif
