/* SPDX-License-Identifier: Apache-2.0
 *
 * inject.c - which call fails. See inject.h. */
#include "inject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct inject *inject;
_Thread_local enum inject_role inject_role;
_Atomic long inject_blocks;

/* What each door can say on Linux, as far as it does not accuse the caller (EBADF, EFAULT). */
static const struct {
    const char *door;
    int errors[8];
} doors[] = {
    {"accept4", {EMFILE, ENFILE, EINTR, EAGAIN, ENOMEM, ECONNABORTED}},
    {"aligned_alloc", {ENOMEM}},
    {"bind", {EACCES, ENOSPC, EADDRINUSE, EROFS, ENOMEM}},
    {"calloc", {ENOMEM}},
    {"chmod", {EPERM, EROFS, EIO, EINTR}},
    {"close", {EINTR, EIO, ENOSPC}},
    {"connect", {EACCES, EAGAIN, ECONNREFUSED, ENOENT, EINTR, ENOMEM, EPERM}},
    {"dup3", {EMFILE, EBUSY, EINTR}},
    {"epoll_create1", {EMFILE, ENFILE, ENOMEM}},
    {"epoll_ctl ADD", {ENOSPC, ENOMEM}},
    {"epoll_ctl MOD", {ENOMEM}},
    {"epoll_ctl DEL", {ENOMEM}},
    {"epoll_wait", {EINTR}},
    {"eventfd", {EMFILE, ENFILE, ENOMEM}},
    {"faccessat", {EACCES, EIO, ENOMEM}},
    {"fallocate", {ENOSPC, EINTR, EOPNOTSUPP, ENOMEM}},
    {"fchmod", {EPERM, EINTR, EIO}},
    {"fcntl F_ADD_SEALS", {EPERM, EBUSY, ENOMEM}},
    {"fcntl F_GETFL", {0}}, /* cannot fail */
    {"fcntl F_GET_SEALS", {EINVAL}},
    {"fcntl F_SETFL", {EPERM}},
    {"fcntl F_SETLK", {ENOLCK, EINTR, ENOMEM}},
    {"fstat", {ENOMEM, EIO}},
    {"ftruncate", {ENOSPC, EINTR, EFBIG, ENOMEM, EPERM}},
    {"getcwd", {ENOENT, ENOMEM, EACCES}},
    {"getrandom", {EINTR, EAGAIN, ENOSYS, HALF}},
    {"getsockopt", {ENOMEM, EPERM}},
    {"kill", {ESRCH}},
    {"listen", {EADDRINUSE, ENOMEM}},
    {"lstat", {EACCES, ENOMEM, EIO}},
    {"madvise", {ENOMEM, EINVAL, EAGAIN, EINTR}},
    {"malloc", {ENOMEM}},
    {"memfd_create", {EMFILE, ENFILE, ENOMEM, EINVAL, EPERM, ENOSYS}},
    {"mkdir", {EACCES, ENOSPC, EROFS}},
    {"mmap", {ENOMEM, EAGAIN, EPERM}},
    {"mremap", {ENOMEM, EAGAIN}},
    {"munmap", {ENOMEM}},
    {"nanosleep", {EINTR}},
    {"open", {EMFILE, EACCES, ENFILE, EINTR, ENOMEM, ENOSPC}},
    {"pipe2", {EMFILE, ENFILE, ENOMEM}},
    {"poll", {EINTR, ENOMEM}},
    {"posix_spawn_file_actions_addclosefrom_np", {ENOMEM}},
    {"posix_spawn_file_actions_adddup2", {ENOMEM}},
    {"posix_spawn_file_actions_addfchdir_np", {ENOMEM}},
    {"posix_spawn_file_actions_addopen", {ENOMEM}},
    {"posix_spawn_file_actions_init", {ENOMEM}},
    {"posix_spawnattr_init", {ENOMEM}},
    {"posix_spawnp", {EAGAIN, ENOMEM, ENOENT, EACCES, EPERM}},
    {"pthread_atfork", {ENOMEM}},
    {"pthread_create", {EAGAIN}},
    {"pwrite", {EINTR, ENOSPC, EIO, HALF}},
    {"read", {EINTR, EAGAIN}},
    {"realpath", {ENOMEM, EACCES}},
    {"recv", {EINTR, ENOMEM}},
    {"recvmsg", {EINTR, CUT_OFF, ENOMEM}},
    {"recvmsg DONTWAIT", {EINTR, CUT_OFF, ENOMEM}}, /* EAGAIN: when there is nothing only */
    {"rename", {ENOSPC, EACCES, EIO}},
    {"sched_getaffinity", {EPERM}},
    {"send", {EAGAIN, EPIPE, ENOMEM, EINTR}},
    {"sendfile", {EINTR, ENOSPC, EIO, ENOMEM, HALF}},
    {"sendmsg", {EINTR, ENOMEM}},
    {"sendmsg with descriptors", {EINTR, ENOMEM, ETOOMANYREFS}},
    {"sendmsg DONTWAIT", {EINTR, ENOMEM}}, /* there are not so many that they fill a socket */
    {"sendmsg DONTWAIT with descriptors", {EINTR, EAGAIN, ENOMEM, ETOOMANYREFS}},
    {"shm_open", {EMFILE, EACCES, ENOENT, EEXIST, ENOSPC}},
    {"shm_unlink", {EACCES}},
    {"sigtimedwait", {EAGAIN, EINTR}},
    {"socket", {EMFILE, ENFILE, ENOMEM, EACCES}},
    {"stat", {ENOENT, EACCES, ENOMEM}},
    {"strdup", {ENOMEM}},
    {"futex WAIT", {EINTR, EAGAIN, ETIMEDOUT, ENOMEM}},
    {"futex WAKE", {ENOMEM}},
    {"pidfd_open", {EMFILE, ENFILE, ENOMEM}}, /* a kernel without it is a script of its own */
    {"pidfd_send_signal", {ESRCH}},
    {"renameat2", {ENOSPC, EEXIST, EINVAL, ENOSYS, EACCES}},
    {"unlink", {EACCES, EROFS}},
    {"waitid", {EINTR, ECHILD}},
    {"waitpid", {EINTR, ECHILD}},
    {"write", {EPIPE, EAGAIN, EINTR}},
};

