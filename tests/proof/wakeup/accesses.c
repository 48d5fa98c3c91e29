/* SPDX-License-Identifier: Apache-2.0
 *
 * accesses.c - the library's accesses to memory, made as they are written, with a delay before and
 * behind. Orders are passed on as they are: a stronger one here would hide a weak one there. */
#include "wakeup.h"

#include "../instrument/access.h"

/* `made` with the order as a constant, which is what the compiler needs to honour a weak one. */
#define WITH_ORDER(order, made)                                                                    \
    do {                                                                                           \
        switch (order) {                                                                           \
        case __ATOMIC_RELAXED:                                                                     \
            made(__ATOMIC_RELAXED);                                                                \
            break;                                                                                 \
        case __ATOMIC_CONSUME:                                                                     \
        case __ATOMIC_ACQUIRE:                                                                     \
            made(__ATOMIC_ACQUIRE);                                                                \
            break;                                                                                 \
        case __ATOMIC_RELEASE:                                                                     \
            made(__ATOMIC_RELEASE);                                                                \
            break;                                                                                 \
        case __ATOMIC_ACQ_REL:                                                                     \
            made(__ATOMIC_ACQ_REL);                                                                \
            break;                                                                                 \
        default:                                                                                   \
            made(__ATOMIC_SEQ_CST);                                                                \
            break;                                                                                 \
        }                                                                                          \
    } while (0)

/* The same for what has no release in it (loads), or no acquire (stores). */
#define WITH_LOAD_ORDER(order, made)                                                               \
    do {                                                                                           \
        switch (order) {                                                                           \
        case __ATOMIC_RELAXED:                                                                     \
            made(__ATOMIC_RELAXED);                                                                \
            break;                                                                                 \
        case __ATOMIC_CONSUME:                                                                     \
        case __ATOMIC_ACQUIRE:                                                                     \
            made(__ATOMIC_ACQUIRE);                                                                \
            break;                                                                                 \
        default:                                                                                   \
            made(__ATOMIC_SEQ_CST);                                                                \
            break;                                                                                 \
        }                                                                                          \
    } while (0)
#define WITH_STORE_ORDER(order, made)                                                              \
    do {                                                                                           \
        switch (order) {                                                                           \
        case __ATOMIC_RELAXED:                                                                     \
            made(__ATOMIC_RELAXED);                                                                \
            break;                                                                                 \
        case __ATOMIC_RELEASE:                                                                     \
            made(__ATOMIC_RELEASE);                                                                \
            break;                                                                                 \
        default:                                                                                   \
            made(__ATOMIC_SEQ_CST);                                                                \
            break;                                                                                 \
        }                                                                                          \
    } while (0)

#define LOAD_WITH(constant) value = __atomic_load_n(at, constant)
#define STORE_WITH(constant) __atomic_store_n(at, value, constant)
#define MODIFY_WITH(constant)                                                                      \
    do {                                                                                           \
        switch (what) {                                                                            \
        case ACCESS_EXCHANGE:                                                                      \
            before = __atomic_exchange_n(at, operand, constant);                                   \
            break;                                                                                 \
        case ACCESS_ADD:                                                                           \
            before = __atomic_fetch_add(at, operand, constant);                                    \
            break;                                                                                 \
        case ACCESS_SUB:                                                                           \
            before = __atomic_fetch_sub(at, operand, constant);                                    \
            break;                                                                                 \
        case ACCESS_AND:                                                                           \
            before = __atomic_fetch_and(at, operand, constant);                                    \
            break;                                                                                 \
        case ACCESS_OR:                                                                            \
            before = __atomic_fetch_or(at, operand, constant);                                     \
            break;                                                                                 \
        default:                                                                                   \
            before = __atomic_fetch_xor(at, operand, constant);                                    \
            break;                                                                                 \
        }                                                                                          \
    } while (0)
/* Pairs of orders that C does not know, and pairs with a seq_cst failure, become seq_cst. */
#define EXCHANGE_WITH(constant)                                                                    \
    do {                                                                                           \
        if (failure == __ATOMIC_RELAXED)                                                           \
            done = __atomic_compare_exchange_n(at, expected, desired, false, constant,             \
                                               __ATOMIC_RELAXED);                                  \
        else if (failure == __ATOMIC_ACQUIRE && constant != __ATOMIC_RELAXED &&                    \
                 constant != __ATOMIC_RELEASE)                                                     \
            done = __atomic_compare_exchange_n(at, expected, desired, false, constant,             \
                                               __ATOMIC_ACQUIRE);                                  \
        else                                                                                       \
            done = __atomic_compare_exchange_n(at, expected, desired, false, __ATOMIC_SEQ_CST,     \
                                               __ATOMIC_SEQ_CST);                                  \
    } while (0)

