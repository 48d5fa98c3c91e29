/* SPDX-License-Identifier: Apache-2.0
 *
 * scribbler.c - hostile processes at work beside honest ones, all of them real.
 *
 * A scribbling client has a lane like any other; it writes random bytes and likely values into its
 * lane control and into the bell that all share, at full speed, and submits calls now and then. Its
 * brother clears the bell's bits all the time, so that nobody finds anybody. A talker greets the
 * host with nonsense. A scribbling worker writes into the lanes and replies of all clients.
 *
 * Host and workers must live through all of it. Of honest clients every call must come back right
 * and in time, unless there is a scribbling worker: then they may get anything, and go on. */
#include "scribble.h"

#include "proof.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 8
/** Of an honest call; far more than it ever takes. */
#define PATIENCE_NS INT64_C(20000000000)
#define MOST_BYTES 6000u

struct process {
    const char *name;
    pid_t pid;
};

struct scene {
    struct proof *proof;
    const char *name;
    struct process processes[PROCESSES];
    int count;
    char service[64];
};

struct tally *tally; /* shared by all processes of a scene */

/* ---------------------------------------------------------------- processes */

static void start(struct scene *scene, const char *name, int (*run)(const char *, uint64_t))
{
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(9);
        _exit(run(scene->service, scene->proof->seed + (uint64_t)scene->count));
    }
    if (pid < 0)
        abort();
    scene->processes[scene->count++] = (struct process){name, pid};
}

