/* SPDX-License-Identifier: Apache-2.0
 *
 * message.c - writing and checking what calls carry. See message.h. */
#include "message.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- CRC-32, sixteen bytes a step */

static uint32_t table[16][256];

__attribute__((constructor)) static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? UINT32_C(0xedb88320) : 0);
        table[0][i] = value;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int step = 1; step < 16; step++)
            table[step][i] = table[step - 1][i] >> 8 ^ table[0][table[step - 1][i] & 0xff];
}

/* Eight bytes, behind which so many more follow in this step. */
static inline uint32_t fold(unsigned behind, uint64_t word)
{
    uint32_t(*from)[256] = &table[behind];
    return from[7][word & 0xff] ^ from[6][word >> 8 & 0xff] ^ from[5][word >> 16 & 0xff] ^
           from[4][word >> 24 & 0xff] ^ from[3][word >> 32 & 0xff] ^ from[2][word >> 40 & 0xff] ^
           from[1][word >> 48 & 0xff] ^ from[0][word >> 56];
}

static uint32_t crc32_of(const unsigned char *at, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    uint64_t words[2];
    for (; bytes >= sizeof words; bytes -= sizeof words, at += sizeof words) {
        memcpy(words, at, sizeof words);
        crc = fold(8, words[0] ^ crc) ^ fold(0, words[1]);
    }
    for (; bytes > 0; bytes--, at++)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
    return ~crc;
}

/* ---------------------------------------------------------------- messages */

uint32_t message_check(const void *message, size_t length_bytes)
{
    return crc32_of((const unsigned char *)message + sizeof(uint32_t),
                    length_bytes - sizeof(uint32_t));
}

void message_write(const struct ledger *ledger, void *at, const struct message *message)
{
    const uint64_t place = (message->sequence * 4099 + message->stream * UINT64_C(977)) % 1000003;
    struct message header = *message;
    memcpy(at, &header, sizeof header);
    memcpy((char *)at + sizeof header, ledger->pattern + place,
           header.length_bytes - sizeof header);
    header.check = message_check(at, header.length_bytes);
    memcpy(at, &header.check, sizeof header.check);
}

bool message_read(const void *at, size_t length_bytes, struct message *message)
{
    memcpy(message, at, sizeof *message);
    return message->length_bytes == length_bytes &&
           message->check == message_check(at, length_bytes);
}

void short_write(void *at, size_t length_bytes, uint32_t key)
{
    for (size_t i = 0; i < length_bytes; i++)
        ((unsigned char *)at)[i] = (unsigned char)(key + 7 * i);
}

bool short_matches(const void *at, size_t length_bytes, uint32_t key)
{
    for (size_t i = 0; i < length_bytes; i++)
        if (((const unsigned char *)at)[i] != (unsigned char)(key + 7 * i))
            return false;
    return true;
}

uint32_t short_key(const void *request, size_t length_bytes)
{
    uint32_t key = 0;
    for (size_t i = 0; i < length_bytes; i++)
        key += ((const unsigned char *)request)[i];
    return key;
}

/* ---------------------------------------------------------------- the ledger */

struct ledger ledger_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        soak_fail("no ledger %s", path);
    char *base = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (base == MAP_FAILED)
        soak_fail("no memory for the ledger");
    struct ledger ledger = {.books = (void *)base, .pattern = base + 4096};
    ledger.runs = (uint8_t *)base + 4096 + PATTERN_BYTES;
    ledger.outcomes = ledger.runs + ledger.books->streams * ledger.books->calls;
    return ledger;
}

_Noreturn void soak_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("wrong: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
    exit(1);
}
