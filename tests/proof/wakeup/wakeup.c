/* SPDX-License-Identifier: Apache-2.0
 *
 * wakeup.c - is anybody ever left asleep?
 *
 * The library's waits are slices of 50 or 500 ms, after which a sleeper looks again: that heals a
 * lost wake-up, and hides it. Here the slices are gone (delays.c), so one lost wake-up is a thread
 * that sleeps for ever. This process sees it in two ways: a thread that is inside calls makes no
 * progress, or the word that somebody sleeps on is no longer what he fell asleep on. */
#include "wakeup.h"

#include "proof.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 16
#define LOOK_NS 20000000L

struct board *board;

static const struct scene SCENES[] = {
    {"one-by-one", "1 client, 1 worker", SYNCHRONOUS, 1, 1, 1, 4, false, 20},
    {"two-by-two", "2 clients, 2 workers", SYNCHRONOUS, 2, 1, 2, 4, false, 8},
    {"rounds", "3 clients and 2 workers, in rounds", ROUNDS, 3, 1, 2, 2, false, 4},
    {"one-by-three", "1 client, which was there first, 3 workers", SYNCHRONOUS, 1, 1, 3, 4, true,
     8},
    {"three-by-one", "3 clients, 1 worker", SYNCHRONOUS, 3, 1, 1, 4, true, 8},
    {"threads", "1 client of 4 threads, 2 workers", SYNCHRONOUS, 1, 4, 2, 8, false, 8},
    {"notified", "carom_client_next on 3 threads", NOTIFIED, 1, 3, 2, 8, false, 12},
    {"notified-alone", "carom_client_next on 1 thread", NOTIFIED, 2, 1, 1, 2, false, 8},
    {"one-slot", "3 threads for 1 slot, in rounds", ROUNDS, 1, 3, 1, 1, false, 8},
    {"two-slots", "5 threads for 2 slots, some calls are abandoned", ABANDONING, 1, 5, 2, 2, false,
     5},
    {"abandoned", "1 thread waits for the slot of the call that it left", ABANDONING, 1, 1, 1, 1,
     false, 3},
    {"cancelled", "2 threads wait for calls until 2 others cancel them", CANCELLED, 1, 2, 1, 4,
     false, 3},
    {"paused", "2 threads wait between two attempts until 2 others cancel them", PAUSED, 1, 2, 1, 4,
     false, 1},
    {"coming", "2 clients that come and go, 2 workers", COMING, 2, 1, 2, 2, true, 2},
    {"leaving", "1 client, 2 workers of which one leaves and comes again", LEAVING, 1, 1, 2, 2,
     false, 2},
};
#define SCENE_COUNT (sizeof SCENES / sizeof SCENES[0])

struct stage {
    struct proof *proof;
    const struct scene *scene;
    pid_t host, clients[CHILDREN], workers[CHILDREN];
    unsigned seats;
    double patience_s;
    uint64_t calls, sleeps, refused;
};

/* ---------------------------------------------------------------- processes */

static pid_t fork_child(void)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_TIMERSLACK, 1UL);
        if (getppid() != parent)
            _exit(1);
    }
    return child;
}

static struct seat *take_seats(struct stage *stage, unsigned count, const char *role)
{
    struct seat *seats = &board->seats[stage->seats];
    stage->seats += count;
    for (unsigned i = 0; i < count; i++) {
        seats[i].role = role;
        seats[i].plays = strcmp(role, "client") == 0;
    }
    return seats;
}

static void start_clients(struct stage *stage, uint64_t seed)
{
    const struct scene *scene = stage->scene;
    for (unsigned i = 0; i < scene->clients; i++) {
        struct seat *seats = take_seats(stage, seats_of_client(scene), "client");
        stage->clients[i] = fork_child();
        if (stage->clients[i] == 0)
            _exit(client_main(scene, seats, seed + UINT64_C(100) * (i + 1)));
    }
}

static void start_workers(struct stage *stage, uint64_t seed)
{
    for (unsigned i = 0; i < stage->scene->workers; i++) {
        struct seat *seat = take_seats(stage, 1, "worker");
        stage->workers[i] = fork_child();
        if (stage->workers[i] == 0)
            _exit(worker_main(seat, seed + i + 1, stage->scene->play == LEAVING));
    }
}

static void start_all(struct stage *stage)
{
    const uint64_t seed = stage->proof->seed * UINT64_C(1000000);
    stage->host = fork_child();
    if (stage->host == 0)
        _exit(host_main());
    if (stage->scene->early) {
        start_clients(stage, seed);
        usleep(30000); /* on the way in; nothing depends on it */
        start_workers(stage, seed);
    } else {
        start_workers(stage, seed);
        start_clients(stage, seed);
    }
}

static void kill_children(pid_t *children)
{
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (children[i] == 0)
            continue;
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
        children[i] = 0;
    }
}

static void kill_all(struct stage *stage)
{
    kill_children(stage->clients);
    kill_children(stage->workers);
    kill_children((pid_t[CHILDREN]){stage->host});
    stage->host = 0;
}

/* ---------------------------------------------------------------- a scene */

