/* SPDX-License-Identifier: Apache-2.0
 *
 * crowd.c - many peers of one service, started from one program.
 *
 *   crowd churn SERVICE COUNT          so many clients, eight at a time: each makes a call, then
 *                                      closes, exits without closing, or is killed in turn
 *   crowd load SERVICE CLIENTS CALLS   so many at once; "pids ...", and calls when told "go"
 *   crowd fill SERVICE                 as many as the service takes, in this process; then
 *                                      commands: calls | swap
 *   crowd workers SERVICE              the same with workers; command: swap
 *
 * Each reports by a line of counts. */
#include "peer.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define TOGETHER 8
#define MOST 2048
#define SMALL_BYTES 4096u

/** What the processes of the crowd have seen; shared memory. */
struct tally {
    _Atomic unsigned long long exact, unavailable, wrong;
    _Atomic int highest_id, slots_missing, ready, go;
};
static struct tally *tally;

static void make_tally(void)
{
    void *shared = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                        0);
    if (shared == MAP_FAILED)
        exit(FAILED);
    tally = shared;
}

/* Says at once what was wrong, by itself on a line. */
static void count(int rc)
{
    if (rc == CAROM_OK) {
        atomic_fetch_add_explicit(&tally->exact, 1, memory_order_relaxed); /* relaxed: a count */
    } else if (rc == CAROM_UNAVAILABLE) {
        atomic_fetch_add_explicit(&tally->unavailable, 1, memory_order_relaxed); /* as above */
    } else {
        atomic_fetch_add_explicit(&tally->wrong, 1, memory_order_relaxed); /* as above */
        fprintf(stderr, "a call ended with %d: %s\n", rc, carom_error_detail());
    }
}

/* ---------------------------------------------------------------- coming and going */

static void note_id(struct carom_client *client)
{
    char text[64] = "";
    size_t bytes;
    const int method = carom_client_method(client, "who");
    count(carom_invoke(client, method, NULL, 0, text, sizeof text - 1, &bytes, PATIENCE_NS));
    const int id = (int)strtol(text, NULL, 10);
    int highest = atomic_load_explicit(&tally->highest_id, memory_order_relaxed); /* a count */
    while (id > highest && !atomic_compare_exchange_weak_explicit(
                               &tally->highest_id, &highest, id,
                               /* relaxed: as above */ memory_order_relaxed, memory_order_relaxed))
        ;
}

static _Noreturn void come_and_go(const char *service, unsigned number)
{
    struct carom_client *client;
    if (open_client(service, 4, &client) < 0) {
        count(-ECONNREFUSED);
        _exit(1);
    }
    count(call_once(client, number, number));
    note_id(client);
    if (number % 3 == 0)
        carom_client_close(client);
    if (number % 3 == 1)
        raise(SIGKILL);
    _exit(0);
}

static int churn(const char *service, unsigned clients)
{
    unsigned started = 0, running = 0;
    while (started < clients || running > 0) {
        if (started < clients && running < TOGETHER) {
            const pid_t child = fork();
            if (child == 0)
                come_and_go(service, started);
            started++;
            running += child > 0;
            continue;
        }
        running -= waitpid(-1, NULL, 0) > 0;
    }
    printf("exact %llu wrong %llu highest %d\n", tally->exact, tally->wrong, tally->highest_id);
    return 0;
}

/* ---------------------------------------------------------------- all at once */

static _Noreturn void be_one_of_many(const char *service, unsigned number, uint64_t calls)
{
    struct carom_client *client;
    if (open_client(service, 4, &client) < 0) {
        count(-ECONNREFUSED);
        calls = 0;
    }
    atomic_fetch_add_explicit(&tally->ready, 1, memory_order_seq_cst);  /* tests: the strongest */
    while (atomic_load_explicit(&tally->go, memory_order_seq_cst) == 0) /* as above */
        usleep(200);
    for (uint64_t i = 0; i < calls; i++)
        count(call_once(client, number + 1, i));
    if (client != NULL && !slots_add_up(client))
        atomic_fetch_add_explicit(&tally->slots_missing, 1, memory_order_seq_cst); /* as above */
    carom_client_close(client);
    _exit(0);
}

