/* SPDX-License-Identifier: Apache-2.0
 *
 * demo.c - has warm Python make a thumbnail and a tonal histogram of a photograph, and measures
 * what that costs.
 *
 *   demo PHOTO UNIX_SOCKET PYTHON RESULT_FOLDER      (examples/photo/run calls it)
 *
 * call_carom is the part to read: the photograph goes from its file straight into the request
 * block, the Python function works on it there, and the answer is used where Python put it.
 *
 * Everything else is comparison. The same functions are called in two other ways (other_ways.h),
 * every way reads the photograph anew for every call, and every answer has to be the same, byte for
 * byte. Steady calls of carom and of the socket take turns, so that a noisy machine hurts both. */
#include "other_ways.h"

#include <carom.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000000)
#define ROUNDS 5
#define ROUND_NS (SECOND * 3 / 10)
#define PROCESS_CALLS 5
#define MOST_SAMPLES ((size_t)1 << 21)
#define ANSWER_CAPACITY ((size_t)1 << 22)
#define ECHO_BYTES 64

/* Numbered as in unix_server.py. */
enum method { THUMBNAIL, HISTOGRAM, DRAW_HISTOGRAM, ECHO, METHODS };

struct samples {
    int64_t *ns;
    size_t count;
};

/* A function that Python executes, and what was measured of it. */
struct job {
    const char *method;
    int id;               /* of the method, for carom_call_begin */
    const char *script;   /* what a fresh `python3 -c` runs */
    struct answer answer; /* the first one; all others must be equal */
    int64_t first_unix_ns, first_carom_ns;
    struct samples process, over_unix, carom;
};

#define READ "import sys; data = sys.stdin.buffer.read(); out = sys.stdout.buffer; "

static struct job jobs[METHODS] = {
    [THUMBNAIL] = {.method = "thumbnail",
                   .script = READ "import thumbnail; out.write(thumbnail.thumbnail(data))"},
    [HISTOGRAM] = {.method = "histogram",
                   .script = READ "import histogram as h; b = bytearray(h.COUNTS_BYTES); "
                                  "h.count_into(data, h.counts_of(b)); out.write(b)"},
    [DRAW_HISTOGRAM] = {.method = "draw_histogram"},
    [ECHO] = {.method = "echo", .script = READ "out.write(data)"},
};

static int photo_fd;
static struct carom_client *client;
static int unix_fd;
static const char *python;

static void fail(const char *what, int result)
{
    const char *detail = carom_error_detail();
    fprintf(stderr, "demo: %s: %s\n", what, *detail ? detail : carom_strerror(result));
    exit(1);
}

/* ---------------------------------------------------------------- requests and answers */

/* Writes the request of a job where it is wanted; returns its length. */
static size_t fill_request(const struct job *job, uint8_t *request, size_t capacity)
{
    if (job == &jobs[ECHO]) {
        memset(request, 'c', ECHO_BYTES);
        return ECHO_BYTES;
    }
    if (job == &jobs[DRAW_HISTOGRAM]) {
        memcpy(request, jobs[HISTOGRAM].answer.bytes, jobs[HISTOGRAM].answer.length);
        return jobs[HISTOGRAM].answer.length;
    }
    ssize_t length = pread(photo_fd, request, capacity, 0);
    if (length <= 0 || (size_t)length == capacity)
        fail("cannot read the photograph", length < 0 ? -errno : -EMSGSIZE);
    return (size_t)length;
}

/* Keeps the first answer of a job and compares the others with it. */
static void use_answer(struct job *job, const void *bytes, size_t length)
{
    if (job->answer.bytes == NULL) {
        job->answer.bytes = malloc(length + 1);
        if (job->answer.bytes == NULL)
            fail("no memory", -ENOMEM);
        memcpy(job->answer.bytes, bytes, length);
        job->answer.length = length;
    } else if (length != job->answer.length || memcmp(bytes, job->answer.bytes, length) != 0) {
        fail(job->method, -EBADMSG);
    }
}

/* ---------------------------------------------------------------- the three ways */

static int64_t call_carom(struct job *job)
{
    int64_t begun = carom_now_ns();
    struct carom_call *call;
    size_t capacity, length;

    int result = carom_call_begin(client, job->id, 10 * SECOND, 0, &call);
    if (result != 0)
        fail(job->method, result);
    uint8_t *request = carom_call_request(call, &capacity);
    length = fill_request(job, request, capacity);
    result = carom_call_submit(call, length);
    if (result == 0)
        result = carom_call_wait(call);
    if (result > 0) {
        struct carom_error error;
        carom_call_error(call, &error);
        fprintf(stderr, "%sdemo: %s: %s: %s: %s\n", error.traceback, job->method,
                carom_status_name(result), error.type, error.message);
        exit(1);
    }
    if (result < 0)
        fail(job->method, result);
    const void *reply = carom_call_reply(call, &length);
    use_answer(job, reply, length);
    carom_call_end(call);
    return carom_now_ns() - begun;
}

static uint8_t request_memory[ANSWER_CAPACITY], answer_memory[ANSWER_CAPACITY];

static int64_t call_over_unix(struct job *job)
{
    int64_t begun = carom_now_ns();
    struct answer answer = {answer_memory, sizeof answer_memory, 0};
    size_t length = fill_request(job, request_memory, sizeof request_memory);
    int result = call_unix(unix_fd, (uint32_t)(job - jobs), request_memory, length, &answer);
    if (result != 0)
        fail("Unix socket", result);
    use_answer(job, answer.bytes, answer.length);
    return carom_now_ns() - begun;
}

static int64_t call_process(struct job *job)
{
    int64_t begun = carom_now_ns();
    struct answer answer = {answer_memory, sizeof answer_memory, 0};
    size_t length = fill_request(job, request_memory, sizeof request_memory);
    int result = call_fresh_process(python, job->script, request_memory, length, &answer);
    if (result != 0)
        fail("python3 -c", result);
    use_answer(job, answer.bytes, answer.length);
    return carom_now_ns() - begun;
}

/* ---------------------------------------------------------------- measuring */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void sort(struct samples *samples)
{
    qsort(samples->ns, samples->count, sizeof *samples->ns, compare);
}

static int64_t percentile(const struct samples *samples, size_t percent)
{
    return samples->ns[samples->count * percent / 100];
}

/* Calls, one after the other, for the time of a round. */
static void measure_round(struct job *job, int64_t call(struct job *), struct samples *samples)
{
    int64_t end_ns = carom_now_ns() + ROUND_NS;
    size_t limit = samples->count + MOST_SAMPLES / ROUNDS;
    while (samples->count < limit && carom_now_ns() < end_ns)
        samples->ns[samples->count++] = call(job);
}

static void measure(struct job *job)
{
    struct samples *all[] = {&job->process, &job->over_unix, &job->carom};
    for (size_t i = 0; i < 3; i++) {
        all[i]->ns = malloc(MOST_SAMPLES * sizeof(int64_t));
        if (all[i]->ns == NULL)
            fail("no memory", -ENOMEM);
    }
    for (int i = 0; i < PROCESS_CALLS; i++)
        job->process.ns[job->process.count++] = call_process(job);
    for (int round = 0; round < ROUNDS; round++) {
        measure_round(job, call_over_unix, &job->over_unix);
        measure_round(job, call_carom, &job->carom);
    }
    for (size_t i = 0; i < 3; i++)
        sort(all[i]);
}

/* ---------------------------------------------------------------- results */

static void save(const char *folder, const char *name, const struct answer *answer)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write_all(fd, answer->bytes, answer->length) != 0)
        fail(path, -errno);
    close(fd);
    printf("  %s (%zu bytes)\n", path, answer->length);
}

static void save_table(const char *folder, const char *name, const struct answer *answer)
{
    char path[4096];
    uint64_t counts[3][256];

    if (answer->length != sizeof counts)
        fail("histogram", -EBADMSG);
    memcpy(counts, answer->bytes, sizeof counts);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        fail(path, -errno);
    fputs("tone,red,green,blue\n", file);
    for (int tone = 0; tone < 256; tone++)
        fprintf(file, "%d,%llu,%llu,%llu\n", tone, (unsigned long long)counts[0][tone],
                (unsigned long long)counts[1][tone], (unsigned long long)counts[2][tone]);
    if (fclose(file) != 0)
        fail(path, -errno);
    printf("  %s\n", path);
}

