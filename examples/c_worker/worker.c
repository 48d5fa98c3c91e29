/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c - a service without Python: this one process is host and worker of "words".
 *
 * The host runs on a thread of its own and is never on the path of a call. The worker runs on the
 * main thread and executes one call at a time; more workers are more processes (or threads) that
 * call carom_worker_open. The method `count` reads the text where the client wrote it and puts the
 * number of its words, as decimal digits, where the client will read it.
 *
 * Start it, then:  echo to be or not to be | carom call words count
 */
#include <carom.h>
#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static struct carom_worker *worker;

static void count_words(void *context, struct carom_request *request)
{
    (void)context;
    size_t length, capacity;
    const unsigned char *text = carom_request_data(request, &length);
    char *reply = carom_request_reply_block(request, &capacity);
    size_t words = 0;
    bool inside = false;

    for (size_t i = 0; i < length; i++) {
        bool space = isspace(text[i]);
        words += inside && space;
        inside = !space;
    }
    words += inside;
    carom_request_reply(request, (size_t)snprintf(reply, capacity, "%zu", words));
}

static void stop(int signal)
{
    (void)signal;
    carom_worker_stop(worker);
}

static void *run_host(void *host)
{
    carom_host_run(host);
    return NULL;
}

static int fail(void)
{
    fprintf(stderr, "words: %s\n", carom_error_detail());
    return 1;
}

int main(void)
{
    const struct carom_method methods[] = {{.name = "count", .handler = count_words}};
    struct carom_host *host;
    pthread_t host_thread;

    if (carom_host_open("words", NULL, &host) != 0)
        return fail();
    if (pthread_create(&host_thread, NULL, run_host, host) != 0)
        return 1;

    int result = carom_worker_open("words", methods, 1, INT64_C(5000000000), NULL, &worker);
    if (result == 0) {
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        puts("words: ready");
        fflush(stdout);
        result = carom_worker_run(worker);
    }
    if (result != 0)
        fail();
    carom_worker_close(worker);

    carom_host_stop(host);
    pthread_join(host_thread, NULL);
    carom_host_close(host);
    return result != 0;
}
