/* SPDX-License-Identifier: Apache-2.0
 *
 * message.h - what the calls of the soak carry, and the books that are kept about them.
 *
 * A message of 32 bytes or more begins with who it is of, how long it is and a CRC-32 of everything
 * behind the first four bytes; the rest is cut out of a pattern of random bytes, at a place that
 * follows from its number, so that bytes of another call are noticed. A request also says how long
 * its reply shall be. Shorter messages have no room for that: they are a run of bytes that follows
 * from the request.
 *
 * The ledger is memory that all processes of a service share. It has one byte per call for how
 * often workers ran it, which they add up, and one for its outcome, which its client writes.
 * application.py says the same in Python. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message {
    uint32_t check; /* CRC-32 of what follows, to the end of the message */
    uint32_t stream;
    uint64_t sequence;
    uint64_t length_bytes;
    uint64_t reply_bytes; /* of a request: wanted; of a reply: 0 */
};

#define PATTERN_BYTES (UINT64_C(17) << 20)
#define LARGEST_BYTES (UINT64_C(16) << 20)
#define SHORT_BYTES sizeof(struct message)
#define STREAMS_MOST 32u

/** First page of the ledger; behind it the pattern, then runs, then outcomes. */
struct books {
    uint64_t streams, calls; /* calls of each stream */
    struct {
        _Alignas(64) uint64_t done;
        uint64_t moved_bytes;
    } stream[STREAMS_MOST]; /* written by the stream's thread alone */
};

struct ledger {
    struct books *books;
    const char *pattern;
    uint8_t *runs, *outcomes;
};

/** What became of a call. */
enum outcome {
    NOT_MADE = 0,
    REPLIED = 1,       /* and the reply was right */
    REPLIED_SHORT = 2, /* the same; its request had no room for its number */
    WITHDRAWN = 3,     /* cancelled before it ran */
    LATE = 4,          /* its deadline passed; whether it ran is not known */
    ABANDONED = 5,     /* its client left it; the same */
    OUTCOMES = 6,
};

/** A worker's own count, in a file of its own that outlives it. */
struct tally {
    uint64_t runs;       /* of calls with a number */
    uint64_t short_runs; /* of calls without */
    uint64_t moved_bytes;
};

/** Maps a ledger; ends the program when it cannot. */
struct ledger ledger_open(const char *path);

uint32_t message_check(const void *message, size_t length_bytes);

/** Writes a message of at least SHORT_BYTES. */
void message_write(const struct ledger *ledger, void *at, const struct message *message);

/** Whether these bytes are a message that nobody has changed. */
bool message_read(const void *at, size_t length_bytes, struct message *message);

/** Messages that are too short for a header. */
void short_write(void *at, size_t length_bytes, uint32_t key);
bool short_matches(const void *at, size_t length_bytes, uint32_t key);

/** What a short reply follows from: the bytes of a short request, or the check of a long one. */
uint32_t short_key(const void *request, size_t length_bytes);

/** Prints what is wrong and ends the program. */
_Noreturn void soak_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
