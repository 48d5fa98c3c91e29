/* SPDX-License-Identifier: Apache-2.0
 *
 * limits.c - real limits, with nothing injected: few descriptors, little address space, small
 * files, a /dev/shm of 1 MiB without memfd. Each attempt is a process of its own, which ends with
 * WORKED, with REFUSED (a negative errno and its sentence, and nothing left open), or with what
 * must not be. */
#include "proof.h"

#include "carom.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pthread.h>

#define SERVICE "limits"
#define SECOND INT64_C(1000000000)
#define LONGEST_S 60

enum { WORKED = 0, REFUSED = 10, BROKEN = 11 };

static struct proof proof;
static char folder[64];

/* ---------------------------------------------------------------- small things */

static int count_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Says what is wrong, for the log. */
static int broken(const char *what, int rc)
{
    fprintf(stderr, "limits.c: %s: %d, '%s'\n", what, rc, carom_error_detail());
    return BROKEN;
}

/* The outcome of an operation that failed: an error that one of the limits can cause, in words. */
static int refused(int rc, int fds_before)
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

static void set_limit(__rlimit_resource_t resource, uint64_t value)
{
    const struct rlimit limit = {value, value};
    setrlimit(resource, &limit);
}

/* ---------------------------------------------------------------- processes */

static int in_child(int (*run)(uint64_t), uint64_t argument)
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

static pid_t start(int (*run)(uint64_t), uint64_t argument)
{
    fflush(stdout);
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LONGEST_S);
    _exit(run(argument));
}

static int end(pid_t child)
{
    int status;
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct carom_host *host;
static struct carom_worker *worker;
static _Atomic int *opened; /* shared: the host or worker that was started has been opened */

/* Starts a host or worker and waits until it is open. False: it has ended, with *outcome. */
static bool start_open(int (*run)(uint64_t), uint64_t argument, pid_t *child, int *outcome)
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

/* A host; 0 or why it could not be opened. */
static int host_main(uint64_t nofile)
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

static int work(uint64_t unused)
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

static int worker_nofile(uint64_t nofile)
{
    set_limit(RLIMIT_NOFILE, nofile);
    return work(0);
}

static uint64_t used_address_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        (void)fclose(file);
    return pages * 4096;
}

static int worker_address(uint64_t more)
{
    set_limit(RLIMIT_AS, used_address_bytes() + more);
    return work(0);
}

static const struct carom_client_options small = {.size = sizeof small,
                                                  .slots = 4,
                                                  .request_block_bytes = 65536,
                                                  .reply_block_bytes = 65536,
                                                  .reconnect_timeout_ns = -1};

/* Opens, calls, closes. */
static int use(const struct carom_client_options *options)
{
    struct carom_client *client;
    int before = count_fds();
    int rc = carom_client_open(SERVICE, 5 * SECOND, options, &client);
    if (rc < 0)
        return refused(rc, before);
    rc = call_echo(client, 4000);
    int outcome = rc == 0 ? WORKED : rc < 0 ? refused(rc, count_fds()) : broken("status", rc);
    carom_client_close(client);
    return count_fds() == before ? outcome : broken("descriptors were left open", 0);
}

static int client_nofile(uint64_t nofile)
{
    set_limit(RLIMIT_NOFILE, nofile);
    return use(&small);
}

static int client_address(uint64_t more)
{
    set_limit(RLIMIT_AS, used_address_bytes() + more);
    return use(&small);
}

static int client_file_size(uint64_t bytes)
{
    set_limit(RLIMIT_FSIZE, bytes);
    return use(&small);
}

static int client_small(uint64_t unused)
{
    (void)unused;
    return use(&small);
}

/* ---------------------------------------------------------------- one limit after the other */

/* Runs an attempt with every limit from `from` on: REFUSED up to some, WORKED from there on. */
static void climb(const char *name, int (*attempt)(uint64_t), uint64_t from, uint64_t to,
                  uint64_t step, const char *unit)
{
    uint64_t least = 0;
    int wrong = WORKED;
    uint64_t at = from;
    for (; at <= to && wrong == WORKED; at += step) {
        int outcome = in_child(attempt, at);
        if (outcome == WORKED && least == 0)
            least = at;
        if (outcome != WORKED && (outcome != REFUSED || least != 0))
            wrong = outcome;
    }
    if (wrong == WORKED && least != 0) {
        proof_check(&proof, true, name, "refused in words below %llu %s, works from there on",
                    (unsigned long long)least, unit);
        proof_figure(name, (double)least, unit);
    } else {
        proof_check(&proof, false, name, "outcome %d with %llu %s (works from %llu)", wrong,
                    (unsigned long long)(at - step), unit, (unsigned long long)least);
    }
}

