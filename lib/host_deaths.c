/* SPDX-License-Identifier: Apache-2.0
 *
 * host_deaths.c - after a worker's death: how it died, and the calls it leaves behind.
 *
 * Each of them ends with a record in its reply block that says so. The host does not map blocks: it
 * writes the record through the object's descriptor, and where that fails the client has words of
 * its own. A request of which a second worker died is ABORTED: nobody should try it again. */
#include "error.h"
#include "failure.h"
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* waitid's P_PIDFD, which older headers lack. */
#define BY_PIDFD ((idtype_t)3)
#define MESSAGE_BYTES (CAROM__KEPT_BYTES + 1024u)
/** Deaths that make a request a poison. */
#define POISON_DEATHS 2u

/** A worker's end while the calls it leaves behind are looked after. */
struct death {
    char worker[40];            /* "worker 3 (pid 4711)" */
    char how[CAROM__END_BYTES]; /* "was killed by SIGSEGV" */
    bool in_order;
    uint32_t calls;
    bool kept; /* a request of the lane that is being recovered has been written */
};

/* ---------------------------------------------------------------- how it died */

bool carom__host_is_dead(const struct carom__peer *peer)
{
    struct pollfd end = {.fd = peer->pidfd, .events = POLLIN};
    return peer->pidfd >= 0 && poll(&end, 1, 0) == 1;
}

