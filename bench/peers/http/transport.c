/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - calls as HTTP/1.1 POST requests with a JSON body, by libcurl. As JSON has no bytes,
 * {"data": "..."} carries them in base64, there and back. The answer is searched for its one string
 * instead of being parsed, which flatters HTTP a little.
 *
 * One multi handle; each call in flight has an easy handle, which is used again and again, and a
 * connection of its own, kept alive (HTTP/1.1 allows one call at a time on a connection). `at` is
 * the URL.
 */
#include <curl/curl.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define DEPTH_MAX 64
#define ANSWER_BYTES_MAX 256 /* of the body: 88 in base64 and some JSON around it */
#define PROLOGUE "{\"data\": \""
#define EPILOGUE "\"}"

struct exchange {
    CURL *easy;
    uint64_t sequence; /* 0: free */
    size_t bytes;
    char *body;
    size_t body_size, answer_length;
    char answer[ANSWER_BYTES_MAX + 1];
};

struct transport {
    CURLM *multi;
    struct curl_slist *headers;
    unsigned depth;
    unsigned char *request;
    struct exchange exchanges[DEPTH_MAX];
};

/* ---------------------------------------------------------------- base64 */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static char letter_pairs[4096][2]; /* for 12 bits at a time */
static unsigned char values[256];  /* of the letters */

static void base64_prepare(void)
{
    for (unsigned i = 0; i < 4096; i++) {
        letter_pairs[i][0] = letters[i >> 6];
        letter_pairs[i][1] = letters[i & 63];
    }
    for (unsigned i = 0; i < 64; i++)
        values[(unsigned char)letters[i]] = (unsigned char)i;
}

