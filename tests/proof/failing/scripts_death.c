/* SPDX-License-Identifier: Apache-2.0
 *
 * scripts_death.c - what the host does when workers die: it finds out how, ends their calls with
 * a record, and after the second death keeps the request in the quarantine folder, or says why
 * not. The workers are real processes (actors.c), and really killed. */
#include "script.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUEST_BYTES 9000

static char kept_folder[80];
static struct carom_client *client;
static pid_t mortals[2];
static uint32_t lane_clients;

static void begin(void)
{
    snprintf(kept_folder, sizeof kept_folder, "%s-kept", world_folder());
    mkdir(kept_folder, 0700);
    const struct carom_host_options options = {.size = sizeof options,
                                               .quarantine_folder = kept_folder};
    world_host_open(&options, HOST);
    client = script_client_open();
    lane_clients = 1;
}

static void end(void)
{
    carom_client_close(client);
    world_host_close();
    rmdir(kept_folder);
}

static void start_mortals(struct run *run)
{
    char *arguments[] = {"faults", ACTOR_MORTAL, NULL};
    for (int i = 0; i < 2; i++) {
        if (posix_spawn(&mortals[i], "/proc/self/exe", NULL, NULL, arguments, environ) != 0)
            broken(run, "cannot start a worker");
    }
    if (!world_await(lane_clients, 2))
        broken(run, "the workers did not come");
}

static void reap_mortals(struct run *run)
{
    int status = 0;
    for (int i = 0; i < 2; i++) {
        kill(mortals[i], SIGKILL); /* where the first was the only one to be asked */
        if (waitpid(mortals[i], &status, 0) != mortals[i])
            broken(run, "a worker is gone");
    }
}

/* Removes what is in the folder. Returns how many files there were, in `bytes` the size of one. */
static int take_kept(off_t *bytes)
{
    int count = 0;
    char path[400];
    struct stat status;
    DIR *entries = opendir(kept_folder);
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        snprintf(path, sizeof path, "%s/%s", kept_folder, entry->d_name);
        if (stat(path, &status) == 0)
            *bytes = status.st_size;
        unlink(path);
    }
    if (entries != NULL)
        closedir(entries);
    return count;
}

static void check_outcome(struct run *run, struct carom_call *call)
{
    struct carom_error error;
    off_t bytes = 0;
    int files = take_kept(&bytes);
    if (carom_call_error(call, &error) != 0) {
        broken(run, "no error: %s", carom_error_detail());
        return;
    }
    const char *why = strstr(error.message, "; it could not be kept: ");
    bool kept = strstr(error.message, "; kept as ") != NULL;
    if (strcmp(error.type, "carom.PoisonRequest") != 0) {
        broken(run, "the error is '%s': '%s'", error.type, error.message);
    } else if (inject->fault.site != INJECT_NO_SITE &&
               strcmp(inject->sites[inject->fault.site].door, "pwrite") == 0) {
        if (strstr(error.message, "killed") == NULL) /* the record could not be written */
            broken(run, "the message is '%s'", error.message);
    } else if (kept && (files != 1 || bytes != REQUEST_BYTES)) {
        broken(run, "%d files, the last of %lld bytes: %s", files, (long long)bytes, error.message);
    } else if (!kept && why == NULL) {
        broken(run, "whether it was kept is not said: %s", error.message);
    } else if (!kept) {
        run->rc = -EIO;
        snprintf(run->step, sizeof run->step, "the quarantine");
        snprintf(run->detail, sizeof run->detail, "%s", why + 2);
        if (files != 0 && inject->fault.site != INJECT_NO_SITE &&
            strcmp(inject->sites[inject->fault.site].door, "unlink") != 0)
            broken(run, "%d files stay of a request that was not kept", files);
    }
}

static void kill_two(struct run *run)
{
    struct carom_call *call = NULL;
    start_mortals(run);
    int method = carom_client_method(client, "death");
    inject_arm(HOST);
    int rc = carom_call_begin(client, method, 2 * SECOND, 0, &call);
    if (rc == 0) {
        memset(carom_call_request(call, NULL), 'q', REQUEST_BYTES);
        carom_call_submit(call, REQUEST_BYTES);
        do {
            rc = carom_call_wait(call);
        } while (rc == -EINTR);
        if (rc != CAROM_ABORTED)
            broken(run, "outcome %d: %s", rc, carom_error_detail());
        else
            check_outcome(run, call);
    } else {
        broken(run, "no call: %s", carom_error_detail());
    }
    carom_call_end(call);
    reap_mortals(run);
    (void)counts_await(&script_before); /* looked at again when nothing can fail any more */
    inject_disarm();
}

#define WITH_HOST .begin = begin, .end = end, .run = kill_two, .role = HOST

const struct script death_scripts[] = {
    {"host buries two workers", WITH_HOST},
    {"host buries two workers without renameat2", WITH_HOST, .lacks = {{"renameat2", ENOSYS}}},
    {0},
};
