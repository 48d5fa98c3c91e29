/* SPDX-License-Identifier: Apache-2.0
 *
 * scene.c - the survivors of a scenario, and what must hold after each kill. See scene.h.
 *
 * What becomes of a call is known exactly from its state word just before the kill: not claimed, it
 * is run by the survivor, once; claimed by the subject, it ends with UNAVAILABLE, having run once
 * at the most; done, it has the subject's answer. */
#include "scene.h"

#include "puppet.h"

#include "layout.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/** Worker ids: the subject gets the lowest that is free. */
#define SURVIVOR_ID 1u

static bool caller_told;            /* it is in a command that ends after the kill */
static uint32_t first_number;       /* of this point */
static uint64_t states[MOST_CALLS]; /* of the caller's calls, just before the kill */

/* ---------------------------------------------------------------- what a process has */

int count_fds(pid_t pid)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *entries = opendir(path);
    if (entries == NULL)
        return -1;
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    return count;
}

static int count_mappings(pid_t pid)
{
    char path[64], line[512];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    if (maps == NULL)
        return -1;
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "carom-") != NULL;
    (void)fclose(maps);
    return count;
}

/* A host that is about something may have a descriptor more for a moment. */
static void note_possessions(struct puppet *puppet)
{
    if (!await(sleeps_in_call(board->puppets[HOST].pid, SYS_epoll_wait)))
        bad("the host does not come to rest");
    puppet->fds = count_fds(puppet->pid);
    puppet->mappings = count_mappings(puppet->pid);
}

void check_possessions(int which, const char *who)
{
    const struct puppet *puppet = &board->puppets[which];
    if (puppet->pid <= 0 || puppet->fds == 0)
        return;
    if (!await(count_fds(puppet->pid) == puppet->fds))
        bad("the surviving %s has %d descriptors instead of %d", who, count_fds(puppet->pid),
            puppet->fds);
    if (!await(count_mappings(puppet->pid) == puppet->mappings))
        bad("the surviving %s has %d mappings instead of %d", who, count_mappings(puppet->pid),
            puppet->mappings);
}

/* Every object of carom's is without a name from its first moment. */
bool scene_is_clean(void)
{
    DIR *entries = opendir("/dev/shm");
    if (entries == NULL)
        return true;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (strncmp(entry->d_name, "carom", 5) == 0)
            bad("/dev/shm/%s is left behind", entry->d_name);
    }
    closedir(entries);
    return problem[0] == '\0';
}

/* ---------------------------------------------------------------- survivors */

bool worker_parked(void)
{
    const void *word = futex_of(board->puppets[WORKER].pid);
    return word != NULL && word != &board->gate;
}

bool caller_asleep(void)
{
    const struct puppet *caller = &board->puppets[CALLER];
    const void *word = futex_of(caller->pid);
    return word != NULL && word != &caller->asked;
}

void tell_caller(enum command command)
{
    tell(CALLER, command, 0, 0, 0);
    caller_told = true;
}

void hold_worker(void)
{
    uint32_t held = value_of(&board->held);
    ask(BYSTANDER, SUBMIT, 1, HOLD, 0);
    if (!await(value_of(&board->held) == held + 1))
        bad("the surviving worker does not take a call");
}

void note_end(uint32_t number, int outcome)
{
    atomic_store_explicit(&board->ended[number], outcome, memory_order_seq_cst); /* as add_to */
}

static bool start_workers(void)
{
    uint32_t joined = value_of(&board->joined);
    set_to(&board->finish, 0);
    puppet_start(FILLER, filler_body);
    bool ok = await(value_of(&board->joined) == joined + 1);
    puppet_start(WORKER, worker_body);
    ok = ok && await(value_of(&board->joined) == joined + 2);
    set_to(&board->finish, 1);
    word_wake(&board->finish);
    if (waitpid(board->puppets[FILLER].pid, NULL, 0) > 0)
        board->puppets[FILLER].pid = 0;
    return ok;
}

static bool start_clients(void)
{
    for (int which = CALLER; which <= BYSTANDER; which++) {
        puppet_start(which, client_body);
        /* once: a client counts itself ready by answering a command */
        if (!await(ask(which, WORKERS, 0, 0, 0) == 1))
            return bad("the service does not come up");
    }
    return true;
}

