/* SPDX-License-Identifier: Apache-2.0
 *
 * tsan.c - what the compiler calls for every access of code compiled with -fsanitize=thread, in the
 * place of ThreadSanitizer's run-time library. Names and signatures are those of
 * compiler-rt/lib/tsan/rtl/tsan_interface.h and tsan_interface_atomic.h; gcc uses the same. What
 * this project's code does not need is not here: then it does not link. */
#include "access.h"

#define HERE __builtin_return_address(0)

void __tsan_init(void);
void __tsan_init(void)
{
}

/* ---------------------------------------------------------------- plain accesses */

#define PLAIN(name, bytes, is_write)                                                               \
    void __tsan_##name(void *at);                                                                  \
    void __tsan_##name(void *at)                                                                   \
    {                                                                                              \
        access_plain(at, bytes, is_write, HERE);                                                   \
    }

PLAIN(read1, 1, false)
PLAIN(read2, 2, false)
PLAIN(read4, 4, false)
PLAIN(read8, 8, false)
PLAIN(read16, 16, false)
PLAIN(write1, 1, true)
PLAIN(write2, 2, true)
PLAIN(write4, 4, true)
PLAIN(write8, 8, true)
PLAIN(write16, 16, true)
PLAIN(unaligned_read2, 2, false)
PLAIN(unaligned_read4, 4, false)
PLAIN(unaligned_read8, 8, false)
PLAIN(unaligned_read16, 16, false)
PLAIN(unaligned_write2, 2, true)
PLAIN(unaligned_write4, 4, true)
PLAIN(unaligned_write8, 8, true)
PLAIN(unaligned_write16, 16, true)

#define RANGE(name, is_write)                                                                      \
    void __tsan_##name(void *at, size_t bytes);                                                    \
    void __tsan_##name(void *at, size_t bytes)                                                     \
    {                                                                                              \
        access_plain(at, bytes, is_write, HERE);                                                   \
    }

RANGE(read_range, false)
RANGE(write_range, true)

/* ---------------------------------------------------------------- atomic accesses */

#define MODIFY(bits, name, what)                                                                   \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at,                       \
                                                uint##bits##_t operand, int order);                \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at,                       \
                                                uint##bits##_t operand, int order)                 \
    {                                                                                              \
        return (uint##bits##_t)access_modify((void *)(uintptr_t)at, bits / 8, what, operand,       \
                                             order, HERE);                                         \
    }

#define EXCHANGE(bits, name)                                                                       \
    int __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t *expected,        \
                                     uint##bits##_t desired, int success, int failure);            \
    int __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t *expected,        \
                                     uint##bits##_t desired, int success, int failure)             \
    {                                                                                              \
        uint64_t wide = *expected;                                                                 \
        if (access_compare_exchange((void *)(uintptr_t)at, bits / 8, &wide, desired, success,      \
                                    failure, HERE))                                                \
            return 1;                                                                              \
        *expected = (uint##bits##_t)wide;                                                          \
        return 0;                                                                                  \
    }

#define ATOMIC(bits)                                                                               \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order);       \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order)        \
    {                                                                                              \
        return (uint##bits##_t)access_load((const void *)(uintptr_t)at, bits / 8, order, HERE);    \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value,            \
                                     int order);                                                   \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value, int order) \
    {                                                                                              \
        access_store((void *)(uintptr_t)at, bits / 8, value, order, HERE);                         \
    }                                                                                              \
    MODIFY(bits, exchange, ACCESS_EXCHANGE)                                                        \
    MODIFY(bits, fetch_add, ACCESS_ADD)                                                            \
    MODIFY(bits, fetch_sub, ACCESS_SUB)                                                            \
    MODIFY(bits, fetch_and, ACCESS_AND)                                                            \
    MODIFY(bits, fetch_or, ACCESS_OR)                                                              \
    MODIFY(bits, fetch_xor, ACCESS_XOR)                                                            \
    EXCHANGE(bits, compare_exchange_strong)                                                        \
    EXCHANGE(bits, compare_exchange_weak)

ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    access_fence(order, HERE);
}