/* A worker with a limit, and a client without: it gets its reply, or hears that it cannot. */
static int (*limited_worker)(uint64_t);
static int worker_and_client(uint64_t limit)
{
    int outcome;
    pid_t child;
    if (!start_open(limited_worker, limit, &child, &outcome))
        return outcome;
    outcome = use(&small);
    int ended = end(child);
    return ended == WORKED || ended == REFUSED ? outcome : ended;
}

static void limit_peers(void)
{
    const bool full = proof.scale == PROOF_LONG;
    pid_t host_child, worker_child;
    int outcome;
    if (!start_open(host_main, 0, &host_child, &outcome) ||
        !start_open(work, 0, &worker_child, &outcome)) {
        proof_check(&proof, false, "service", "it does not start: %d", outcome);
        return;
    }
    if (proof_wants(&proof, "client_descriptors"))
        climb("client_descriptors", client_nofile, 3, 40, 1, "descriptors");
    if (proof_wants(&proof, "client_address_space"))
        climb("client_address_space", client_address, 0, 8 << 20, full ? 8192 : 131072, "bytes");
    if (proof_wants(&proof, "client_file_size"))
        climb("client_file_size", client_file_size, 0, 1 << 20, full ? 4096 : 65536, "bytes");
    end(worker_child);
    limited_worker = worker_nofile;
    if (proof_wants(&proof, "worker_descriptors"))
        climb("worker_descriptors", worker_and_client, 3, 40, 1, "descriptors");
    limited_worker = worker_address;
    if (proof_wants(&proof, "worker_address_space"))
        climb("worker_address_space", worker_and_client, 0, 8 << 20, full ? 32768 : 524288,
              "bytes");
    end(host_child);
}

/* ---------------------------------------------------------------- a host with few descriptors */

/* Clients until one is refused; they work; after they have gone there is room again. */
static int fill_host(uint64_t nofile)
{
    enum { MOST = 64 };
    struct carom_client *clients[MOST] = {0};
    int outcome, count = 0, rc = 0;
    pid_t child;
    if (!start_open(host_main, nofile, &child, &outcome))
        return outcome;
    for (int round = 0; round < 2; round++) {
        for (count = 0; count < MOST; count++) {
            rc = carom_client_open(SERVICE, SECOND, &small, &clients[count]);
            if (rc < 0)
                break;
        }
        if (count == MOST)
            break;
        if (refused(rc, count_fds()) != REFUSED)
            return BROKEN;
        while (count > 0)
            carom_client_close(clients[--count]);
    }
    while (count > 0)
        carom_client_close(clients[--count]);
    int ended = end(child);
    return ended == WORKED ? (rc == 0 ? WORKED : REFUSED) : ended;
}

static void limit_host(void)
{
    int outcome = REFUSED;
    uint64_t nofile = 3;
    for (; nofile <= 40 && outcome == REFUSED; nofile++)
        outcome = in_child(fill_host, nofile);
    proof_check(&proof, outcome == REFUSED, "host_descriptors",
                outcome == REFUSED
                    ? "with 3 to 40 descriptors: it does not open, or refuses who is too many"
                    : "outcome %d with %llu descriptors",
                outcome, (unsigned long long)(nofile - 1));
}

/* ---------------------------------------------------------------- the 16 of the issue */

static int sixteen(uint64_t unused)
{
    (void)unused;
    pid_t host_child, worker_child;
    int outcome;
    set_limit(RLIMIT_NOFILE, 16);
    if (!start_open(host_main, 0, &host_child, &outcome) ||
        !start_open(work, 0, &worker_child, &outcome))
        return outcome;
    outcome = use(&small);
    int worked = end(worker_child), served = end(host_child);
    if (worked != WORKED && worked != REFUSED)
        return worked;
    return served == WORKED || served == REFUSED ? outcome : served;
}

static void limit_sixteen(void)
{
    int outcome = in_child(sixteen, 0);
    proof_check(&proof, outcome == WORKED || outcome == REFUSED, "sixteen_descriptors",
                "host, worker and client with 16 descriptors each: %s",
                outcome == WORKED    ? "they work"
                : outcome == REFUSED ? "refused in words"
                                     : "broken");
}

/* ---------------------------------------------------------------- a small /dev/shm, no memfd */

