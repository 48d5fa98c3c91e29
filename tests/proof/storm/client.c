/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - a client under load, to be killed, stopped and started again by storm.py:
 *
 *   client SERVICE FILE BLOCK LAUNCH THREADS storm|paced|hold
 *
 * FILE has the tallies (tally.h); this client's are the TALLY_THREADS from BLOCK * TALLY_THREADS
 * on. LAUNCH is a number that no other client ever has. Each thread makes calls of every kind until
 * it is told to stop (ask.h says what is expected of them). Nearly all calls have no deadline: a
 * lost wake-up hangs for good.
 *
 * paced: the same with pauses, for a load that leaves CPU time. hold: calls that end only when
 * their worker dies, and what is noted is when the caller knew. */
#include "ask.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS 16
#define BURST 6
#define SECOND INT64_C(1000000000)

/* ---------------------------------------------------------------- operations */

static void call_once(struct caller *caller, enum method method)
{
    struct ask ask = ask_for(caller, method);
    if (begin(caller, &ask, CAROM_FOREVER, 0))
        finish(caller, &ask);
}

static void call_echo(struct caller *caller)
{
    call_once(caller, ECHO);
}

static void call_again(struct caller *caller)
{
    call_once(caller, AGAIN);
}

static void call_run_once(struct caller *caller)
{
    call_once(caller, ONCE);
}

static void call_slow(struct caller *caller)
{
    call_once(caller, SLOW);
}

static void call_timed(struct caller *caller)
{
    struct ask ask = ask_for(caller, SLOW);
    ask.statuses |= STATUS(CAROM_DEADLINE_EXCEEDED);
    if (begin(caller, &ask, (int64_t)choose(caller, 4000000), 0))
        finish(caller, &ask);
}

static void call_cancelled(struct caller *caller)
{
    struct ask ask = ask_for(caller, choose(caller, 2) ? SLOW : ECHO);
    ask.statuses |= STATUS(CAROM_CANCELLED);
    if (!begin(caller, &ask, CAROM_FOREVER, 0))
        return;
    for (uint64_t spin = choose(caller, 2000); spin > 0; spin--)
        atomic_signal_fence(memory_order_seq_cst); /* only takes time */
    carom_call_cancel(ask.call);
    finish(caller, &ask);
}

static void call_abandoned(struct caller *caller)
{
    struct ask ask = ask_for(caller, choose(caller, 2) ? SLOW : ECHO);
    if (!begin(caller, &ask, CAROM_FOREVER, 0))
        return;
    carom_call_end(ask.call);
    tally_add(&caller->tally->abandoned, 1);
}

/* Who holds calls of a lost connection must not wait for a new one: hence CAROM_NOWAIT. */
static unsigned begin_burst(struct caller *caller, struct ask asks[BURST], unsigned flags)
{
    unsigned count = 0;
    for (unsigned i = 0; i < BURST; i++) {
        struct ask ask = ask_for(caller, choose(caller, 4) ? ECHO : ONCE);
        if (begin(caller, &ask, CAROM_FOREVER, flags | (count > 0 ? CAROM_NOWAIT : 0)))
            asks[count++] = ask;
        else if (count > 0)
            break;
    }
    return count;
}

static void call_burst(struct caller *caller)
{
    struct ask asks[BURST];
    unsigned count = begin_burst(caller, asks, 0);
    while (count > 0) {
        unsigned i = (unsigned)choose(caller, count);
        finish(caller, &asks[i]);
        asks[i] = asks[--count];
    }
}

/* Calls that carom_client_next returns. Only one thread may do this: it gets those of all. */
static void call_notified(struct caller *caller)
{
    struct ask asks[BURST];
    struct carom_call *call = NULL;
    unsigned count = begin_burst(caller, asks, CAROM_NOTIFY), left = count;
    int rc = 0;
    for (unsigned i = 0; i < count; i++)
        carom_call_set_data(asks[i].call, &asks[i]);
    while (left > 0 && (rc = carom_client_next(caller->load->client, CAROM_FOREVER, &call)) == 0) {
        finish(caller, carom_call_data(call));
        left--;
    }
    if (rc != 0 && rc != -EHOSTDOWN && rc != -ESHUTDOWN)
        note_wrong(caller, &asks[0], "carom_client_next: %d %s", rc, carom_error_detail());
    for (unsigned i = 0; i < count; i++) {
        if (asks[i].call != NULL)
            finish(caller, &asks[i]);
    }
}

/* A call that only a death ends, then one that must be answered. */
static void call_held(struct caller *caller)
{
    struct ask held = ask_for(caller, HOLD), next = ask_for(caller, ECHO);
    if (!begin(caller, &held, CAROM_FOREVER, 0))
        return;
    int outcome = wait_for(&held);
    int64_t heard_ns = carom_now_ns();
    uint64_t pid = outcome == CAROM_UNAVAILABLE ? read_dead_worker(&held) : 0;
    if (pid == 0)
        note_wrong(caller, &held, "outcome %d of a call whose worker was killed", outcome);
    else
        tally_add(&caller->tally->statuses, 1);
    carom_call_end(held.call);
    if (begin(caller, &next, CAROM_FOREVER, 0))
        finish(caller, &next);
    if (pid != 0)
        note_death(caller, pid, heard_ns, carom_now_ns());
}

