/* SPDX-License-Identifier: Apache-2.0
 *
 * proof.h - how a program of the proof is started and how it reports; prove.py reads it.
 *
 *   PROGRAM [--scale quick|long|planted] [--seed N] [--only TEXT]
 *
 * quick: the slice for `make test`, some seconds. long: for `make proof`. planted: the library has
 * a planted bug; as much as finds it, ending at the first failure. Lines on standard output:
 *
 *   ok NAME: TEXT              a check held
 *   not ok NAME: TEXT          a check failed
 *   executions N               how many schedules, kills, mutations, calls ... it made
 *   figure NAME VALUE UNIT     a figure worth keeping
 *   planted NAME caught|missed a planted bug of the suite's own
 *   # TEXT                     progress
 *
 * Exit status 0 when nothing failed. */
#ifndef PROOF_H
#define PROOF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum proof_scale { PROOF_QUICK, PROOF_LONG, PROOF_PLANTED };

struct proof {
    enum proof_scale scale;
    uint64_t seed;
    const char *only; /* run checks whose name has this in it; NULL all */
    uint64_t executions;
    unsigned failures;
};

static inline void proof_usage(const char *program)
{
    fprintf(stderr, "usage: %s [--scale quick|long|planted] [--seed N] [--only TEXT]\n", program);
    exit(2);
}

static inline enum proof_scale proof_scale_of(const char *program, const char *text)
{
    if (strcmp(text, "quick") == 0)
        return PROOF_QUICK;
    if (strcmp(text, "long") == 0)
        return PROOF_LONG;
    if (strcmp(text, "planted") != 0)
        proof_usage(program);
    return PROOF_PLANTED;
}

static inline struct proof proof_begin(int argc, char **argv)
{
    struct proof proof = {.scale = PROOF_QUICK, .seed = 1};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            proof_usage(argv[0]);
        if (strcmp(argv[i], "--scale") == 0)
            proof.scale = proof_scale_of(argv[0], argv[i + 1]);
        else if (strcmp(argv[i], "--seed") == 0)
            proof.seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--only") == 0)
            proof.only = argv[i + 1];
        else
            proof_usage(argv[0]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    return proof;
}

/** By scale. */
static inline uint64_t proof_amount(const struct proof *proof, uint64_t quick, uint64_t full,
                                    uint64_t planted)
{
    return proof->scale == PROOF_QUICK ? quick : proof->scale == PROOF_LONG ? full : planted;
}

static inline bool proof_wants(const struct proof *proof, const char *name)
{
    if (proof->scale == PROOF_PLANTED && proof->failures > 0)
        return false;
    return proof->only == NULL || strstr(name, proof->only) != NULL;
}

/** Reports a check; the text says what was done, or what was wrong. */
__attribute__((format(printf, 4, 5))) static inline void
proof_check(struct proof *proof, bool ok, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%s %s: ", ok ? "ok" : "not ok", name);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    proof->failures += !ok;
}

static inline void proof_figure(const char *name, double value, const char *unit)
{
    printf("figure %s %.6g %s\n", name, value, unit);
}

/** The last line; the program's exit status. */
static inline int proof_end(const struct proof *proof)
{
    printf("executions %llu\n", (unsigned long long)proof->executions);
    return proof->failures > 0;
}

/** xorshift64*: the same sequence for the same seed, on every machine. */
static inline uint64_t proof_random(uint64_t *state)
{
    uint64_t x = *state != 0 ? *state : UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static inline double proof_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif
