/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c - `worker SERVICE LEDGER TALLY`: a worker in C. It checks every request, notes the run
 * in the ledger and answers with as much as it is asked for. On SIGTERM it leaves in order. */
#include "message.h"

#include "carom.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static struct carom_worker *worker;
static struct ledger ledger;
static struct tally *tally;

static void refuse(struct carom_request *request, const char *what, const struct message *message)
{
    char text[128];
    snprintf(text, sizeof text, "%s: stream %u, call %llu, %llu bytes", what, message->stream,
             (unsigned long long)message->sequence, (unsigned long long)message->length_bytes);
    carom_request_fail(request, CAROM_DATA_LOSS, "soak", text, NULL);
}

static void answer(struct carom_request *request, const void *data, size_t bytes,
                   const struct message *asked)
{
    void *block = carom_request_reply_block(request, NULL);
    struct message reply = {.stream = asked->stream, .sequence = asked->sequence};
    reply.length_bytes = asked->reply_bytes;
    if (reply.length_bytes < SHORT_BYTES)
        short_write(block, reply.length_bytes,
                    bytes < SHORT_BYTES ? short_key(data, bytes) : asked->check);
    else
        message_write(&ledger, block, &reply);
    tally->moved_bytes += bytes + reply.length_bytes;
    if (carom_request_reply(request, reply.length_bytes) < 0)
        refuse(request, "a reply is refused", asked);
}

/* The first byte says how long the reply is to be. */
static void run_short(struct carom_request *request, const unsigned char *data, size_t bytes)
{
    struct message asked = {.length_bytes = bytes};
    if (bytes > 0)
        asked.reply_bytes = data[0];
    tally->short_runs++;
    if (asked.reply_bytes < SHORT_BYTES && (bytes == 0 || short_matches(data, bytes, data[0])))
        answer(request, data, bytes, &asked);
    else
        refuse(request, "a short request is damaged", &asked);
}

static void run(void *context, struct carom_request *request)
{
    size_t bytes;
    struct message asked;
    const void *data = carom_request_data(request, &bytes);
    (void)context;
    if (bytes < SHORT_BYTES) {
        run_short(request, data, bytes);
        return;
    }
    tally->runs++;
    if (!message_read(data, bytes, &asked) || asked.stream >= ledger.books->streams ||
        asked.sequence >= ledger.books->calls || asked.reply_bytes > LARGEST_BYTES)
        refuse(request, "a request is damaged", &asked);
    else if (__atomic_fetch_add(&ledger.runs[asked.stream * ledger.books->calls + asked.sequence],
                                1, __ATOMIC_RELAXED) != 0)
        refuse(request, "a call runs twice", &asked);
    else
        answer(request, data, bytes, &asked);
}

static void stop(int signal)
{
    (void)signal;
    carom_worker_stop(worker);
}

static struct tally *open_tally(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct tally)) < 0)
        soak_fail("no tally %s", path);
    void *at = mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        soak_fail("no memory for a tally");
    return at;
}

int main(int argc, char **argv)
{
    const struct carom_method methods[] = {{"soak", run, NULL, 0}};
    if (argc != 4)
        soak_fail("usage: worker SERVICE LEDGER TALLY");
    ledger = ledger_open(argv[2]);
    tally = open_tally(argv[3]);
    if (carom_worker_open(argv[1], methods, 1, 10 * SECOND, NULL, &worker) < 0)
        soak_fail("a worker does not open: %s", carom_error_detail());
    signal(SIGTERM, stop);
    printf("ready\n");
    fflush(stdout);
    int rc = carom_worker_run(worker);
    if (rc < 0)
        soak_fail("a worker ended: %s", carom_error_detail());
    carom_worker_close(worker);
    return 0;
}
