/* SPDX-License-Identifier: Apache-2.0
 *
 * world.c - the service of the scripts. See world.h. */
#include "world.h"

#include "script.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[64];
static struct carom_host *host;
static int host_role;
static pthread_t host_thread, worker_thread;
static struct carom_worker *worker;
static _Atomic int again_count;

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "world.c: %s: %s\n", what, carom_error_detail());
    abort();
}

void nap(int64_t duration_ns)
{
    struct timespec duration = {duration_ns / SECOND, duration_ns % SECOND};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &duration, NULL);
}

/* ---------------------------------------------------------------- methods */

static void echo(void *context, struct carom_request *request)
{
    size_t length, capacity;
    (void)context;
    const void *data = carom_request_data(request, &length);
    void *reply = carom_request_reply_block(request, &capacity);
    memcpy(reply, data, length);
    carom_request_reply(request, length);
}

static void slow(void *context, struct carom_request *request)
{
    nap(2 * MILLISECOND);
    echo(context, request);
}

static void wrong(void *context, struct carom_request *request)
{
    (void)context;
    nap(MILLISECOND);
    carom_request_fail(request, CAROM_INVALID_ARGUMENT, "WrongError", "as it was told", "line 1\n");
}

static void obey(void *context, struct carom_request *request)
{
    (void)context;
    for (int i = 0; i < 2000 && !carom_request_cancelled(request); i++)
        nap(MILLISECOND / 2);
    carom_request_fail(request, CAROM_CANCELLED, "Cancelled", "while it ran", NULL);
}

static void again(void *context, struct carom_request *request)
{
    /* seq_cst: tests take the strongest order */
    if (atomic_fetch_add_explicit(&again_count, 1, memory_order_seq_cst) % 2 != 0)
        slow(context, request);
    else
        carom_request_fail(request, CAROM_UNAVAILABLE, "Busy", "try again", NULL);
}

const struct carom_method world_methods[METHODS] = {
    [ECHO] = {.name = "echo", .handler = echo},
    [SLOW] = {.name = "slow", .handler = slow},
    [WRONG] = {.name = "wrong", .handler = wrong},
    [OBEY] = {.name = "obey", .handler = obey},
    [AGAIN] = {.name = "again", .handler = again, .flags = CAROM_IDEMPOTENT},
    [DEATH] = {.name = "death", .handler = echo, .flags = CAROM_IDEMPOTENT},
};

/* ---------------------------------------------------------------- the folder */

void world_folder_make(void)
{
    snprintf(folder, sizeof folder, "/tmp/carom-failing-XXXXXX");
    require(mkdtemp(folder) != NULL && setenv("CAROM_DIR", folder, 1) == 0, "a folder");
}

const char *world_folder(void)
{
    return folder;
}

static int for_each_file(bool remove)
{
    int count = 0;
    char path[400];
    DIR *entries = opendir(folder);
    require(entries != NULL, "the folder");
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (remove)
            unlink(path);
    }
    closedir(entries);
    return count;
}

int world_folder_remove(void)
{
    int left = for_each_file(true);
    rmdir(folder);
    return left;
}

/* ---------------------------------------------------------------- host and worker */

static void *host_main(void *unused)
{
    (void)unused;
    inject_role = (enum inject_role)host_role;
    require(carom_host_run(host) == 0, "carom_host_run");
    return NULL;
}

void world_host_open(const struct carom_host_options *options, int role)
{
    host_role = role;
    require(carom_host_open(SERVICE, options, &host) == 0, "carom_host_open");
    require(pthread_create(&host_thread, NULL, host_main, NULL) == 0, "a thread");
}

void world_host_close(void)
{
    carom_host_stop(host);
    pthread_join(host_thread, NULL);
    carom_host_close(host);
    host = NULL;
}

struct carom_host *world_host(void)
{
    return host;
}

static void *worker_main(void *unused)
{
    (void)unused;
    return (void *)(intptr_t)carom_worker_run(worker);
}

void world_worker_open(void)
{
    require(carom_worker_open(SERVICE, world_methods, METHODS - 1, 5 * SECOND, NULL, &worker) == 0,
            "carom_worker_open");
    require(pthread_create(&worker_thread, NULL, worker_main, NULL) == 0, "a thread");
}

int world_worker_close(bool stop)
{
    void *result;
    if (stop)
        carom_worker_stop(worker);
    pthread_join(worker_thread, &result);
    carom_worker_close(worker);
    worker = NULL;
    return (int)(intptr_t)result;
}

bool world_await(uint32_t clients, uint32_t workers)
{
    struct carom_observer *observer = NULL;
    struct carom_service_info info = {0};
    bool seen = false;
    if (script_observer_open(SERVICE, &observer) != 0)
        return false;
    for (int i = 0; i < 4000 && !seen; i++) {
        seen = carom_observer_service(observer, &info) == 0 && info.client_count == clients &&
               info.worker_count == workers;
        if (!seen)
            nap(MILLISECOND / 2);
    }
    carom_observer_close(observer);
    return seen;
}

/* ---------------------------------------------------------------- what is open */

static int count_entries(const char *path)
{
    int count = 0;
    DIR *entries = opendir(path);
    require(entries != NULL, path);
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    return count;
}

/* Not how many there are: the kernel puts neighbours together. */
static long count_mapped_kb(void)
{
    char line[512];
    unsigned long bytes = 0, from = 0, to = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    require(maps != NULL, "/proc/self/maps");
    while (fgets(line, sizeof line, maps) != NULL) {
        if ((strstr(line, "/memfd:carom-") != NULL || strstr(line, "/dev/shm/") != NULL) &&
            sscanf(line, "%lx-%lx", &from, &to) == 2)
            bytes += to - from;
    }
    (void)fclose(maps);
    return (long)(bytes / 1024);
}

struct counts counts_now(void)
{
    return (struct counts){
        .fds = count_entries("/proc/self/fd"),
        .mapped_kb = count_mapped_kb(),
        .threads = count_entries("/proc/self/task"),
        .files = for_each_file(false),
        .blocks = atomic_load_explicit(&inject_blocks, memory_order_seq_cst), /* the strongest */
    };
}

static bool are_same(const struct counts *before, const struct counts *now)
{
    return now->fds <= before->fds && now->fds >= before->fds - before->owed_fds &&
           before->mapped_kb == now->mapped_kb && before->threads == now->threads &&
           before->files == now->files && before->blocks == now->blocks;
}

bool counts_await(const struct counts *before)
{
    for (int i = 0; i < 500; i++) {
        struct counts now = counts_now();
        if (are_same(before, &now))
            return true;
        nap(i < 20 ? MILLISECOND / 10 : 2 * MILLISECOND);
    }
    return false;
}

struct counts counts_settled(void)
{
    struct counts before = counts_now();
    for (int same = 0, i = 0; same < 20 && i < 1000; i++) {
        nap(MILLISECOND);
        struct counts now = counts_now();
        same = are_same(&before, &now) ? same + 1 : 0;
        before = now;
    }
    return before;
}

void counts_tell(const struct counts *before, char *text, size_t capacity)
{
    struct counts now = counts_now();
    snprintf(text, capacity,
             "%+d descriptors, %+ld KiB mapped, %+d threads, %+d files, %+ld blocks of memory",
             now.fds - before->fds, now.mapped_kb - before->mapped_kb,
             now.threads - before->threads, now.files - before->files, now.blocks - before->blocks);
}
