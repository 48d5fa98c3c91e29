/* SPDX-License-Identifier: Apache-2.0
 *
 * failure.c - writing and reading the record of an error. See failure.h. */
#include "failure.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Texts follow in this order: type, message, then type and message of each cause, the traceback. */
#define TEXTS_LEAST 3u
#define TEXTS_MAX (TEXTS_LEAST + 2 * CAROM_CAUSES_MAX)

struct record {
    int64_t time_ns;
    uint32_t cause_count;
    uint32_t texts_bytes; /* all of them, each with its NUL */
};

/* ---------------------------------------------------------------- writing */

struct writer {
    char *at;
    const char *end;
};

/* Copies as much of a string as leaves `reserve` bytes before the end, always with a NUL. */
static void put(struct writer *writer, const char *text, size_t reserve)
{
    size_t room = (size_t)(writer->end - writer->at) - reserve - 1;
    size_t length = text == NULL ? 0 : strnlen(text, room);
    memcpy(writer->at, text == NULL ? "" : text, length);
    writer->at[length] = '\0';
    writer->at += length + 1;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Half of what is left goes to the causes at most, so that a traceback has its share. */
static uint32_t put_causes(struct writer *writer, const struct carom_error *error)
{
    const char *end = writer->end;
    uint32_t count = error->cause_count < CAROM_CAUSES_MAX ? error->cause_count : CAROM_CAUSES_MAX;
    uint32_t written = 0;
    writer->end = writer->at + (end - writer->at) / 2;
    for (; written < count && writer->end - writer->at > 2; written++) {
        put(writer, error->causes[written].type, 1);
        put(writer, error->causes[written].message, 0);
    }
    writer->end = end;
    return written;
}

size_t carom__failure_write(void *block, size_t capacity, const struct carom_error *error)
{
    struct record record = {.time_ns = error->time_ns != 0 ? error->time_ns : now_ns()};
    char *texts = (char *)block + sizeof record;
    if (capacity > UINT32_MAX)
        capacity = UINT32_MAX;
    struct writer writer = {texts, (char *)block + capacity};
    put(&writer, error->type, 2); /* leave a NUL for each of the others */
    put(&writer, error->message, 1);
    record.cause_count = put_causes(&writer, error);
    put(&writer, error->traceback, 0);
    record.texts_bytes = (uint32_t)(writer.at - texts);
    memcpy(block, &record, sizeof record);
    return sizeof record + record.texts_bytes;
}

/* ---------------------------------------------------------------- reading */

/* They fill their memory exactly: the last byte ends the last one, and strlen any before. */
static bool find_texts(struct carom__failure *failure, size_t texts_bytes)
{
    const char *text[TEXTS_MAX] = {NULL}, *texts = failure->texts;
    const uint32_t count = TEXTS_LEAST + 2 * failure->cause_count;
    uint32_t found = 0;
    if (texts[texts_bytes - 1] != '\0')
        return false;
    for (size_t at = 0; at < texts_bytes; at += strlen(texts + at) + 1) {
        if (found >= count)
            return false;
        text[found++] = texts + at;
    }
    if (found != count)
        return false;
    failure->type = text[0];
    failure->message = text[1];
    for (uint32_t i = 0; i < failure->cause_count; i++)
        failure->causes[i] = (struct carom_cause){text[2 + 2 * i], text[3 + 2 * i]};
    failure->traceback = text[count - 1];
    return true;
}

int carom__failure_read(const void *block, size_t bytes, struct carom__failure **failure)
{
    struct record record;
    if (bytes < sizeof record + TEXTS_LEAST)
        return -EPROTO;
    memcpy(&record, block, sizeof record);
    if (record.cause_count > CAROM_CAUSES_MAX || record.texts_bytes != bytes - sizeof record)
        return -EPROTO;
    struct carom__failure *read = malloc(sizeof *read + record.texts_bytes);
    if (read == NULL)
        return -ENOMEM;
    read->time_ns = record.time_ns;
    read->cause_count = record.cause_count;
    memcpy(read->texts, (const char *)block + sizeof record, record.texts_bytes);
    if (!find_texts(read, record.texts_bytes)) {
        free(read);
        return -EPROTO;
    }
    *failure = read;
    return 0;
}
