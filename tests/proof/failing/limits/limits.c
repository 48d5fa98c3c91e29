/* SPDX-License-Identifier: Apache-2.0
 *
 * limits.c - real limits, with nothing injected: few descriptors, little address space, small
 * files, a small /dev/shm. */
#include "attempts.h"
#include "shm.h"

#include <errno.h>
#include <unistd.h>

static char folder[64];

/* ---------------------------------------------------------------- who has which limit */

static int worker_nofile(uint64_t nofile)
{
    set_limit(RLIMIT_NOFILE, nofile);
    return worker_main(0);
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
    return worker_main(0);
}

static int client_nofile(uint64_t nofile)
{
    set_limit(RLIMIT_NOFILE, nofile);
    return client_main(0);
}

static int client_address(uint64_t more)
{
    set_limit(RLIMIT_AS, used_address_bytes() + more);
    return client_main(0);
}

static int client_file_size(uint64_t bytes)
{
    set_limit(RLIMIT_FSIZE, bytes);
    return client_main(0);
}

/* ---------------------------------------------------------------- one limit after the other */

/* Runs an attempt with every limit from `from` on: REFUSED up to some, WORKED from there on. */
static void climb(const char *name, attempt *limited, uint64_t from, uint64_t to,
                  uint64_t step, const char *unit)
{
    uint64_t least = 0;
    int wrong = WORKED;
    uint64_t at = from;
    for (; at <= to && wrong == WORKED; at += step) {
        int outcome = in_child(limited, at);
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
static attempt *limited_worker;
static int worker_and_client(uint64_t limit)
{
    int outcome;
    pid_t child;
    if (!start_open(limited_worker, limit, &child, &outcome))
        return outcome;
    outcome = client_main(0);
    int ended = end(child);
    return ended == WORKED || ended == REFUSED ? outcome : ended;
}

static void limit_peers(void)
{
    const bool full = proof.scale == PROOF_LONG;
    pid_t host_child, worker_child;
    int outcome;
    if (!start_open(host_main, 0, &host_child, &outcome) ||
        !start_open(worker_main, 0, &worker_child, &outcome)) {
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
        !start_open(worker_main, 0, &worker_child, &outcome))
        return outcome;
    outcome = client_main(0);
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
    if (!attempts_begin() || mkdtemp(folder) == NULL || setenv("CAROM_DIR", folder, 1) != 0)
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