static const char *name_signal(int number, char *text, size_t bytes)
{
    static const struct {
        int number;
        const char *name;
    } signals[] = {
        {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
        {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
        {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
        {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"}, {SIGXCPU, "SIGXCPU"},
        {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"},
    };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (signals[i].number == number)
            return signals[i].name;
    }
    snprintf(text, bytes, "signal %d", number);
    return text;
}

/* Only a child of this process, and only until somebody has waited for it. */
static bool look_at_child(const struct carom__peer *worker, siginfo_t *end)
{
    memset(end, 0, sizeof *end);
    return worker->pidfd >= 0 &&
           waitid(BY_PIDFD, (id_t)worker->pidfd, end, WEXITED | WNOWAIT | WNOHANG) == 0 &&
           end->si_pid != 0;
}

static void tell_child(const siginfo_t *end, char how[CAROM__END_BYTES])
{
    char number[32];
    if (end->si_code == CLD_EXITED)
        snprintf(how, CAROM__END_BYTES, "exited with status %d", end->si_status);
    else
        snprintf(how, CAROM__END_BYTES, "was killed by %s%s",
                 name_signal(end->si_status, number, sizeof number),
                 end->si_code == CLD_DUMPED ? " (core dumped)" : "");
}

static void find_cause(struct death *death, const struct carom__peer *worker)
{
    siginfo_t end;
    bool is_known = look_at_child(worker, &end);
    death->in_order = worker->said_goodbye ||
                      (is_known && end.si_code == CLD_EXITED && end.si_status == 0);
    if (worker->end[0] != '\0')
        memcpy(death->how, worker->end, sizeof death->how);
    else if (is_known)
        tell_child(&end, death->how);
    else
        snprintf(death->how, sizeof death->how, worker->said_goodbye ? "left" : "died");
    if (worker->pid > 0)
        snprintf(death->worker, sizeof death->worker, "worker %u (pid %d)", worker->id,
                 (int)worker->pid);
    else /* of a foreign PID namespace */
        snprintf(death->worker, sizeof death->worker, "worker %u", worker->id);
}

/* ---------------------------------------------------------------- its calls */

/* 0: could not be written. */
static uint64_t write_record(const struct carom__host_lane *lane, uint32_t slot, const char *type,
                             const char *message)
{
    char record[CAROM__PAGE_BYTES]; /* no block is smaller */
    const struct carom_error error = {.type = type, .message = message};
    size_t bytes = carom__failure_write(record, sizeof record, &error);
    off_t at = (off_t)carom__block_offset(slot, lane->geometry.reply_block_bytes);
    ssize_t written;
    do {
        written = pwrite(lane->replies_fd, record, bytes, at);
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t)bytes ? bytes : 0;
}

/* Keeps the request if that is wanted, and says in `outcome` what came of it. A worker runs one
 * call at a time: more than one in a lane are its client's invention, and fill no disk. */
static void quarantine(struct carom_host *host, struct death *death,
                       const struct carom__host_lane *lane, uint32_t slot, const char *method,
                       char outcome[MESSAGE_BYTES])
{
    char path[CAROM__KEPT_BYTES];
    outcome[0] = '\0';
    if (host->quarantine_folder == NULL || death->kept)
        return;
    death->kept = true;
    bool failed = carom__host_quarantine(host, lane, slot, method, path) < 0;
    const char *why = failed ? carom_error_detail() : "";
    snprintf(outcome, MESSAGE_BYTES, failed ? "; it could not be kept: %s" : "; kept as %s",
             failed ? why : path);
    const char *event[] = {"quarantined", method, failed ? "" : path, why};
    carom__host_event(host, event, 4);
}

static int32_t tell_poison(struct carom_host *host, struct death *death,
                           const struct carom__host_lane *lane, uint32_t slot, uint32_t deaths,
                           const char *method, uint64_t *record_bytes)
{
    char message[MESSAGE_BYTES], outcome[MESSAGE_BYTES];
    quarantine(host, death, lane, slot, method, outcome);
    int length = snprintf(
        message, sizeof message,
        "this request killed %u workers, the last one, %s, %s; it is not given to "
        "another",
        deaths, death->worker, death->how);
    snprintf(message + length, sizeof message - (size_t)length, "%s", outcome);
    *record_bytes = write_record(lane, slot, "carom.PoisonRequest", message);
    return CAROM_ABORTED;
}

static int32_t tell_death(const struct death *death, const struct carom__host_lane *lane,
                          uint32_t slot, const char *method, uint64_t *record_bytes)
{
    char message[MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s %s while it ran method '%s'", death->worker, death->how,
             method);
    *record_bytes = write_record(lane, slot, "carom.WorkerDied", message);
    return CAROM_UNAVAILABLE;
}

static const char *name_method(const struct carom_host *host, uint32_t method)
{
    /* relaxed: only the host writes it */
    uint32_t count = atomic_load_explicit(&host->directory->method_count, memory_order_relaxed);
    return method < count ? host->directory->methods[method].name : "?";
}

static void end_call(struct carom_host *host, struct death *death, struct carom__host_lane *lane,
                     uint32_t slot, uint32_t owner)
{
    uint64_t record_bytes = 0;
    int32_t status = CAROM_UNAVAILABLE;
    /* relaxed: published by SUBMITTED; loaded once and checked */
    uint32_t method = atomic_load_explicit(&lane->lane.slots[slot].method, memory_order_relaxed);
    if (method != CAROM__METHOD_TRIM) { /* of which nobody reads the reply */
        const char *name = name_method(host, method);
        uint32_t deaths = carom__lane_count_death(&lane->lane, slot);
        status = deaths >= POISON_DEATHS
                     ? tell_poison(host, death, lane, slot, deaths, name, &record_bytes)
                     : tell_death(death, lane, slot, name, &record_bytes);
    }
    death->calls += carom__lane_fail(&lane->lane, slot, owner, status, record_bytes);
}

static void recover_lane(struct carom_host *host, struct death *death,
                         struct carom__host_lane *lane, uint32_t owner)
{
    death->kept = false;
    for (uint32_t slot = 0; carom__lane_find_running(&lane->lane, owner, &slot); slot++)
        end_call(host, death, lane, slot, owner);
    carom__lane_repeat_wakes(&lane->lane);
}

static void tell_keeper(const struct carom_host *host, const struct carom__peer *worker,
                        const struct death *death)
{
    char id[CAROM__NUMBER_BYTES], pid[CAROM__NUMBER_BYTES], calls[CAROM__NUMBER_BYTES];
    const char *event[] = {"died", carom__field(id, worker->id), carom__field(pid, worker->pid),
                           carom__field(calls, death->calls), death->how};
    if (!death->in_order || death->calls > 0)
        carom__host_event(host, event, 5);
}

void carom__host_recover(struct carom_host *host, const struct carom__peer *worker)
{
    struct death death = {0};
    find_cause(&death, worker);
    for (uint32_t lane = 0; lane < host->max_clients; lane++) {
        if (host->clients[lane] == NULL)
            continue;
        recover_lane(host, &death, host->clients[lane]->lane, worker->owner);
        /* it may have died between clearing this bit and looking at the lane again */
        carom__bell_set_ready(host->bell, lane);
    }
    tell_keeper(host, worker, &death);
}
