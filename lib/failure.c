/* SPDX-License-Identifier: Apache-2.0
 *
 * failure.c - writing and reading the record of an error. See failure.h. */
#include "failure.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct record {
    uint32_t type_bytes; /* each with its NUL */
    uint32_t message_bytes;
    uint32_t traceback_bytes;
    uint32_t reserved;
};

/* Copies as much of a string as fits before `end`, always with a NUL. Returns the bytes used. */
static uint32_t put(char *at, const char *end, const char *text)
{
    size_t room = (size_t)(end - at) - 1;
    size_t length = text == NULL ? 0 : strnlen(text, room);
    memcpy(at, text == NULL ? "" : text, length);
    at[length] = '\0';
    return (uint32_t)length + 1;
}

size_t carom__failure_write(void *block, size_t capacity, const char *type, const char *message,
                            const char *traceback)
{
    struct record record = {0};
    char *start = block, *at = start + sizeof record, *end = start + capacity;
    if (capacity > UINT32_MAX)
        end = start + UINT32_MAX;
    record.type_bytes = put(at, end - 2, type); /* leave a NUL for each of the others */
    at += record.type_bytes;
    record.message_bytes = put(at, end - 1, message);
    at += record.message_bytes;
    record.traceback_bytes = put(at, end, traceback);
    memcpy(start, &record, sizeof record);
    return sizeof record + record.type_bytes + record.message_bytes + record.traceback_bytes;
}

int carom__failure_read(const void *block, size_t bytes, struct carom__failure *failure)
{
    struct record record;
    if (bytes < sizeof record + 3)
        return -EPROTO;
    memcpy(&record, block, sizeof record);
    uint64_t total = (uint64_t)record.type_bytes + record.message_bytes + record.traceback_bytes;
    if (record.type_bytes == 0 || record.message_bytes == 0 || record.traceback_bytes == 0 ||
        sizeof record + total != bytes)
        return -EPROTO;
    char *text = malloc(total);
    if (text == NULL)
        return -ENOMEM;
    memcpy(text, (const char *)block + sizeof record, total);
    failure->type = text;
    failure->message = text + record.type_bytes;
    failure->traceback = failure->message + record.message_bytes;
    failure->message[-1] = '\0';
    failure->traceback[-1] = '\0';
    text[total - 1] = '\0';
    return 0;
}