void inject_begin(void)
{
    inject = mmap(NULL, sizeof *inject, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (inject == MAP_FAILED)
        abort();
    inject_plan(NULL);
}

void inject_plan(const struct inject_fault *fault)
{
    const struct inject_fault nothing = {.site = INJECT_NO_SITE};
    inject->fault = fault != NULL ? *fault : nothing;
    inject->under = fault != NULL ? inject->sites[fault->site].under : nothing;
    inject->fired = 0;
    memset(inject->calls, 0, sizeof inject->calls);
}

/* seq_cst: one switch, thrown by the main thread and seen by the thread of the role */
void inject_arm(enum inject_role role)
{
    atomic_store_explicit(&inject->armed, (int)role, memory_order_seq_cst);
}

void inject_disarm(void)
{
    inject_arm(NOBODY);
}

const int *inject_errors(const char *door)
{
    for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++) {
        if (strcmp(doors[i].door, door) == 0)
            return doors[i].errors;
    }
    fprintf(stderr, "inject.c: no errors for %s\n", door);
    abort();
}

bool inject_is_passing(int error)
{
    return error == EINTR || error == EAGAIN || error == HALF || error == EEXIST ||
           error == ECONNABORTED;
}

const char *inject_error_name(int error)
{
    const char *name = error == HALF      ? "half"
                       : error == CUT_OFF ? "cut off"
                                          : strerrorname_np(error);
    return name != NULL ? name : "?";
}

/* ---------------------------------------------------------------- a call */

static uint32_t find_site(const char *door, uintptr_t at)
{
    for (uint32_t site = 0; site < inject->site_count; site++) {
        if (inject->sites[site].at == at && inject->sites[site].door == door)
            return site;
    }
    if (inject->site_count == INJECT_SITES)
        abort();
    inject->sites[inject->site_count] = (struct inject_site){
        .at = at, .door = door, .under = inject->fault};
    return inject->site_count++;
}

static int find_lack(const char *door)
{
    for (uint32_t i = 0; i < INJECT_LACKS; i++) {
        const struct inject_lack *lack = &inject->lacks[i];
        if (lack->door != NULL && strcmp(lack->door, door) == 0)
            return lack->error;
    }
    return 0;
}

static bool is_due(const struct inject_fault *fault, uint32_t site, uint32_t call)
{
    return site == fault->site &&
           (call == fault->call || (fault->mode == FOR_GOOD && call > fault->call));
}

/* One thread at a time has the armed role, so nothing here is locked. */
int inject_look(const char *door, uintptr_t at)
{
    if (inject == NULL || inject_role == NOBODY ||
        atomic_load_explicit(&inject->armed, memory_order_seq_cst) != (int)inject_role)
        return 0;
    uint32_t site = find_site(door, at);
    uint32_t call = ++inject->calls[site];
    if (call > inject->sites[site].calls)
        inject->sites[site].calls = call;
    if (is_due(&inject->fault, site, call)) {
        inject->fired++;
        inject->sites[site].fired++;
        return inject->fault.error;
    }
    if (is_due(&inject->under, site, call))
        return inject->under.error;
    return find_lack(door);
}