static size_t base64_length(size_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

static void base64_encode_last(char *out, const unsigned char *in, size_t bytes)
{
    unsigned group = (unsigned)in[0] << 16 | (bytes > 1 ? (unsigned)in[1] << 8 : 0);
    memcpy(out, letter_pairs[group >> 12], 2);
    out[2] = bytes > 1 ? letter_pairs[group & 4095][0] : '=';
    out[3] = '=';
}

static void base64_encode(char *out, const unsigned char *in, size_t bytes)
{
    for (; bytes >= 3; bytes -= 3, in += 3, out += 4) {
        unsigned group = (unsigned)in[0] << 16 | (unsigned)in[1] << 8 | in[2];
        memcpy(out, letter_pairs[group >> 12], 2);
        memcpy(out + 2, letter_pairs[group & 4095], 2);
    }
    if (bytes)
        base64_encode_last(out, in, bytes);
}

/** Decodes whole groups of four letters into at most `size` bytes; returns how many. */
static size_t base64_decode(unsigned char *out, size_t size, const char *in, size_t length)
{
    size_t done = 0;
    for (; length >= 4; length -= 4, in += 4) {
        const unsigned char *group = (const unsigned char *)in;
        size_t count = in[2] == '=' ? 1 : in[3] == '=' ? 2 : 3;
        unsigned bits = (unsigned)values[group[0]] << 18 | (unsigned)values[group[1]] << 12 |
                        (unsigned)values[group[2]] << 6 | values[group[3]];
        for (size_t i = 0; i < count && done < size; i++)
            out[done++] = (unsigned char)(bits >> (16 - 8 * i));
    }
    return done;
}

/* ---------------------------------------------------------------- connection */

static size_t take_body(char *part, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t bytes = size * count;
    if (bytes > ANSWER_BYTES_MAX - exchange->answer_length)
        return 0;
    memcpy(exchange->answer + exchange->answer_length, part, bytes);
    exchange->answer_length += bytes;
    exchange->answer[exchange->answer_length] = 0;
    return bytes;
}

static void prepare_exchange(const struct transport *transport, struct exchange *exchange,
                             const char *url)
{
    exchange->easy = curl_easy_init();
    if (!exchange->easy || curl_easy_setopt(exchange->easy, CURLOPT_URL, url))
        bench_die("libcurl cannot use the URL %s", url);
    curl_easy_setopt(exchange->easy, CURLOPT_PRIVATE, exchange);
    curl_easy_setopt(exchange->easy, CURLOPT_HTTPHEADER, transport->headers);
    curl_easy_setopt(exchange->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(exchange->easy, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(exchange->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(exchange->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(exchange->easy, CURLOPT_FAILONERROR, 1L);
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    if (!transport || curl_global_init(CURL_GLOBAL_DEFAULT) ||
        !(transport->multi = curl_multi_init()) ||
        !(transport->request = malloc(config->bytes_max + 1)))
        bench_die("out of memory");
    base64_prepare();
    transport->depth = config->depth_max < DEPTH_MAX ? config->depth_max : DEPTH_MAX;
    transport->headers = curl_slist_append(NULL, "Content-Type: application/json");
    transport->headers = curl_slist_append(transport->headers, "Expect:");
    curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, (long)transport->depth);
    for (unsigned i = 0; i < transport->depth; i++)
        prepare_exchange(transport, &transport->exchanges[i], config->at);
    return transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

void transport_close(struct transport *transport)
{
    for (unsigned i = 0; i < transport->depth; i++) {
        curl_easy_cleanup(transport->exchanges[i].easy);
        free(transport->exchanges[i].body);
    }
    curl_multi_cleanup(transport->multi);
    curl_slist_free_all(transport->headers);
    curl_global_cleanup();
    free(transport->request);
    free(transport);
}

/* ---------------------------------------------------------------- calls */

static struct exchange *free_exchange(struct transport *transport)
{
    struct exchange *exchange = transport->exchanges;
    while (exchange->sequence)
        exchange++;
    return exchange;
}

static void write_body(struct exchange *exchange, const unsigned char *request, size_t bytes)
{
    size_t length = base64_length(bytes), head = strlen(PROLOGUE), tail = strlen(EPILOGUE);
    if (head + length + tail > exchange->body_size) {
        exchange->body_size = head + length + tail;
        free(exchange->body);
        exchange->body = malloc(exchange->body_size);
        if (!exchange->body)
            bench_die("out of memory");
    }
    memcpy(exchange->body, PROLOGUE, head);
    base64_encode(exchange->body + head, request, bytes);
    memcpy(exchange->body + head + length, EPILOGUE, tail);
    curl_easy_setopt(exchange->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)(head + length + tail));
    curl_easy_setopt(exchange->easy, CURLOPT_POSTFIELDS, exchange->body);
}

static void perform(struct transport *transport)
{
    int running;
    CURLMcode error = curl_multi_perform(transport->multi, &running);
    if (error)
        bench_die("curl_multi_perform: %s", curl_multi_strerror(error));
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    struct exchange *exchange = free_exchange(transport);
    exchange->sequence = sequence;
    exchange->bytes = bytes;
    exchange->answer_length = 0;
    work_fill(transport->request, bytes, sequence);
    write_body(exchange, transport->request, bytes);
    curl_multi_add_handle(transport->multi, exchange->easy);
    perform(transport);
}

static void check_answer(const struct exchange *exchange)
{
    unsigned char answer[WORK_ANSWER_BYTES_MAX];
    const char *key = strstr(exchange->answer, "\"data\":");
    const char *begin = key ? strchr(key + strlen("\"data\":"), '"') : NULL;
    const char *end = begin ? strchr(begin + 1, '"') : NULL;
    if (!end)
        bench_die("an answer without data: %s", exchange->answer);
    size_t length = base64_decode(answer, sizeof(answer), begin + 1, (size_t)(end - begin - 1));
    if (!work_is_answer(answer, length, exchange->bytes, exchange->sequence))
        bench_die("the answer to call %" PRIu64 " is not what it should be", exchange->sequence);
}

static uint64_t finish(struct transport *transport, const CURLMsg *message)
{
    struct exchange *exchange = NULL;
    uint64_t sequence;
    if (message->data.result)
        bench_die("HTTP: %s", curl_easy_strerror(message->data.result));
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
    curl_multi_remove_handle(transport->multi, exchange->easy);
    check_answer(exchange);
    sequence = exchange->sequence;
    exchange->sequence = 0;
    return sequence;
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    for (;;) {
        int left;
        CURLMsg *message = curl_multi_info_read(transport->multi, &left);
        if (message)
            return finish(transport, message);
        if (wait)
            curl_multi_poll(transport->multi, NULL, 0, 1000, NULL);
        perform(transport);
        if (!wait && !(message = curl_multi_info_read(transport->multi, &left)))
            return 0;
        if (message)
            return finish(transport, message);
    }
}