void new_point(void)
{
    board->wanted++;
    first_number = value_of(&board->number) + 1;
    for (int which = CALLER; which <= BYSTANDER; which++)
        board->puppets[which].count = 0;
}

bool scene_begin(const struct scenario *scenario)
{
    problem[0] = '\0';
    caller_told = false;
    new_point();
    gate_open();
    atomic_store_explicit(&board->slice_ns, scenario->host || scenario->exchange ? 1000000 : -1,
                          memory_order_seq_cst); /* as add_to */
    uint32_t up = value_of(&board->up);
    puppet_start(HOST, host_body);
    if (!await(value_of(&board->up) == up + 1) || !start_workers())
        return bad("the service does not start");
    if (!start_clients() || !await(worker_parked()))
        return false;
    for (int which = CALLER; which <= BYSTANDER; which++)
        ask(which, CHECK, 0, 0, 0);
    if (!await(worker_parked()))
        return bad("the worker does not sleep");
    for (int which = HOST; which <= BYSTANDER; which++)
        note_possessions(&board->puppets[which]);
    return problem[0] == '\0';
}

void scene_end(void)
{
    gate_open();
    for (int which = 0; which < PUPPETS; which++)
        puppet_stop(which);
}

/* ---------------------------------------------------------------- one point */

/* Nobody is on the way to change what the subject meets. */
static bool at_rest(const struct scenario *scenario)
{
    return sleeps_in_call(board->puppets[HOST].pid, SYS_epoll_wait) &&
           (scenario->rival || futex_of(board->puppets[WORKER].pid) != NULL);
}

/* The host is killed, another one takes the name over, and the survivors are there again. */
static void exchange_host(void)
{
    uint32_t up = value_of(&board->up), joined = value_of(&board->joined);
    puppet_stop(HOST);
    puppet_start(HOST, host_body);
    if (!await(value_of(&board->up) == up + 1 && value_of(&board->joined) == joined + 1))
        bad("the surviving worker does not come back");
    for (int which = CALLER; which <= BYSTANDER; which++)
        ask(which, CHECK, 0, 0, 0);
    note_possessions(&board->puppets[HOST]);
}

static bool start_subject(const struct scenario *scenario, struct subject *subject)
{
    if (!scenario->exchange)
        return subject_start(subject, scenario->body);
    uint32_t arrived = value_of(&board->arrived);
    set_to(&board->finish, 0);
    if (!subject_launch(subject, scenario->body) ||
        !await(value_of(&board->arrived) == arrived + 1))
        return bad("the subject does not find the first host");
    exchange_host();
    set_to(&board->finish, 1);
    word_wake(&board->finish);
    return subject_arrive(subject);
}

bool scene_start(const struct scenario *scenario, struct subject *subject)
{
    new_point();
    if (!await(worker_parked()))
        return bad("the surviving worker does not come to rest");
    if (scenario->first != NULL)
        scenario->first();
    if (scenario->busy)
        hold_worker();
    if (scenario->before != NULL)
        scenario->before();
    if (problem[0] != '\0' || !start_subject(scenario, subject))
        return false;
    if (!await(at_rest(scenario)))
        return bad("the survivors do not come to rest");
    if (scenario->ready != NULL)
        scenario->ready();
    return problem[0] == '\0';
}

uint64_t caller_state(uint32_t call)
{
    const struct puppet *caller = &board->puppets[CALLER];
    uint64_t state = 0;
    struct iovec here = {&state, sizeof state};
    struct iovec there = {(void *)(uintptr_t)caller->calls[call].state, sizeof state};
    if (process_vm_readv(caller->pid, &here, 1, &there, 1, 0) != (ssize_t)sizeof state)
        bad("cannot look at the client's call: %s", strerror(errno));
    return state;
}

static void stop_host(bool stop)
{
    pid_t host = board->puppets[HOST].pid;
    siginfo_t info;
    kill(host, stop ? SIGSTOP : SIGCONT);
    if (stop) /* it has stopped when this comes back */
        waitid(P_PID, (id_t)host, &info, WSTOPPED);
}