/* A time in the unit in which a person would say it. */
static const char *human(char text[16], int64_t ns)
{
    double value = (double)ns;
    const char *unit = "ns";
    if (ns >= 1000000) {
        value /= 1e6;
        unit = "ms";
    } else if (ns >= 1000) {
        value /= 1e3;
        unit = "us";
    }
    snprintf(text, 16, "%.*f %s", ns < 1000 || value >= 100 ? 0 : value >= 10 ? 1 : 2, value, unit);
    return text;
}

static const struct job *const shown[] = {&jobs[THUMBNAIL], &jobs[HISTOGRAM], &jobs[ECHO]};

static int64_t process_p50(const struct job *job)
{
    return percentile(&job->process, 50);
}

static int64_t unix_first(const struct job *job)
{
    return job->first_unix_ns;
}

static int64_t unix_p50(const struct job *job)
{
    return percentile(&job->over_unix, 50);
}

static int64_t unix_p99(const struct job *job)
{
    return percentile(&job->over_unix, 99);
}

static int64_t carom_first(const struct job *job)
{
    return job->first_carom_ns;
}

static int64_t carom_p50(const struct job *job)
{
    return percentile(&job->carom, 50);
}

static int64_t carom_p99(const struct job *job)
{
    return percentile(&job->carom, 99);
}

static void print_row(const char *title, int64_t (*figure)(const struct job *))
{
    printf("  %-36s", title);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char text[16];
        printf("%14s", human(text, figure(shown[i])));
    }
    putchar('\n');
}

static void print_table(void)
{
    char work[16], transport[16], process[16];

    printf("\nCPUs: %ld, no process pinned to one\n\n", sysconf(_SC_NPROCESSORS_ONLN));
    printf("  %-36s%14s%14s%14s\n", "one call takes", "thumbnail", "histogram", "echo 64 B");
    print_row("fresh python3 -c process, median", process_p50);
    print_row("Unix socket, first call", unix_first);
    print_row("Unix socket, steady, p50", unix_p50);
    print_row("Unix socket, steady, p99", unix_p99);
    print_row("carom, first call", carom_first);
    print_row("carom, steady, p50", carom_p50);
    print_row("carom, steady, p99", carom_p99);

    printf("\n"
           "A thumbnail is %s of Pillow's work however the photograph gets there: what a warm\n"
           "worker saves is the %s of starting Python and importing Pillow. What the way there\n"
           "and back costs shows in the last column: %s, %.1f times less than the Unix socket.\n",
           human(work, carom_p50(&jobs[THUMBNAIL])),
           human(process, process_p50(&jobs[THUMBNAIL]) - carom_p50(&jobs[THUMBNAIL])),
           human(transport, carom_p50(&jobs[ECHO])),
           (double)unix_p50(&jobs[ECHO]) / (double)carom_p50(&jobs[ECHO]));
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: demo PHOTO UNIX_SOCKET PYTHON RESULT_FOLDER\n", stderr);
        return 2;
    }
    const char *folder = argv[4];
    python = argv[3];
    signal(SIGPIPE, SIG_IGN);
    photo_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (photo_fd < 0)
        fail(argv[1], -errno);

    int result = carom_client_open("photo", 20 * SECOND, NULL, &client);
    if (result != 0)
        fail("service photo", result);
    for (int method = 0; method < METHODS; method++) {
        struct job *job = &jobs[method];
        job->id = carom_client_method(client, job->method);
        if (job->id < 0)
            fail(job->method, job->id);
        job->first_carom_ns = call_carom(job);
    }
    printf("Python made of %s\n", strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1]);
    save(folder, "thumbnail.jpg", &jobs[THUMBNAIL].answer);
    save(folder, "histogram.png", &jobs[DRAW_HISTOGRAM].answer);
    save_table(folder, "histogram.csv", &jobs[HISTOGRAM].answer);

    unix_fd = connect_unix(argv[2], 20000);
    if (unix_fd < 0)
        fail(argv[2], unix_fd);
    for (int method = 0; method < METHODS; method++)
        jobs[method].first_unix_ns = call_over_unix(&jobs[method]);
    measure(&jobs[THUMBNAIL]);
    measure(&jobs[HISTOGRAM]);
    measure(&jobs[ECHO]);
    print_table();

    close(unix_fd);
    close(photo_fd);
    carom_client_close(client);
    for (int method = 0; method < METHODS; method++) {
        free(jobs[method].answer.bytes);
        free(jobs[method].process.ns);
        free(jobs[method].over_unix.ns);
        free(jobs[method].carom.ns);
    }
    return 0;
}