/* ---------------------------------------------------------------- a thread */

typedef void operation(struct caller *caller);

static const struct {
    const char *name; /* the tally has room for eight letters */
    operation *run;
    unsigned weight;
} operations[] = {
    {"echo", call_echo, 36},        {"again", call_again, 8}, {"once", call_run_once, 14},
    {"slow", call_slow, 8},         {"timed", call_timed, 6}, {"cancel", call_cancelled, 6},
    {"abandon", call_abandoned, 6}, {"burst", call_burst, 8}, {"notified", call_notified, 8},
};

static void make_calls(struct caller *caller)
{
    uint64_t drawn = choose(caller, 100);
    unsigned i = 0;
    while (drawn >= operations[i].weight)
        drawn -= operations[i++].weight;
    operation *run = operations[i].run;
    const char *name = operations[i].name;
    if (run == call_notified && caller->load->threads > 1) {
        run = call_burst;
        name = "burst";
    }
    if (caller->load->is_held) {
        run = call_held;
        name = "held";
    }
    uint64_t letters = 0;
    memcpy(&letters, name, strnlen(name, sizeof letters));
    tally_set(&caller->tally->since_ns, (uint64_t)carom_now_ns());
    tally_set(&caller->tally->doing, letters);
    run(caller);
    tally_set(&caller->tally->doing, 0);
    if (caller->load->is_paced)
        usleep((useconds_t)choose(caller, 1000));
}

static void *call_until_told(void *context)
{
    struct caller *caller = context;
    uint64_t command;
    while ((command = tally_get(caller->load->command)) != TALLY_STOP) {
        tally_set(&caller->tally->parked, command == TALLY_PAUSE);
        if (command == TALLY_PAUSE)
            usleep(500);
        else
            make_calls(caller);
    }
    return NULL;
}

/* ---------------------------------------------------------------- the program */

static int open_client(struct load *load)
{
    struct carom_client_options options = {.size = sizeof options,
                                           .slots = SLOTS,
                                           .request_block_bytes = BLOCK_BYTES,
                                           .reply_block_bytes = BLOCK_BYTES,
                                           .no_spin = load->launch % 4 == 0};
    int rc = -ENOENT;
    while (tally_get(load->command) != TALLY_STOP) {
        rc = carom_client_open(load->service, SECOND, &options, &load->client);
        if (rc != -ENOENT && rc != -ECONNREFUSED && rc != -ETIMEDOUT)
            break;
    }
    for (int i = 0; rc == 0 && i < METHODS; i++) {
        load->methods[i] = carom_client_method(load->client, method_names[i]);
        rc = load->methods[i] < 0 ? load->methods[i] : 0;
    }
    return rc;
}

static int run(struct load *load, struct tally *tallies)
{
    struct caller *callers = calloc(load->threads, sizeof *callers);
    for (uint32_t i = 0; i < load->threads; i++) {
        callers[i].load = load;
        callers[i].tally = &tallies[i];
        callers[i].index = i;
        callers[i].random = ((uint64_t)load->launch << 8 | i) * UINT64_C(0x9e3779b97f4a7c15) | 1;
        if (pthread_create(&callers[i].thread, NULL, call_until_told, &callers[i]) != 0)
            abort();
    }
    for (uint32_t i = 0; i < load->threads; i++)
        pthread_join(callers[i].thread, NULL);
    free(callers);
    carom_client_close(load->client);
    return 0;
}

static void *map_file(const char *path)
{
    struct stat stat;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0)
        return NULL;
    void *file = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return file == MAP_FAILED ? NULL : file;
}

int main(int argc, char **argv)
{
    pid_t driver = getppid();
    if (argc != 7)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsigned char *file = map_file(argv[2]);
    if (file == NULL || getppid() != driver)
        return 2;
    size_t first = strtoul(argv[3], NULL, 10) * TALLY_THREADS;
    struct tally *tallies = (struct tally *)(void *)(file + TALLY_PAGE_BYTES) + first;
    struct load load = {.service = argv[1],
                        .command = (void *)file,
                        .launch = (uint32_t)strtoul(argv[4], NULL, 10),
                        .threads = (uint32_t)strtoul(argv[5], NULL, 10),
                        .is_paced = strcmp(argv[6], "paced") == 0,
                        .is_held = strcmp(argv[6], "hold") == 0};
    int rc = open_client(&load);
    if (rc == 0)
        return run(&load, tallies);
    if (tally_get(load.command) == TALLY_STOP) {
        carom_client_close(load.client);
        return 0;
    }
    snprintf(tallies->text, sizeof tallies->text, "launch %u could not open the service: %d %s",
             load.launch, rc, carom_error_detail());
    tally_add(&tallies->wrong, 1);
    return 1;
}
