/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a process per call: starts the interpreter with a script, writes the request to its
 * standard input, reads the answer from its standard output until the end, and waits for it.
 *
 * posix_spawn starts it without copying this process's page tables. `option` is the interpreter and
 * the script, with a | between them.
 */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define DEPTH_MAX 16

struct call {
    uint64_t sequence; /* 0: none */
    size_t bytes, answer_bytes;
    pid_t pid;
    int from; /* its standard output */
    unsigned char answer[WORK_ANSWER_BYTES_MAX + 1];
};

struct transport {
    char *interpreter, *script;
    unsigned depth;
    cpu_set_t here, there; /* where this process may run, and those that it starts */
    bool moves;            /* whether these differ */
    unsigned char *request;
    struct call calls[DEPTH_MAX];
};

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *processes = calloc(1, sizeof(*processes));
    if (!processes || !(processes->request = malloc(config->bytes_max + 1)) ||
        !(processes->interpreter = strdup(config->option)))
        bench_die("out of memory");
    processes->script = strchr(processes->interpreter, '|');
    if (!processes->script)
        bench_die("option=%s must be INTERPRETER|SCRIPT", config->option);
    *processes->script++ = '\0';
    processes->depth = config->depth_max < DEPTH_MAX ? config->depth_max : DEPTH_MAX;
    processes->moves = config->peer_cpu >= 0;
    if (processes->moves) {
        CPU_SET((size_t)config->peer_cpu, &processes->there);
        if (sched_getaffinity(0, sizeof(processes->here), &processes->here))
            bench_die("sched_getaffinity: %s", strerror(errno));
    }
    return processes;
}

unsigned transport_depth(const struct transport *processes)
{
    return processes->depth;
}

/** A new process runs where the one runs that starts it. */
static void move_to(const cpu_set_t *cpus)
{
    if (sched_setaffinity(0, sizeof(*cpus), cpus))
        bench_die("sched_setaffinity: %s", strerror(errno));
}

/** Starts the interpreter; returns the pipe to its standard input. */
static int start(const struct transport *processes, struct call *call)
{
    char *const arguments[] = {processes->interpreter, "-I", "-S", processes->script, NULL};
    char *const environment[] = {NULL};
    int to[2], from[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        bench_die("pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    if (processes->moves)
        move_to(&processes->there);
    int error = posix_spawn(&call->pid, processes->interpreter, &actions, NULL, arguments,
                            environment);
    if (processes->moves)
        move_to(&processes->here);
    if (error)
        bench_die("cannot start %s: %s", processes->interpreter, strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    call->from = from[0];
    return to[1];
}

void transport_send(struct transport *processes, size_t bytes, uint64_t sequence)
{
    struct call *call = processes->calls;
    while (call->sequence)
        call++;
    *call = (struct call){.sequence = sequence, .bytes = bytes};
    int to = start(processes, call);
    work_fill(processes->request, bytes, sequence);
    for (size_t done = 0; done < bytes;) {
        ssize_t part = write(to, processes->request + done, bytes - done);
        if (part < 0)
            bench_die("write to the process: %s", strerror(errno));
        done += (size_t)part;
    }
    close(to);
}

/** Its output has ended: takes leave of the process and checks its answer. */
static uint64_t finish(struct call *call)
{
    int status = 0;
    uint64_t sequence = call->sequence;
    close(call->from);
    if (waitpid(call->pid, &status, 0) < 0 || status)
        bench_die("the process of call %" PRIu64 " ended with wait status %#x", sequence,
                  (unsigned)status);
    if (!work_is_answer(call->answer, call->answer_bytes, call->bytes, sequence))
        bench_die("the answer to request %" PRIu64 " is wrong", sequence);
    call->sequence = 0;
    return sequence;
}

/** Reads what a process has written; says whether that was all. */
static bool read_answer(struct call *call)
{
    ssize_t got = read(call->from, call->answer + call->answer_bytes,
                       sizeof(call->answer) - call->answer_bytes);
    if (got < 0)
        bench_die("read from the process: %s", strerror(errno));
    call->answer_bytes += (size_t)got;
    return got == 0;
}

uint64_t transport_receive(struct transport *processes, bool wait)
{
    struct pollfd outputs[DEPTH_MAX];
    while (true) {
        for (unsigned i = 0; i < processes->depth; i++) {
            const struct call *call = &processes->calls[i];
            outputs[i] = (struct pollfd){
                .fd = call->sequence ? call->from : -1, /* negative ones are passed over */
                .events = POLLIN,
            };
        }
        if (poll(outputs, processes->depth, wait ? -1 : 0) <= 0)
            return 0;
        for (unsigned i = 0; i < processes->depth; i++)
            if (outputs[i].revents && read_answer(&processes->calls[i]))
                return finish(&processes->calls[i]);
    }
}

void transport_close(struct transport *processes)
{
    free(processes->interpreter);
    free(processes->request);
    free(processes);
}
