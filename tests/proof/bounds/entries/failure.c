/* SPDX-License-Identifier: Apache-2.0
 *
 * failure.c - what a client makes of a reply block that holds the record of an error: failure.c on
 * a block of exactly the record's size (here in the place of a number of slots) and of any
 * content. */
#include "failure.h"
#include "peer.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Of private memory, and the last byte of that has to be a NUL. */
static size_t bounds_strlen(const char *text)
{
    (void)text[0];
    //@ assert terminated: ((char *)\base_addr(text))[\block_length(text) - 1] == 0;
    return any_up_to(UINT32_MAX);
}
#define strlen bounds_strlen /* after the headers, whose specifications name it */
#include "lib/failure.c"

/* Each text begins within the copy, which ends with a NUL. */
static void check_texts(const struct carom__failure *failure, size_t texts_bytes)
{
    //@ assert ends_with_nul: failure->texts[texts_bytes - 1] == 0;
    (void)(*failure->type + *failure->message + *failure->traceback);
    for (uint32_t i = 0; i < failure->cause_count; i++)
        (void)(*failure->causes[i].type + *failure->causes[i].message);
}

static void read_record(char *block, size_t bytes, uint32_t cause_count)
{
    struct carom__failure *failure;
    if (bytes >= sizeof(struct record))
        ((struct record *)block)->cause_count = cause_count;
    if (carom__failure_read(block, bytes, &failure) < 0)
        return;
    check_texts(failure, bytes - sizeof(struct record));
    free(failure);
}

/* Every number of causes by itself: EVA knows then how many texts there have to be. */
static void read_records(size_t bytes)
{
    char *block = unknown(bytes);
    //@ loop unroll 17;
    for (uint32_t count = 0; count <= CAROM_CAUSES_MAX; count++)
        read_record(block, bytes, count);
    read_record(block, bytes, CAROM_CAUSES_MAX + 1 + any32 % (UINT32_MAX - CAROM_CAUSES_MAX));
}

void entry_records(void)
{
    //@ loop unroll 18;
    for (size_t bytes = 1; bytes < sizeof(struct record) + TEXTS_LEAST; bytes++)
        read_record(unknown(bytes), bytes, any32); /* too short */
    read_records(BOUNDS_SLOTS_LAST);
}
