/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.c - one peer of a service, told what to do on standard input.
 *
 *   peer host SERVICE [UID...]   serves until its input ends; further users may connect
 *   peer worker SERVICE          works until the service stops
 *   peer client SERVICE SEED     calls N | large | hold | who | slots | leave
 *   peer observer SERVICE        look
 *   peer launch APPLICATION      a client of a pool of its own; commands as for a client
 *
 * Each says "ready", or "failed ERRNO SENTENCE" and ends with status 3. Each command is answered by
 * one line. Only the public interface is used. */
#include "peer.h"

#include <pthread.h>

/* ---------------------------------------------------------------- host */

static struct carom_host *host;

static void *run_host(void *unused)
{
    (void)unused;
    if (carom_host_run(host) < 0)
        exit(say_failed(-EIO));
    return NULL;
}

static int be_host(const char *service, int uid_count, char **uid_text)
{
    uid_t uids[16];
    struct carom_host_options options = {.size = sizeof options, .allowed_uids = uids};
    pthread_t thread;
    for (int i = 0; i < uid_count && i < 16; i++)
        uids[options.allowed_uid_count++] = (uid_t)strtoul(uid_text[i], NULL, 10);
    int rc = carom_host_open(service, &options, &host);
    if (rc < 0)
        return say_failed(rc);
    if (pthread_create(&thread, NULL, run_host, NULL) != 0)
        return say_failed(-EAGAIN);
    puts("ready");
    while (getchar() != EOF)
        ;
    carom_host_stop(host);
    pthread_join(thread, NULL);
    carom_host_close(host);
    return 0;
}

/* ---------------------------------------------------------------- worker */

static int be_worker(const char *service)
{
    struct carom_worker *worker;
    int rc = carom_worker_open(service, peer_methods, METHODS, PATIENCE_NS, NULL, &worker);
    if (rc < 0)
        return say_failed(rc);
    printf("ready %d\n", carom_worker_id(worker));
    rc = carom_worker_run(worker);
    if (rc < 0)
        rc = say_failed(rc);
    carom_worker_close(worker);
    return rc;
}

/* ---------------------------------------------------------------- client */

static void make_calls(struct carom_client *client, uint64_t seed, uint64_t count)
{
    static uint64_t number;
    uint64_t exact = 0;
    int rc = 0;
    while (exact < count && (rc = call_once(client, seed, number++)) == CAROM_OK)
        exact++;
    if (rc == CAROM_OK)
        printf("calls %llu\n", (unsigned long long)exact);
    else
        printf("failed %d after %llu calls: %s\n", rc, (unsigned long long)exact,
               rc < 0 ? carom_error_detail() : carom_status_name(rc));
}

static void make_large_call(struct carom_client *client, uint64_t seed)
{
    const int rc = call_once(client, seed, LARGE_NUMBER);
    if (rc == CAROM_OK)
        puts("large");
    else
        printf("failed %d %s\n", rc, rc < 0 ? carom_error_detail() : carom_status_name(rc));
}

/* One line, whatever the other side said. */
static void say_error(struct carom_call *call, int rc)
{
    struct carom_error error;
    if (rc > 0 && carom_call_error(call, &error) == 0)
        printf("%s %s: %s\n", carom_status_name(rc), error.type, error.message);
    else
        printf("failed %d %s\n", -rc, carom_error_detail());
}

static void make_call(struct carom_client *client, const char *name)
{
    struct carom_call *call;
    size_t bytes;
    const int method = carom_client_method(client, name);
    int rc = carom_call_begin(client, method, PATIENCE_NS, 0, &call);
    if (rc < 0) {
        printf("failed %d %s\n", -rc, carom_error_detail());
        return;
    }
    rc = carom_call_submit(call, 0);
    if (rc == 0)
        rc = carom_call_wait(call);
    const char *reply = carom_call_reply(call, &bytes);
    if (rc == CAROM_OK && reply != NULL)
        printf("OK %.*s\n", (int)bytes, reply);
    else
        say_error(call, rc);
    carom_call_end(call);
}

static int be_client(const char *service, uint64_t seed)
{
    struct carom_client *client;
    char line[128], word[32];
    int rc = open_client(service, 8, &client);
    if (rc < 0)
        return say_failed(rc);
    puts("ready");
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long long count = 0;
        if (sscanf(line, "%31s %llu", word, &count) < 1)
            continue;
        if (strcmp(word, "calls") == 0)
            make_calls(client, seed, count);
        else if (strcmp(word, "large") == 0)
            make_large_call(client, seed);
        else if (strcmp(word, "slots") == 0)
            printf("slots %s\n", slots_add_up(client) ? "add up" : "are missing");
        else if (strcmp(word, "leave") == 0)
            break;
        else
            make_call(client, word);
    }
    carom_client_close(client);
    return 0;
}

/* ---------------------------------------------------------------- launch */

static int be_launcher(const char *application)
{
    struct carom_pool *pool;
    int rc = carom_launch(application, 1, NULL, &pool);
    if (rc < 0)
        return say_failed(rc);
    rc = be_client(carom_pool_service(pool), 1);
    carom_pool_close(pool);
    return rc;
}

/* ---------------------------------------------------------------- observer */

/* As JSON: what carom.h says of the service, its workers and its clients. */
static void look(struct carom_observer *observer)
{
    static struct carom_worker_info workers[256];
    static struct carom_client_info clients[1024];
    struct carom_service_info service;
    if (carom_observer_service(observer, &service) < 0) {
        printf("failed %s\n", carom_error_detail());
        return;
    }
    const int worker_count = carom_observer_workers(observer, workers, 256);
    const int client_count = carom_observer_clients(observer, clients, 1024);
    printf("{\"workers\": [");
    for (int i = 0; i < worker_count; i++)
        printf("%s{\"id\": %d, \"pid\": %d, \"uid\": %u, \"calls\": %llu, \"running\": %d}",
               i > 0 ? ", " : "", (int)workers[i].peer.id, (int)workers[i].peer.pid,
               (unsigned)workers[i].peer.uid, (unsigned long long)workers[i].calls,
               (int)workers[i].running_method);
    printf("], \"clients\": [");
    for (int i = 0; i < client_count; i++)
        printf("%s{\"id\": %d, \"pid\": %d, \"uid\": %u}", i > 0 ? ", " : "",
               (int)clients[i].peer.id, (int)clients[i].peer.pid, (unsigned)clients[i].peer.uid);
    printf("]}\n");
}

static int be_observer(const char *service)
{
    struct carom_observer *observer;
    char line[128];
    int rc = open_observer(service, &observer);
    if (rc < 0)
        return say_failed(rc);
    puts("ready");
    while (fgets(line, sizeof line, stdin) != NULL)
        look(observer);
    carom_observer_close(observer);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 3 && strcmp(argv[1], "host") == 0)
        return be_host(argv[2], argc - 3, argv + 3);
    if (argc == 3 && strcmp(argv[1], "worker") == 0)
        return be_worker(argv[2]);
    if (argc == 4 && strcmp(argv[1], "client") == 0)
        return be_client(argv[2], strtoull(argv[3], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "launch") == 0)
        return be_launcher(argv[2]);
    if (argc == 3 && strcmp(argv[1], "observer") == 0)
        return be_observer(argv[2]);
    fprintf(stderr, "usage: %s host|worker|client|observer SERVICE ...\n", argv[0]);
    return 2;
}
