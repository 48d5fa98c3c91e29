/* SPDX-License-Identifier: Apache-2.0
 *
 * work.c - the pattern that requests are made of and the computing that a handler does; linked into
 * every client and every server in C. peers/work.py is the same in Python.
 */
#include "work.h"

#include "bench.h"

unsigned char *work_pattern;

void work_prepare(void)
{
    size_t bytes = WORK_REQUEST_BYTES_MAX + WORK_PATTERN_BYTES;
    work_pattern = malloc(bytes);
    if (!work_pattern)
        bench_die("no memory for the pattern of %zu bytes", bytes);
    for (size_t at = 0; at < WORK_PATTERN_BYTES; at++)
        work_pattern[at] = (unsigned char)(at % WORK_BLOCK_BYTES == 0 ? at / WORK_BLOCK_BYTES
                                                                      : at * 131 + (at >> 6) * 17);
    for (size_t at = WORK_PATTERN_BYTES; at < bytes; at += WORK_PATTERN_BYTES)
        memcpy(work_pattern + at, work_pattern, WORK_PATTERN_BYTES);
}

void work_compute(uint64_t iterations)
{
    uint64_t value = 88172645463325252u;
    for (uint64_t i = 0; i < iterations; i++) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    __asm__ volatile("" : : "r"(value)); /* so that the compiler cannot leave it out */
}