static bool forbid(long number, uint32_t error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* the number of the system call */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Root may, and whoever may be root in a namespace of their own. */
static bool mount_small_shm(void)
{
    return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") == 0;
}

static bool fill_shm(uint64_t bytes)
{
    int fd = open("/dev/shm/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    static const char zeros[4096];
    bool ok = fd >= 0;
    for (uint64_t at = 0; ok && at < bytes; at += sizeof zeros)
        ok = write(fd, zeros, sizeof zeros) == (ssize_t)sizeof zeros;
    if (fd >= 0)
        close(fd);
    return ok;
}

static void unfill_shm(void)
{
    unlink("/dev/shm/filler");
}

static int count_shm(void)
{
    int count = 0;
    DIR *entries = opendir("/dev/shm");
    while (entries != NULL && readdir(entries) != NULL)
        count++;
    if (entries != NULL)
        closedir(entries);
    return count - 2; /* "." and ".." */
}

#define NOT_ALLOWED 20
static uint64_t shm_step;

/* Outcomes of one filling: the host refuses, the client does, or calls work. */
static int serve_from_shm(uint64_t free_bytes)
{
    if (!fill_shm((1 << 20) - free_bytes))
        return broken("cannot fill /dev/shm", 0);
    pid_t host_child, worker_child;
    int outcome, worked = WORKED, served;
    if (start_open(host_main, 0, &host_child, &outcome)) {
        if (start_open(work, 0, &worker_child, &outcome)) {
            outcome = in_child(client_small, 0);
            worked = end(worker_child);
        }
        served = end(host_child);
        if (outcome == WORKED || outcome == REFUSED)
            outcome = served != WORKED ? served : worked != WORKED ? worked : outcome;
    }
    unfill_shm();
    return outcome;
}

/* unreserved: a file system that reserves nothing, as if the library had not asked for it. */
static int small_shm(uint64_t unreserved)
{
    int works = 0, refuses = 0;
    if (!mount_small_shm() || !forbid(SYS_memfd_create, ENOSYS) ||
        (unreserved != 0 && !forbid(SYS_fallocate, EOPNOTSUPP)))
        return NOT_ALLOWED;
    for (uint64_t free_bytes = 0; free_bytes <= 1 << 20; free_bytes += shm_step) {
        int outcome = serve_from_shm(free_bytes);
        works += outcome == WORKED;
        refuses += outcome == REFUSED;
        if (outcome != WORKED && outcome != REFUSED)
            return outcome;
        if (count_shm() != 0)
            return broken("files were left in /dev/shm", count_shm());
    }
    return works > 0 && refuses > 0 ? WORKED : broken("never works or never refuses", works);
}

/* The sequence of climb() in one process, whose mounts and filter its children have. */
static void limit_shm(void)
{
    shm_step = proof_amount(&proof, 128 << 10, 8 << 10, 128 << 10);
    int outcome = in_child(small_shm, 0);
    if (outcome == NOT_ALLOWED)
        printf("# skipped: small_dev_shm: mounting a tmpfs or seccomp is not allowed here\n");
    else
        proof_check(&proof, outcome == WORKED, "small_dev_shm",
                    outcome == WORKED
                        ? "/dev/shm of 1 MiB, no memfd, from full to empty: refused or works"
                        : "/dev/shm of 1 MiB, no memfd: outcome %d",
                    outcome);
    if (outcome == WORKED)
        printf("planted nothing_reserved %s\n",
               in_child(small_shm, 1) == WORKED ? "missed" : "caught");
}

/* The negative control kills hosts, whose socket and lock file stay. */
static void clean_folder(void)
{
    char path[100];
    snprintf(path, sizeof path, "%s/" SERVICE ".sock", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/" SERVICE ".sock.lock", folder);
    unlink(path);
    if (rmdir(folder) != 0)
        proof_check(&proof, false, "folder", "files were left in %s", folder);
}

int main(int argc, char **argv)
{
    proof = proof_begin(argc, argv);
    snprintf(folder, sizeof folder, "/tmp/carom-limits-XXXXXX");
    opened = mmap(NULL, sizeof *opened, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (opened == MAP_FAILED || mkdtemp(folder) == NULL || setenv("CAROM_DIR", folder, 1) != 0)
        return 2;
    limit_peers();
    if (proof_wants(&proof, "sixteen_descriptors"))
        limit_sixteen();
    if (proof_wants(&proof, "host_descriptors"))
        limit_host();
    if (proof_wants(&proof, "small_dev_shm"))
        limit_shm();
    clean_folder();
    return proof_end(&proof);
}