static int load(const char *service, unsigned clients, uint64_t calls)
{
    char line[16];
    unsigned ended = 0, killed = 0;
    pid_t children[MOST];
    for (unsigned i = 0; i < clients && i < MOST; i++) {
        children[i] = fork();
        if (children[i] == 0)
            be_one_of_many(service, i, calls);
    }
    while (atomic_load_explicit(&tally->ready, memory_order_seq_cst) < (int)clients) /* as above */
        usleep(200);
    printf("pids");
    for (unsigned i = 0; i < clients; i++)
        printf(" %d", (int)children[i]);
    puts("");
    if (fgets(line, sizeof line, stdin) == NULL)
        return FAILED;
    atomic_store_explicit(&tally->go, 1, memory_order_seq_cst); /* as above */
    for (unsigned i = 0; i < clients; i++) {
        int status;
        if (waitpid(children[i], &status, 0) == children[i]) {
            ended += WIFEXITED(status);
            killed += WIFSIGNALED(status);
        }
    }
    printf("exact %llu wrong %llu unavailable %llu missing %d ended %u killed %u\n", tally->exact,
           tally->wrong, tally->unavailable, tally->slots_missing, ended, killed);
    return 0;
}

/* ---------------------------------------------------------------- as many as there may be */

static struct carom_client *clients[MOST];
static struct carom_worker *workers[MOST];

static int open_small(const char *service, struct carom_client **client)
{
    const struct carom_client_options options = {
        .size = sizeof options,
        .slots = 1,
        .request_block_bytes = SMALL_BYTES,
        .reply_block_bytes = SMALL_BYTES,
    };
    return carom_client_open(service, PATIENCE_NS, &options, client);
}

static int open_one(const char *service, bool is_worker, unsigned at)
{
    return is_worker
               ? carom_worker_open(service, peer_methods, METHODS, PATIENCE_NS, NULL, &workers[at])
               : open_small(service, &clients[at]);
}

/* Of every client, in an order that is not that of the lanes. */
static void call_by_all(unsigned opened)
{
    for (unsigned i = 0; i < opened; i++) {
        const unsigned at = (i * 7 + 5) % opened;
        count(call_once(clients[at], at, 1 + at % 3));
    }
    printf("exact %llu wrong %llu\n", tally->exact, tally->wrong);
}

static void swap(const char *service, bool is_worker, unsigned at)
{
    carom_client_close(clients[at]);
    carom_worker_close(workers[at]);
    const int rc = open_one(service, is_worker, at);
    if (rc < 0)
        say_failed(rc);
    else
        puts("swapped");
}

static int fill(const char *service, bool is_worker)
{
    char line[32];
    unsigned opened = 0;
    int rc = 0;
    while (opened < MOST && (rc = open_one(service, is_worker, opened)) == 0)
        opened++;
    printf("filled %u ", opened);
    say_failed(rc);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strncmp(line, "calls", 5) == 0 && opened > 0)
            call_by_all(opened);
        else
            swap(service, is_worker, opened / 2);
    }
    for (unsigned i = 0; i < opened; i++) {
        carom_client_close(clients[i]);
        carom_worker_close(workers[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_tally();
    const unsigned amount = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if (argc == 4 && strcmp(argv[1], "churn") == 0)
        return churn(argv[2], amount);
    if (argc == 5 && strcmp(argv[1], "load") == 0)
        return load(argv[2], amount, strtoull(argv[4], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], false);
    if (argc == 3 && strcmp(argv[1], "workers") == 0)
        return fill(argv[2], true);
    fprintf(stderr, "usage: %s churn|load|fill|workers SERVICE ...\n", argv[0]);
    return 2;
}