/* Ends what runs; what was to run on and does not any more has failed. */
static void assert_all_alive(struct scene *scene)
{
    for (int i = 0; i < scene->count; i++) {
        struct process *process = &scene->processes[i];
        int status = 0;
        bool ended = process->pid > 0 && waitpid(process->pid, &status, WNOHANG) == process->pid;
        if (!ended)
            continue;
        process->pid = 0;
        proof_check(scene->proof, false, scene->name, "the %s has ended: %s %d", process->name,
                    WIFSIGNALED(status) ? "signal" : "exit status",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static void end_all(struct scene *scene)
{
    for (int i = scene->count - 1; i >= 0; i--) {
        if (scene->processes[i].pid == 0)
            continue;
        kill(scene->processes[i].pid, SIGKILL);
        waitpid(scene->processes[i].pid, NULL, 0);
    }
}

/* ---------------------------------------------------------------- honest ones */

static int run_host(const char *service, uint64_t seed)
{
    struct carom_host *host;
    (void)seed;
    if (carom_host_open(service, NULL, &host) < 0)
        return 3;
    return carom_host_run(host) == 0 ? 0 : 4;
}

/* Copies of the request with its checksum in front: the request may change meanwhile. */
static void answer(void *context, struct carom_request *request)
{
    size_t length, capacity;
    (void)context;
    const char *data = carom_request_data(request, &length);
    char *reply = carom_request_reply_block(request, &capacity);
    size_t copied = length + sizeof(uint64_t) <= capacity ? length : 0;
    memcpy(reply + sizeof(uint64_t), data, copied);
    uint64_t sum = checksum(reply + sizeof(uint64_t), copied);
    memcpy(reply, &sum, sizeof sum);
    carom_request_reply(request, sizeof sum + copied);
}

const struct carom_method scribbled_methods[] = {{.name = "sum", .handler = answer}};

static int run_worker(const char *service, uint64_t seed)
{
    struct carom_worker *worker;
    (void)seed;
    if (carom_worker_open(service, scribbled_methods, 1, PATIENCE_NS, NULL, &worker) < 0)
        return 3;
    return carom_worker_run(worker) == 0 ? 0 : 4;
}

static bool is_right(const struct carom_call *call, const char *sent, size_t length)
{
    uint64_t sum;
    size_t bytes;
    const char *reply = carom_call_reply((struct carom_call *)(uintptr_t)call, &bytes);
    if (reply == NULL || bytes != sizeof sum + length)
        return false;
    memcpy(&sum, reply, sizeof sum);
    return sum == checksum(sent, length) && memcmp(reply + sizeof sum, sent, length) == 0;
}

/* One call with random bytes. 0, or what went wrong: an error, or 1000 for a wrong reply. */
static int call_once(struct carom_client *client, int method, uint64_t *random, int64_t timeout_ns)
{
    static char sent[MOST_BYTES];
    struct carom_call *call;
    size_t length = proof_random(random) % MOST_BYTES;
    int rc = carom_call_begin(client, method, timeout_ns, 0, &call);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i + 8 <= length; i += 8) {
        uint64_t word = proof_random(random);
        memcpy(sent + i, &word, sizeof word);
    }
    memcpy(carom_call_request(call, NULL), sent, length);
    rc = carom_call_submit(call, length);
    if (rc == 0)
        rc = carom_call_wait(call);
    if (rc == 0 && !is_right(call, sent, length))
        rc = 1000;
    carom_call_end(call);
    return rc;
}

static struct carom_client *connect_client(const char *service, int *method)
{
    struct carom_client *client;
    const struct carom_client_options options = {
        .size = sizeof options, .slots = 8, .request_block_bytes = 8192, .reply_block_bytes = 8192};
    if (carom_client_open(service, PATIENCE_NS, &options, &client) < 0)
        return NULL;
    *method = carom_client_method(client, "sum");
    return client;
}

static int run_client(const char *service, uint64_t seed)
{
    int method;
    struct carom_client *client = connect_client(service, &method);
    if (client == NULL)
        return 3;
    for (;;) {
        int64_t begun_ns = carom_now_ns();
        int rc = call_once(client, method, &seed, PATIENCE_NS);
        int64_t took_ns = carom_now_ns() - begun_ns;
        add(&tally->calls, 1);
        if (took_ns > (int64_t)value_of(&tally->slowest_ns))
            set(&tally->slowest_ns, (uint64_t)took_ns);
        if (rc == 0)
            continue;
        add(&tally->wrong, 1);
        printf("# an honest call ended with %d: %s\n", rc, rc < 0 ? carom_error_detail() : "");
    }
}

/* A client among scribbling workers: its calls end, whatever they end with. */
static int run_victim(const char *service, uint64_t seed)
{
    int method;
    struct carom_client *client = connect_client(service, &method);
    if (client == NULL)
        return 3;
    for (;;) {
        int rc = call_once(client, method, &seed, INT64_C(50000000));
        add(&tally->calls, 1);
        if (rc != 0)
            add(&tally->wrong, 1);
        if (rc == -EPROTO) { /* its lane is damaged for good: as a user would, it starts anew */
            carom_client_close(client);
            client = connect_client(service, &method);
            if (client == NULL)
                return 3;
        }
    }
}

/* ---------------------------------------------------------------- scenes */

static struct scene set_scene(struct proof *proof, const char *name)
{
    struct scene scene = {.proof = proof, .name = name};
    memset((void *)tally, 0, sizeof *tally);
    snprintf(scene.service, sizeof scene.service, "@hostile-%d-%s", (int)getpid(), name);
    start(&scene, "host", run_host);
    return scene;
}

static void play(struct scene *scene, double seconds)
{
    double begun = proof_seconds(), said = begun;
    unsigned failures = scene->proof->failures;
    while (proof_seconds() - begun < seconds && scene->proof->failures == failures) {
        usleep(20000);
        assert_all_alive(scene);
        if (proof_seconds() - said < 5)
            continue;
        said = proof_seconds();
        printf("# %s: %.0f of %.0f s, %llu scribbles, %llu honest calls\n", scene->name,
               said - begun, seconds, (unsigned long long)value_of(&tally->scribbles),
               (unsigned long long)value_of(&tally->calls));
    }
    scene->proof->executions += value_of(&tally->scribbles);
}

/* After the hostile ones have gone, or while they are there: others can come and are served. */
static void assert_newcomer_is_served(struct scene *scene)
{
    int method;
    uint64_t random = 7;
    struct carom_client *client = connect_client(scene->service, &method);
    int rc = client == NULL ? -ENOENT : call_once(client, method, &random, PATIENCE_NS);
    proof_check(scene->proof, rc == 0, scene->name, "a new client is served (%d)", rc);
    carom_client_close(client);
}

static void tell(struct scene *scene, const char *what, uint64_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s", scene->name, what);
    proof_figure(name, (double)value, what);
}

static void scribbling_client(struct proof *proof, double seconds)
{
    struct scene scene = set_scene(proof, "scribbling_client");
    start(&scene, "worker", run_worker);
    start(&scene, "second worker", run_worker);
    start(&scene, "honest client", run_client);
    start(&scene, "scribbling client", run_scribbling_client);
    start(&scene, "talker", run_talker);
    play(&scene, seconds);
    uint64_t calls = value_of(&tally->calls), wrong = value_of(&tally->wrong);
    proof_check(proof, calls > 0 && wrong == 0, scene.name,
                "%llu calls of an honest client beside it, %llu of them wrong",
                (unsigned long long)calls, (unsigned long long)wrong);
    proof_check(proof, value_of(&tally->poisoned) > 0, scene.name,
                "it was disconnected and came back %llu times after %llu scribbles",
                (unsigned long long)value_of(&tally->poisoned),
                (unsigned long long)value_of(&tally->scribbles));
    proof_check(proof, value_of(&tally->messages) > 0, scene.name,
                "the host heard %llu messages of nonsense",
                (unsigned long long)value_of(&tally->messages));
    assert_newcomer_is_served(&scene);
    tell(&scene, "calls", calls);
    tell(&scene, "scribbles", value_of(&tally->scribbles));
    tell(&scene, "disconnections", value_of(&tally->poisoned));
    tell(&scene, "slowest_ns", value_of(&tally->slowest_ns));
    end_all(&scene);
}

static void silenced_bell(struct proof *proof, double seconds)
{
    struct scene scene = set_scene(proof, "silenced_bell");
    start(&scene, "worker", run_worker);
    start(&scene, "honest client", run_client);
    start(&scene, "bell's enemy", run_silencer);
    play(&scene, seconds);
    uint64_t calls = value_of(&tally->calls), wrong = value_of(&tally->wrong);
    proof_check(proof, calls > 0 && wrong == 0, scene.name,
                "%llu calls although the bell's bits vanish, %llu of them wrong; the slowest "
                "took %.3f s",
                (unsigned long long)calls, (unsigned long long)wrong,
                (double)value_of(&tally->slowest_ns) / 1e9);
    tell(&scene, "calls", calls);
    tell(&scene, "slowest_ns", value_of(&tally->slowest_ns));
    end_all(&scene);
}

static void scribbling_worker(struct proof *proof, double seconds)
{
    struct scene scene = set_scene(proof, "scribbling_worker");
    start(&scene, "worker", run_worker);
    start(&scene, "scribbling worker", run_scribbling_worker);
    start(&scene, "client", run_victim);
    start(&scene, "second client", run_victim);
    play(&scene, seconds);
    uint64_t calls = value_of(&tally->calls), wrong = value_of(&tally->wrong);
    proof_check(proof, calls > 0 && wrong > 0, scene.name,
                "clients made %llu calls, %llu of which failed, and live",
                (unsigned long long)calls, (unsigned long long)wrong);
    tell(&scene, "calls", calls);
    tell(&scene, "scribbles", value_of(&tally->scribbles));
    end_all(&scene);
}

int main(int argc, char **argv)
{
    struct proof proof = proof_begin(argc, argv);
    double seconds = (double)proof_amount(&proof, 15, 1000, 15) / 10;
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED)
        return 2;
    if (proof_wants(&proof, "scribbling_client"))
        scribbling_client(&proof, seconds);
    if (proof_wants(&proof, "silenced_bell"))
        silenced_bell(&proof, seconds);
    if (proof_wants(&proof, "scribbling_worker"))
        scribbling_worker(&proof, seconds);
    return proof_end(&proof);
}
