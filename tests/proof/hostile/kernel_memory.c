/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_memory.c - memory objects and messages of the fuzz targets. See kernel.h.
 *
 * What is mapped lies in one arena, poisoned wherever nothing is mapped: a step outside a mapping,
 * or into one that has been unmapped, ends the program. Objects of fixed place (kernel_fd.memory)
 * are the target's own. */
#include "kernel.h"

#include "kernel_calls.h"

#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <string.h>

#define ARENA_BYTES (UINT64_C(32) << 20)
/** Larger objects cannot be mapped: there is no memory. */
#define MAPPING_MOST (UINT64_C(1) << 20)
/** As much of a new mapping is zero; of blocks nobody reads more than that. */
#define ZEROED (UINT64_C(64) << 10)
#define PAGE 4096u

static char *arena;

static size_t whole_pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

void kernel_forget_memory(void)
{
    if (arena == NULL) {
        arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED)
            kernel_fail("no arena");
        __asan_poison_memory_region(arena, ARENA_BYTES);
    }
    if (kernel.arena_used > 0)
        __asan_poison_memory_region(arena, kernel.arena_used);
}

static void *refuse(int error)
{
    errno = error;
    return MAP_FAILED;
}

void *kernel_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    const struct kernel_fd *open = kernel_fd(fd);
    (void)at, (void)flags, (void)offset;
    if (open == NULL || open->kind != KERNEL_MEMORY)
        return refuse(EBADF);
    if (open->read_only && protection & PROT_WRITE)
        return refuse(EACCES);
    if (bytes == 0 || bytes > MAPPING_MOST || kernel.arena_used + 3 * PAGE + bytes > ARENA_BYTES)
        return refuse(bytes == 0 ? EINVAL : ENOMEM);
    kernel.mapped_bytes += bytes;
    if (open->memory != NULL)
        return open->memory;
    char *mapped = arena + kernel.arena_used + PAGE;
    kernel.arena_used += (uint32_t)(whole_pages(bytes) + (size_t)2 * PAGE);
    __asan_unpoison_memory_region(mapped, bytes);
    memset(mapped, 0, bytes < ZEROED ? bytes : ZEROED);
    return mapped;
}

static bool is_in_arena(const void *at)
{
    return (const char *)at >= arena && (const char *)at < arena + ARENA_BYTES;
}

int kernel_munmap(void *at, size_t bytes)
{
    if (bytes > kernel.mapped_bytes)
        kernel_fail("munmap of %zu bytes, of which %zu are mapped", bytes, kernel.mapped_bytes);
    kernel.mapped_bytes -= bytes;
    if (!is_in_arena(at))
        return 0;
    if (__asan_region_is_poisoned(at, bytes) != NULL)
        kernel_fail("munmap of %zu bytes that are not all mapped", bytes);
    __asan_poison_memory_region(at, bytes);
    return 0;
}

void *kernel_mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
    (void)old, (void)old_bytes, (void)bytes, (void)flags;
    return refuse(ENOMEM);
}

int kernel_madvise(void *at, size_t bytes, int advice)
{
    if (advice == MADV_REMOVE && kernel.removed != NULL)
        kernel.removed(at, bytes);
    return 0;
}

int kernel_memfd_create(const char *name, unsigned flags)
{
    (void)name, (void)flags;
    return kernel_open((struct kernel_fd){.kind = KERNEL_MEMORY});
}

int kernel_ftruncate(int fd, off_t bytes)
{
    struct kernel_fd *open = kernel_fd(fd);
    if (open != NULL) {
        open->bytes = (uint64_t)bytes;
        return 0;
    }
    kernel_fail("ftruncate(%d) of what is not open", fd);
}

int kernel_fchmod(int fd, mode_t mode)
{
    (void)mode;
    if (kernel_fd(fd) == NULL)
        kernel_fail("fchmod(%d) of what is not open", fd);
    return 0;
}