/* The four kinds of atomic access to a word of so many bits. */
#define SIZED(bits)                                                                                \
    static uint64_t load##bits(const uint##bits##_t *at, int order)                                \
    {                                                                                              \
        uint64_t value = 0;                                                                        \
        WITH_LOAD_ORDER(order, LOAD_WITH);                                                         \
        return value;                                                                              \
    }                                                                                              \
    static void store##bits(uint##bits##_t *at, uint##bits##_t value, int order)                   \
    {                                                                                              \
        WITH_STORE_ORDER(order, STORE_WITH);                                                       \
    }                                                                                              \
    static uint64_t modify##bits(uint##bits##_t *at, enum access_rmw what, uint##bits##_t operand, \
                                 int order)                                                        \
    {                                                                                              \
        uint64_t before = 0;                                                                       \
        WITH_ORDER(order, MODIFY_WITH);                                                            \
        return before;                                                                             \
    }                                                                                              \
    static bool exchange##bits(uint##bits##_t *at, uint##bits##_t *expected,                       \
                               uint##bits##_t desired, int success, int failure)                   \
    {                                                                                              \
        bool done = false;                                                                         \
        WITH_ORDER(success, EXCHANGE_WITH);                                                        \
        return done;                                                                               \
    }                                                                                              \
    static bool exchange_wide##bits(void *at, uint64_t *expected, uint64_t desired, int success,   \
                                    int failure)                                                   \
    {                                                                                              \
        uint##bits##_t narrow = (uint##bits##_t) * expected;                                       \
        bool done = exchange##bits(at, &narrow, (uint##bits##_t)desired, success, failure);        \
        *expected = narrow;                                                                        \
        return done;                                                                               \
    }

SIZED(8)
SIZED(16)
SIZED(32)
SIZED(64)

void access_plain(const void *at, size_t bytes, bool is_write, const void *pc)
{
    (void)at;
    (void)bytes;
    (void)is_write;
    delay(pc);
}

uint64_t access_load(const void *at, size_t bytes, int order, const void *pc)
{
    delay(pc);
    return bytes == 1   ? load8(at, order)
           : bytes == 2 ? load16(at, order)
           : bytes == 4 ? load32(at, order)
                        : load64(at, order);
}

void access_store(void *at, size_t bytes, uint64_t value, int order, const void *pc)
{
    delay(pc);
    if (bytes == 1)
        store8(at, (uint8_t)value, order);
    else if (bytes == 2)
        store16(at, (uint16_t)value, order);
    else if (bytes == 4)
        store32(at, (uint32_t)value, order);
    else
        store64(at, value, order);
    delay(pc);
}

uint64_t access_modify(void *at, size_t bytes, enum access_rmw what, uint64_t operand, int order,
                       const void *pc)
{
    delay(pc);
    uint64_t before = bytes == 1   ? modify8(at, what, (uint8_t)operand, order)
                      : bytes == 2 ? modify16(at, what, (uint16_t)operand, order)
                      : bytes == 4 ? modify32(at, what, (uint32_t)operand, order)
                                   : modify64(at, what, operand, order);
    delay(pc);
    return before;
}

bool access_compare_exchange(void *at, size_t bytes, uint64_t *expected, uint64_t desired,
                             int success, int failure, const void *pc)
{
    delay(pc);
    bool done = bytes == 1   ? exchange_wide8(at, expected, desired, success, failure)
                : bytes == 2 ? exchange_wide16(at, expected, desired, success, failure)
                : bytes == 4 ? exchange_wide32(at, expected, desired, success, failure)
                             : exchange_wide64(at, expected, desired, success, failure);
    delay(pc);
    return done;
}

#define FENCE_WITH(constant) __atomic_thread_fence(constant)
void access_fence(int order, const void *pc)
{
    delay(pc);
    WITH_ORDER(order, FENCE_WITH);
    delay(pc);
}