static void sum(struct stage *stage)
{
    stage->sleeps = stage->refused = stage->calls = 0;
    for (unsigned i = 0; i < stage->seats; i++) {
        stage->sleeps += value_of(&board->seats[i].sleeps);
        stage->refused += value_of(&board->seats[i].refused);
        if (board->seats[i].plays)
            stage->calls += value_of(&board->seats[i].progress);
    }
}

/* Reaps children that have ended; counts those that have not, -1 when one ended badly. */
static int left_of(pid_t *children)
{
    int left = 0, status;
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (children[i] == 0)
            continue;
        if (waitpid(children[i], &status, WNOHANG) == 0) {
            left++;
            continue;
        }
        children[i] = 0;
        if (status != 0)
            return -1;
    }
    return left;
}

/* Waits until all of them have left. NULL, or what is wrong. */
static const char *see_out(struct stage *stage, pid_t *children, const char *late)
{
    const double begun_s = proof_seconds();
    int left;
    while ((left = left_of(children)) > 0) {
        const char *fault = watch_find_fault(stage->seats, stage->patience_s);
        if (fault != NULL)
            return fault;
        if (proof_seconds() - begun_s > 2 * stage->patience_s)
            return late;
        usleep(2000);
    }
    if (left < 0)
        return board->complained ? board->complaint : "a process ended badly";
    return NULL;
}

static const char *play_scene(struct stage *stage, uint64_t target)
{
    double said_s = proof_seconds();
    const char *fault = NULL;
    while (fault == NULL && stage->sleeps < target) {
        nanosleep(&(struct timespec){0, LOOK_NS}, NULL);
        fault = watch_find_fault(stage->seats, stage->patience_s);
        sum(stage);
        if (proof_seconds() - said_s > 5) {
            said_s = proof_seconds();
            printf("# %s: %llu of %llu sleeps\n", stage->scene->name,
                   (unsigned long long)stage->sleeps, (unsigned long long)target);
        }
    }
    atomic_store_explicit(&board->enough, 1, memory_order_relaxed);
    if (fault == NULL)
        fault = see_out(stage, stage->clients, "a client does not end");
    if (fault != NULL)
        return fault;
    atomic_store_explicit(&board->stopping, 1, memory_order_relaxed);
    kill(stage->host, SIGTERM); /* wakes the workers for the last time */
    pid_t host[CHILDREN] = {stage->host};
    fault = see_out(stage, stage->workers, "a worker does not hear that the service stops");
    if (fault == NULL)
        fault = see_out(stage, host, "the host does not end");
    stage->host = host[0];
    return fault;
}

static void run_scene(struct proof *proof, const struct scene *scene, uint64_t sleeps)
{
    struct stage stage = {.proof = proof, .scene = scene};
    const double begun_s = proof_seconds();
    memset(board, 0, sizeof *board);
    watch_begin();
    stage.patience_s = proof->scale == PROOF_PLANTED ? 3 : 20;
    start_all(&stage);
    const char *fault = play_scene(&stage, sleeps * scene->share / 100 + 1);
    sum(&stage);
    if (fault != NULL)
        watch_describe(stage.seats);
    kill_all(&stage);
    proof->executions += stage.sleeps;
    proof_check(proof, fault == NULL, scene->name,
                "%s: %llu sleeps, %llu refused, %llu calls, %.1f s%s%s", scene->what,
                (unsigned long long)stage.sleeps, (unsigned long long)stage.refused,
                (unsigned long long)stage.calls, proof_seconds() - begun_s,
                fault != NULL ? "; " : ", none lost", fault != NULL ? fault : "");
}

/* ---------------------------------------------------------------- main */

static void block_term(void)
{
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    char folder[] = "/tmp/carom-wakeup-XXXXXX";
    const uint64_t sleeps = proof_amount(&proof, 200000, 10000000, 3000000);
    const double begun_s = proof_seconds();
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || mkdtemp(folder) == NULL || setenv("CAROM_DIR", folder, 1) != 0) {
        perror("wakeup");
        return 1;
    }
    printf("# %llu sleeps: about %.0f s on two CPUs\n", (unsigned long long)sleeps,
           (double)sleeps * 25e-6);
    block_term(); /* the host allows it when it can be stopped */
    for (size_t i = 0; i < SCENE_COUNT; i++)
        if (proof_wants(&proof, SCENES[i].name))
            run_scene(&proof, &SCENES[i], sleeps);
    proof_figure("sleeps", (double)proof.executions, "sleeps");
    proof_figure("sleep_cost", (proof_seconds() - begun_s) * 1e6 / (double)proof.executions, "us");
    if (proof.failures == 0) {
        proof_check(&proof, rmdir(folder) == 0, "folder", "nothing is left in it");
    } else {
        char lock[64], socket[64];
        snprintf(socket, sizeof socket, "%s/" SERVICE ".sock", folder);
        snprintf(lock, sizeof lock, "%s/" SERVICE ".sock.lock", folder);
        unlink(socket);
        unlink(lock);
        rmdir(folder);
    }
    return proof_end(&proof);
}
