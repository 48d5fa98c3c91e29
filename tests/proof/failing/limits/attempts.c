/* SPDX-License-Identifier: Apache-2.0
 *
 * attempts.c - see attempts.h. */
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONGEST_S 60

struct proof proof;

/* ---------------------------------------------------------------- small things */

int count_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int broken(const char *what, int rc)
{
    fprintf(stderr, "limits: %s: %d, '%s'\n", what, rc, carom_error_detail());
    return BROKEN;
}

int refused(int rc, int fds_before)
{
    const char *detail = carom_error_detail();
    bool known = rc == -EMFILE || rc == -ENOMEM || rc == -ENOSPC || rc == -EFBIG ||
                 rc == -EHOSTDOWN;
    if (!known || strchr(detail, ' ') == NULL)
        return broken("not a clear error", rc);
    if (count_fds() != fds_before)
        return broken("descriptors were left open", rc);
    return REFUSED;
}

static void echo(void *context, struct carom_request *request)
{
    size_t length;
    (void)context;
    const void *data = carom_request_data(request, &length);
    memcpy(carom_request_reply_block(request, NULL), data, length);
    carom_request_reply(request, length);
}
static const struct carom_method methods[] = {{.name = "echo", .handler = echo}};

static int call_echo(struct carom_client *client, size_t bytes)
{
    static char request[4096], reply[4096];
    size_t length = 0;
    int method = carom_client_method(client, "echo");
    memset(request, 'e', bytes);
    int rc = method < 0 ? method
                        : carom_invoke(client, method, request, bytes, reply, sizeof reply, &length,
                                       5 * SECOND);
    return rc != 0 ? rc : length == bytes && memcmp(request, reply, bytes) == 0 ? 0 : -EBADMSG;
}

void set_limit(__rlimit_resource_t resource, uint64_t value)
{
    const struct rlimit limit = {value, value};
    setrlimit(resource, &limit);
}

/* ---------------------------------------------------------------- processes */

int in_child(attempt *run, uint64_t argument)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(LONGEST_S);
        _exit(run(argument));
    }
    while (waitpid(child, &status, 0) < 0) {
    }
    proof.executions++;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static pid_t start(attempt *run, uint64_t argument)
{
    fflush(stdout);
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LONGEST_S);
    _exit(run(argument));
}

int end(pid_t child)
{
    int status;
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct carom_host *host;
static struct carom_worker *worker;
static _Atomic int *opened; /* shared: the host or worker that was started has been opened */

bool attempts_begin(void)
{
    opened = mmap(NULL, sizeof *opened, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return opened != MAP_FAILED;
}

bool start_open(attempt *run, uint64_t argument, pid_t *child, int *outcome)
{
    int status;
    atomic_store(opened, 0);
    *child = start(run, argument);
    while (atomic_load(opened) == 0) {
        if (waitpid(*child, &status, WNOHANG) == *child) {
            *outcome = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
            return false;
        }
        usleep(500);
    }
    return true;
}

static void stop_host(int number)
{
    (void)number;
    carom_host_stop(host);
}

static void stop_worker(int number)
{
    (void)number;
    carom_worker_stop(worker);
}

int host_main(uint64_t nofile)
{
    if (nofile > 0)
        set_limit(RLIMIT_NOFILE, nofile);
    int before = count_fds();
    int rc = carom_host_open(SERVICE, NULL, &host);
    if (rc < 0)
        return refused(rc, before);
    signal(SIGTERM, stop_host);
    atomic_store(opened, 1);
    rc = carom_host_run(host);
    carom_host_close(host);
    return rc == 0 && count_fds() == before ? WORKED : broken("the host", rc);
}

int worker_main(uint64_t unused)
{
    (void)unused;
    int before = count_fds();
    int rc = carom_worker_open(SERVICE, methods, 1, 5 * SECOND, NULL, &worker);
    if (rc < 0)
        return refused(rc, before);
    signal(SIGTERM, stop_worker);
    atomic_store(opened, 1);
    rc = carom_worker_run(worker);
    carom_worker_close(worker);
    return rc == 0 || rc == -EHOSTDOWN ? WORKED : refused(rc, before);
}

const struct carom_client_options small = {.size = sizeof small,
                                                  .slots = 4,
                                                  .request_block_bytes = 65536,
                                                  .reply_block_bytes = 65536,
                                                  .reconnect_timeout_ns = -1};

int client_main(uint64_t unused)
{
    (void)unused;
    struct carom_client *client;
    int before = count_fds();
    int rc = carom_client_open(SERVICE, 5 * SECOND, &small, &client);
    if (rc < 0)
        return refused(rc, before);
    rc = call_echo(client, 4000);
    int outcome = rc == 0 ? WORKED : rc < 0 ? refused(rc, count_fds()) : broken("status", rc);
    carom_client_close(client);
    return count_fds() == before ? outcome : broken("descriptors were left open", 0);
}
