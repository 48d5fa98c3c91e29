/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.h - the service of the suite `environment`, for its programs: what its methods do, and calls
 * whose replies are compared byte by byte. application.py serves the same methods. */
#ifndef PEER_H
#define PEER_H

#include "carom.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS (INT64_C(30) * 1000000000)
#define BLOCK_BYTES ((size_t)2 << 20)
/* The largest request: of its block, and the reply's, memory is given back afterwards. */
#define LARGE_BYTES ((size_t)5 << 18)
#define LARGE_NUMBER 63
#define CRC_BYTES 4u
#define FAILED 3 /* exit status of a peer that could not begin, or go on */

/* CRC-32 as zlib has it, which Python has too. */
static inline uint32_t crc_of(const unsigned char *data, size_t bytes)
{
    static uint32_t table[256];
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? UINT32_C(0xedb88320) : 0);
    }
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    return ~crc;
}

/* ---------------------------------------------------------------- the methods */

enum { MIX, HOLD, WHO, METHODS };

/* The checksum of the request, little end first, and the request. */
static inline void mix(void *context, struct carom_request *request)
{
    size_t bytes, capacity;
    (void)context;
    const unsigned char *data = carom_request_data(request, &bytes);
    unsigned char *reply = carom_request_reply_block(request, &capacity);
    if (bytes + CRC_BYTES > capacity) {
        carom_request_fail(request, CAROM_RESOURCE_EXHAUSTED, "TooLong", "", NULL);
        return;
    }
    const uint32_t crc = crc_of(data, bytes);
    for (unsigned i = 0; i < CRC_BYTES; i++)
        reply[i] = (unsigned char)(crc >> (8 * i));
    memcpy(reply + CRC_BYTES, data, bytes);
    carom_request_reply(request, bytes + CRC_BYTES);
}

/* Until it is killed, or nobody waits any more. */
static inline void hold(void *context, struct carom_request *request)
{
    (void)context;
    while (!carom_request_cancelled(request))
        usleep(1000);
    carom_request_fail(request, CAROM_CANCELLED, "Released", "", NULL);
}

/* Who calls, as the host says: "ID PID UID". */
static inline void who(void *context, struct carom_request *request)
{
    struct carom_peer client;
    size_t capacity;
    (void)context;
    carom_request_client(request, &client);
    char *reply = carom_request_reply_block(request, &capacity);
    const int length = snprintf(reply, capacity, "%d %d %u", (int)client.id, (int)client.pid,
                                (unsigned)client.uid);
    carom_request_reply(request, (size_t)length);
}

static const struct carom_method peer_methods[METHODS] = {
    [MIX] = {.name = "mix", .handler = mix},
    [HOLD] = {.name = "hold", .handler = hold},
    [WHO] = {.name = "who", .handler = who},
};

/* ---------------------------------------------------------------- calls */

/** Says why a carom function failed: "failed ERRNO SENTENCE". Returns the exit status for that. */
static inline int say_failed(int error)
{
    printf("failed %d %s\n", -error, carom_error_detail());
    fflush(stdout);
    return FAILED;
}

static inline int open_client(const char *service, uint32_t slots, struct carom_client **client)
{
    const struct carom_client_options options = {
        .size = sizeof options,
        .slots = slots,
        .request_block_bytes = BLOCK_BYTES,
        .reply_block_bytes = BLOCK_BYTES,
        .resident_bytes = 1 << 16, /* so that memory is given back, too */
    };
    return carom_client_open(service, PATIENCE_NS, &options, client);
}

/** An observer gives the host 250 ms and no more, which is too little on a machine that has other
 *  things to do. */
static inline int open_observer(const char *service, struct carom_observer **observer)
{
    const int64_t give_up_ns = carom_now_ns() + PATIENCE_NS;
    int rc;
    do {
        rc = carom_observer_open(service, observer);
    } while (rc == -ETIMEDOUT && carom_now_ns() < give_up_ns);
    return rc;
}

static inline uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Empty, small, around pages, large. */
static inline size_t request_bytes(uint64_t number)
{
    static const size_t bytes[] = {0, 1, 64, 999, 4095, 4097, 70000, 17};
    return number % 256 == LARGE_NUMBER ? LARGE_BYTES : bytes[number % 8];
}

static inline bool is_exact(struct carom_call *call, const unsigned char *request, size_t bytes)
{
    size_t length = 0;
    uint32_t crc = 0;
    const unsigned char *reply = carom_call_reply(call, &length);
    if (reply == NULL || length != bytes + CRC_BYTES)
        return false;
    for (unsigned i = 0; i < CRC_BYTES; i++)
        crc |= (uint32_t)reply[i] << (8 * i);
    return crc == crc_of(request, bytes) && memcmp(reply + CRC_BYTES, request, bytes) == 0;
}

/** One call of `mix`. Returns a status or a negative errno; CAROM_DATA_LOSS when the reply is not
 *  what it must be. */
static inline int call_once(struct carom_client *client, uint64_t seed, uint64_t number)
{
    static unsigned char kept[BLOCK_BYTES];
    struct carom_call *call;
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + number;
    const size_t bytes = request_bytes(number);
    const int method = carom_client_method(client, "mix");
    int rc = method < 0 ? method : carom_call_begin(client, method, PATIENCE_NS, 0, &call);
    if (rc < 0)
        return rc;
    unsigned char *request = carom_call_request(call, NULL);
    for (size_t i = 0; i < bytes; i++)
        kept[i] = (unsigned char)(i % 8 == 0 ? next_random(&state) : state >> (i % 8 * 8));
    memcpy(request, kept, bytes);
    rc = carom_call_submit(call, bytes);
    if (rc == 0)
        rc = carom_call_wait(call);
    if (rc == CAROM_OK && !is_exact(call, kept, bytes))
        rc = CAROM_DATA_LOSS;
    carom_call_end(call);
    return rc;
}

/** Whether every slot of the client can be taken again, and no more than there are. Some may still
 *  be in use for a moment: giving memory back is a call of the library's own. */
static inline bool slots_add_up(struct carom_client *client)
{
    const uint32_t count = carom_client_slots(client);
    struct carom_call **calls = calloc(count, sizeof(struct carom_call *)), *further;
    const int method = carom_client_method(client, "mix");
    uint32_t taken = 0;
    if (calls == NULL)
        return false;
    while (taken < count && carom_call_begin(client, method, PATIENCE_NS, 0, &calls[taken]) == 0)
        taken++;
    const bool is_last = carom_call_begin(client, method, 0, CAROM_NOWAIT, &further) == -EAGAIN;
    for (uint32_t i = 0; i < taken; i++)
        carom_call_end(calls[i]);
    free((void *)calls);
    return taken == count && is_last;
}

#endif