ssize_t kernel_pwrite(int fd, const void *from, size_t bytes, off_t at)
{
    if (__asan_region_is_poisoned((void *)(uintptr_t)from, bytes) != NULL)
        kernel_fail("pwrite of memory that is not there");
    if (kernel.copied != NULL && kernel.copied(fd, (uint64_t)at, bytes))
        return (ssize_t)bytes;
    errno = ENOSPC;
    return -1;
}

ssize_t kernel_sendfile(int to, int from, off_t *at, size_t bytes)
{
    (void)to;
    if (kernel.copied == NULL || !kernel.copied(from, (uint64_t)*at, bytes))
        return 0;
    size_t part = bytes > PAGE ? bytes / 2 : bytes;
    *at += (off_t)part;
    return (ssize_t)part;
}

/* ---------------------------------------------------------------- messages */

ssize_t kernel_sendmsg(int fd, const struct msghdr *header, int flags)
{
    const struct iovec *part = &header->msg_iov[0];
    const struct kernel_fd *open = kernel_fd(fd);
    int fds[8];
    uint32_t count = 0;
    (void)flags;
    if (__asan_region_is_poisoned(part->iov_base, part->iov_len) != NULL)
        kernel_fail("sendmsg of memory that is not there");
    if (header->msg_controllen > 0) {
        const struct cmsghdr *control = CMSG_FIRSTHDR(header);
        count = (uint32_t)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        if (count > 8)
            kernel_fail("sendmsg with %u descriptors", count);
        memcpy(fds, CMSG_DATA(control), count * sizeof(int));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (kernel_fd(fds[i]) == NULL)
            kernel_fail("sendmsg hands over descriptor %d, which is not open", fds[i]);
    }
    int error = open == NULL          ? EBADF
                : open->hung_up       ? EPIPE
                : kernel.sent != NULL ? kernel.sent(fd, part->iov_base, part->iov_len, fds, count)
                                      : 0;
    if (error == 0)
        return (ssize_t)part->iov_len;
    errno = error;
    return -1;
}

/* As many of a message's descriptors as there is room for; the kernel closes the others. */
static void hand_over(struct msghdr *header, const struct kernel_message *message)
{
    size_t room = header->msg_controllen < CMSG_LEN(0)
                      ? 0
                      : (header->msg_controllen - CMSG_LEN(0)) / sizeof(int);
    uint32_t count = message->fd_count < room ? message->fd_count : (uint32_t)room;
    for (uint32_t i = count; i < message->fd_count; i++)
        kernel_close(message->fds[i]);
    if (count < message->fd_count)
        header->msg_flags |= MSG_CTRUNC;
    if (count == 0) {
        header->msg_controllen = 0;
        return;
    }
    struct cmsghdr *control = header->msg_control;
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(control), message->fds, sizeof(int) * count);
    header->msg_controllen = control->cmsg_len;
}

ssize_t kernel_recvmsg(int fd, struct msghdr *header, int flags)
{
    static struct kernel_message message;
    const struct kernel_fd *open = kernel_fd(fd);
    struct iovec *part = &header->msg_iov[0];
    (void)flags;
    header->msg_flags = 0;
    message.length = message.fd_count = 0;
    if (kernel.message_is_exact)
        __asan_unpoison_memory_region(part->iov_base, part->iov_len);
    if (open == NULL || kernel.deliver == NULL || !kernel.deliver(fd, &message)) {
        header->msg_controllen = 0;
        errno = open == NULL ? EBADF : EAGAIN;
        return open != NULL && open->hung_up ? 0 : -1;
    }
    size_t length = message.length < part->iov_len ? message.length : part->iov_len;
    if (length < message.length)
        header->msg_flags |= MSG_TRUNC;
    memcpy(part->iov_base, message.bytes, length);
    if (kernel.message_is_exact) /* nobody may read what was not sent */
        __asan_poison_memory_region((char *)part->iov_base + length, part->iov_len - length);
    hand_over(header, &message);
    return (ssize_t)length;
}
