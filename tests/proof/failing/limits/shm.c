/* SPDX-License-Identifier: Apache-2.0
 *
 * shm.c - a /dev/shm of 1 MiB without memfd, filled to every degree. */
#include "attempts.h"
#include "shm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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
        if (start_open(worker_main, 0, &worker_child, &outcome)) {
            outcome = in_child(client_main, 0);
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
void limit_shm(void)
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