static const char *check_call(const struct scenario *scenario, const struct told *told,
                              uint64_t state)
{
    const uint32_t owner = carom__state_owner(state) & 0xffff;
    const uint32_t runs = value_of(&board->runs[told->number]);
    if (told->outcome == PENDING) /* abandoned */
        return runs <= 1 ? NULL : "ran twice";
    switch (carom__state_phase(state)) {
    case CAROM__SUBMITTED:
        return told->outcome != scenario->waiting           ? "waited, and ended otherwise"
               : runs != (scenario->waiting == 0 ? 1u : 0u) ? "waited, and did not run once"
                                                            : NULL;
    case CAROM__RUNNING:
        if (owner == SURVIVOR_ID)
            return told->outcome == 0 && runs == 1 ? NULL : "was run by the survivor, in vain";
        if (scenario->waiting != 0 && told->outcome == scenario->waiting && runs == 0)
            return NULL;
        return told->outcome == CAROM_UNAVAILABLE && runs <= 1 ? NULL : "was the dead worker's";
    default:
        if (carom__state_owner(state) == CAROM__OWNER_CLIENT)
            return told->outcome == CAROM_CANCELLED && runs == 0 ? NULL : "was cancelled";
        if (owner == SURVIVOR_ID)
            return told->outcome == 0 && runs == 1 ? NULL : "was done by the survivor";
        return told->outcome == scenario->answer && runs <= 1 ? NULL : "was done";
    }
}

static void check_calls(const struct scenario *scenario)
{
    const struct puppet *caller = &board->puppets[CALLER];
    for (uint32_t i = 0; i < caller->count; i++) {
        const struct told *told = &caller->calls[i];
        const char *wrong = check_call(scenario, told, states[i]);
        if (wrong != NULL)
            bad("call %u of the client (state %#llx at the kill) %s: outcome %d, %u runs", i,
                (unsigned long long)states[i], wrong, told->outcome,
                value_of(&board->runs[told->number]));
    }
    const struct puppet *other = &board->puppets[BYSTANDER];
    for (uint32_t i = 0; i < other->count; i++) {
        uint32_t runs = value_of(&board->runs[other->calls[i].number]);
        if (other->calls[i].outcome != 0 || runs != 1)
            bad("call %u of the other client: outcome %d, %u runs", i, other->calls[i].outcome,
                runs);
    }
}

/* No call runs twice; one of the subject's that was answered ran. */
void check_runs(void)
{
    for (uint32_t number = first_number; number != value_of(&board->number) + 1; number++) {
        uint32_t runs = value_of(&board->runs[number % NUMBERS]);
        int outcome = atomic_load_explicit(&board->ended[number % NUMBERS],
                                           memory_order_seq_cst); /* as add_to */
        if (runs > 1)
            bad("call number %u of %u to %u ran %u times", number, first_number,
                value_of(&board->number), runs);
        if (outcome == 0 && runs != 1)
            bad("a call was answered that did not run");
        if (outcome == CAROM_CANCELLED && runs != 0)
            bad("a call ran that was cancelled before");
    }
}

void finish_calls(void)
{
    gate_open();
    if (caller_told)
        hear(CALLER);
    else
        ask(CALLER, SETTLE, 0, 0, 0);
    caller_told = false;
    ask(BYSTANDER, SETTLE, 0, 0, 0);
}

bool scene_kill(const struct scenario *scenario, struct subject *subject)
{
    for (uint32_t i = 0; i < board->puppets[CALLER].count; i++)
        states[i] = caller_state(i);
    if (scenario->late)
        stop_host(true);
    subject_kill(subject);
    if (scenario->late) {
        ask(BYSTANDER, SUBMIT, 1, ECHO, 0);
        stop_host(false);
    }
    finish_calls();
    if (problem[0] == '\0')
        check_calls(scenario);
    check_possessions(HOST, "host");
    check_possessions(WORKER, "worker");
    check_possessions(CALLER, "client");
    for (int which = CALLER; which <= BYSTANDER; which++)
        ask(which, CHECK, 0, 0, 0);
    check_runs();
    return problem[0] == '\0';
}
