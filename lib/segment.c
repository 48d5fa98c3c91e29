/* SPDX-License-Identifier: Apache-2.0
 *
 * segment.c - memfd and POSIX shared memory objects. See segment.h. */
#include "segment.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int open_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static int open_shm(void)
{
    static atomic_uint counter;
    char path[64];
    for (int attempt = 0; attempt < 16; attempt++) {
        /* relaxed: only has to differ between threads; O_EXCL decides */
        unsigned number = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
        snprintf(path, sizeof path, "/carom-%d-%u", (int)getpid(), number);
        int fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
            shm_unlink(path);
            return fd;
        }
        if (errno != EEXIST)
            break;
    }
    return -1;
}

static int open_object(const char *name, bool *sealable)
{
    int fd = open_memfd(name);
    *sealable = fd >= 0;
    return fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EACCES) ? open_shm() : fd;
}

int carom__segment_create(const char *name, size_t bytes)
{
    bool sealable;
    int fd = open_object(name, &sealable);
    if (fd < 0)
        return carom__fail_errno(-errno, "cannot create shared memory");
    if (fchmod(fd, 0600) != 0 || ftruncate(fd, (off_t)bytes) != 0 ||
        (sealable && fcntl(fd, F_ADD_SEALS, SEALS) != 0)) {
        int error = -errno;
        close(fd);
        return carom__fail(error, "cannot size shared memory '%s' to %zu bytes", name, bytes);
    }
    return fd;
}

int carom__segment_read_only(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    if (read_only < 0)
        return carom__fail_errno(-errno,
                                 "cannot reopen shared memory read-only (is /proc mounted?)");
    return read_only;
}

int carom__segment_check(int fd, size_t bytes, bool trusted)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
        (size_t)status.st_size < bytes)
        return carom__fail(-EPROTO,
                           "the peer handed over something that is not %zu bytes of memory", bytes);
    int seals = fcntl(fd, F_GET_SEALS);
    if (!trusted && (seals < 0 || !(seals & F_SEAL_SHRINK)))
        return carom__fail(-EPROTO, "the peer's shared memory is not sealed against shrinking");
    return 0;
}

void *carom__segment_map(int fd, size_t bytes, bool writable)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return NULL;
    /* Refusal only costs larger dumps and copies in children, which the fork check keeps away. */
    madvise(base, bytes, MADV_DONTDUMP);
    madvise(base, bytes, MADV_DONTFORK);
    return base;
}

void carom__segment_prefault(const void *at, size_t bytes, bool writable)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)at & ~(page - 1);
    madvise((void *)first, (uintptr_t)at + bytes - first,
            writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

int carom__segment_replace(void *old, void *fresh, size_t bytes)
{
    if (mremap(fresh, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, old) == old)
        return 0;
    int rc = carom__fail_errno(-errno, "cannot exchange shared memory");
    /* The kernel may have unmapped the old one before it failed; others still look there. */
    (void)!mmap(old, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return rc;
}

void carom__segment_unmap(void *base, size_t bytes)
{
    if (base != NULL)
        munmap(base, bytes);
}
