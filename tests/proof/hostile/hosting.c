/* SPDX-License-Identifier: Apache-2.0
 *
 * hosting.c - a host by hand. See hosting.h. */
#include "hosting.h"

#include <sanitizer/asan_interface.h>
#include <string.h>
#include <unistd.h>

static struct carom_host host;
static struct carom__directory directory;
static struct carom__statistics statistics;

static int memory(void *at, bool read_only)
{
    return kernel_open((struct kernel_fd){
        .kind = KERNEL_MEMORY, .read_only = read_only, .bytes = 1 << 20, .memory = at});
}

static void forget_methods(void)
{
    /* relaxed: one thread */
    uint32_t count = atomic_load_explicit(&directory.method_count, memory_order_relaxed);
    memset((void *)directory.methods, 0, count * sizeof directory.methods[0]);
    memset((void *)&directory, 0, offsetof(struct carom__directory, methods));
    memset((void *)directory.workers, 0, FUZZ_HOST_WORKERS * sizeof directory.workers[0]);
    memset((void *)directory.lanes, 0, FUZZ_HOST_CLIENTS * sizeof directory.lanes[0]);
}

struct carom_host *fuzz_host(void)
{
    __asan_unpoison_memory_region(&host.message, sizeof host.message);
    memset((void *)&host, 0, offsetof(struct carom_host, workers));
    memset(host.workers, 0, FUZZ_HOST_WORKERS * sizeof host.workers[0]);
    memset(host.clients, 0, FUZZ_HOST_CLIENTS * sizeof host.clients[0]);
    memset(host.epochs, 0, FUZZ_HOST_WORKERS * sizeof host.epochs[0]);
    pthread_mutex_init(&host.lock, NULL);
    forget_methods();
    host.listen_fd = kernel_open((struct kernel_fd){.kind = KERNEL_SOCKET});
    host.epoll_fd = host.stop_fd = host.lock_fd = -1;
    host.reserve_fd = kernel_open((struct kernel_fd){.kind = KERNEL_FILE});
    host.pidfd = kernel_open((struct kernel_fd){.kind = KERNEL_PIDFD});
    host.listening = true;
    host.forks = carom__forks;
    host.bell = fuzz_bell();
    host.directory = &directory;
    host.statistics = &statistics;
    host.bell_fd = memory(host.bell, false);
    host.directory_fd = memory(&directory, false);
    host.directory_ro_fd = memory(&directory, true);
    host.statistics_fd = memory(&statistics, false);
    host.statistics_ro_fd = memory(&statistics, true);
    host.max_clients = FUZZ_HOST_CLIENTS;
    host.max_workers = FUZZ_HOST_WORKERS;
    host.max_slots = 64;
    host.max_block_bytes = 1 << 16;
    kernel.uid = geteuid();
    return &host;
}
