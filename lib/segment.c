/* SPDX-License-Identifier: Apache-2.0
 *
 * segment.c - memfd and POSIX shared memory objects. See segment.h.
 *
 * A memfd takes its pages from the machine's memory. An object in /dev/shm takes them from a file
 * system that can be full long before, in a container it often has 64 MiB: who touches a page that
 * it cannot give gets SIGBUS. So there the pages that carom itself needs are taken when the object
 * is made, and that fails with -ENOSPC: everything of the small objects, of each block of requests
 * and replies the first 4 KiB, which short calls and errors do with. Blocks as a whole are far
 * larger than what is used of them, and cannot be reserved: a process that writes more into one
 * when /dev/shm is full is killed. carom.h says so. */
#include "segment.h"

#include "error.h"
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
/* A block begins somewhere in its first page: the first 4 KiB of it lie in two. */
#define BLOCK_PAGES_BYTES (2 * CAROM__PAGE_BYTES)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int open_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* A file that never has a name: with one, even for a moment, a kill could leave it behind. */
static int open_nameless(void)
{
    return open("/dev/shm", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
}

/* For file systems that make no files without names. */
static int open_named(void)
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

static int open_shm(void)
{
    int fd = open_nameless();
    return fd < 0 ? open_named() : fd;
}

static int open_object(const char *name, bool *sealable)
{
    int fd = open_memfd(name);
    *sealable = fd >= 0;
    return fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EACCES) ? open_shm() : fd;
}

int carom__segment_check_size(uint64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        bytes <= limit.rlim_cur)
        return 0;
    return carom__fail(-EFBIG,
                       "%llu bytes are more than this process may write to a file: raise "
                       "ulimit -f",
                       (unsigned long long)bytes);
}

/* What of an object is to be there from the start: the first `bytes` of every `stride`. */
struct reserve {
    uint64_t stride, bytes;
};

/* 0 or -1 with errno set. A file system that cannot reserve is taken as it is. */
static int reserve(int fd, uint64_t size_bytes, const struct reserve *what)
{
    for (uint64_t at = 0; at < size_bytes; at += what->stride) {
        uint64_t left = size_bytes - at;
        int rc;
        do {
            rc = fallocate(fd, 0, (off_t)at, (off_t)(what->bytes < left ? what->bytes : left));
        } while (rc != 0 && errno == EINTR);
        if (rc != 0)
            return errno == EOPNOTSUPP ? 0 : -1;
    }
    return 0;
}

static int size_object(int fd, size_t bytes, bool sealable, const struct reserve *what)
{
    if (fchmod(fd, 0600) != 0 || ftruncate(fd, (off_t)bytes) != 0)
        return -1;
    return sealable ? fcntl(fd, F_ADD_SEALS, SEALS) : reserve(fd, bytes, what);
}

static int create(const char *name, size_t bytes, const struct reserve *what)
{
    bool sealable;
    int rc = carom__segment_check_size(bytes);
    if (rc < 0)
        return rc;
    int fd = open_object(name, &sealable);
    if (fd < 0)
        return carom__fail_errno(-errno, "cannot create shared memory");
    if (size_object(fd, bytes, sealable, what) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return carom__fail(error, "cannot make shared memory '%s' of %zu bytes: %s%s", name, bytes,
                       strerror(-error), error == -ENOSPC ? " (/dev/shm is full)" : "");
}

int carom__segment_create(const char *name, size_t bytes)
{
    return create(name, bytes, &(struct reserve){bytes, bytes});
}

int carom__segment_create_blocks(const char *name, uint32_t slots, uint64_t block_bytes)
{
    return create(name, carom__blocks_bytes(slots, block_bytes),
                  &(struct reserve){carom__block_stride(block_bytes), BLOCK_PAGES_BYTES});
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
    struct stat status = {0};
    if (fstat(fd, &status) != 0 && errno != EBADF)
        return carom__fail_errno(-errno, "cannot look at the peer's shared memory");
    if (!S_ISREG(status.st_mode) || status.st_size < 0 || (size_t)status.st_size < bytes)
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
