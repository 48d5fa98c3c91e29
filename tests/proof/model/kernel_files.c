/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_files.c - the modelled kernel: descriptors, epoll, eventfd, pidfd, a process's end. */
#include "kernel_tables.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct kernel_tables *kernel;

static int fail(int error)
{
    errno = error;
    return -1;
}

void kernel_reset(void)
{
    kernel = arena_make("kernel", sizeof *kernel, ARENA_KERNEL, 0);
    memset(kernel->fds, 0xff, sizeof kernel->fds);
    for (unsigned p = 0; p < MODEL_PROCESSES; p++) {
        for (unsigned i = 0; i < KERNEL_MAPPINGS; i++)
            kernel->mappings[p][i].object = -1;
    }
}

int kernel_new_file(enum kernel_type type, unsigned index, bool writable)
{
    for (int i = 0; i < KERNEL_FILES; i++) {
        struct kernel_file *file = &kernel->files[i];
        if (file->type != FILE_NONE)
            continue;
        KERNEL_TOUCH(*file);
        *file = (struct kernel_file){.type = type, .index = index, .writable = writable};
        return i;
    }
    model_bug("the modelled kernel has too few files");
}

int kernel_new_fd(int file)
{
    int *fds = kernel->fds[task_process()];
    for (int i = 0; i < KERNEL_FDS; i++) {
        if (fds[i] >= 0)
            continue;
        KERNEL_TOUCH(fds[i]);
        KERNEL_TOUCH(kernel->files[file]);
        fds[i] = file;
        kernel->files[file].refs++;
        return KERNEL_FIRST_FD + i;
    }
    return fail(EMFILE);
}

int kernel_file_of(int fd)
{
    int index = fd - KERNEL_FIRST_FD;
    if (index < 0 || index >= KERNEL_FDS || kernel->fds[task_process()][index] < 0)
        return fail(EBADF);
    return kernel->fds[task_process()][index];
}

static void forget_watches(int file)
{
    for (int i = 0; i < KERNEL_FILES; i++) {
        for (int w = 0; kernel->files[i].type == FILE_EPOLL && w < KERNEL_WATCHES; w++) {
            if (kernel->files[i].watches[w].fd != 0 && kernel->files[i].watches[w].file == file) {
                KERNEL_TOUCH(kernel->files[i]);
                kernel->files[i].watches[w].fd = 0;
            }
        }
    }
}

void kernel_release(int number)
{
    struct kernel_file *file = &kernel->files[number];
    KERNEL_TOUCH(*file);
    if (file->refs == 0)
        model_bug("a file is released twice");
    if (--file->refs > 0)
        return;
    forget_watches(number);
    if (file->type == FILE_SOCKET)
        kernel_socket_close(file->index);
    else if (file->type == FILE_OBJECT)
        kernel_object_release(file->index);
    file->type = FILE_NONE;
}

void kernel_stir(int file)
{
    task_wake(&kernel->files[file], UINT_MAX);
    for (int i = 0; i < KERNEL_FILES; i++) {
        for (int w = 0; kernel->files[i].type == FILE_EPOLL && w < KERNEL_WATCHES; w++) {
            if (kernel->files[i].watches[w].fd != 0 && kernel->files[i].watches[w].file == file)
                task_wake(&kernel->files[i], UINT_MAX);
        }
    }
}

void kernel_process_ended(unsigned process)
{
    for (int i = 0; i < KERNEL_FDS; i++) {
        int file = kernel->fds[process][i];
        if (file < 0)
            continue;
        KERNEL_TOUCH(kernel->fds[process][i]);
        kernel->fds[process][i] = -1;
        kernel_release(file);
    }
    kernel_unmap_all(process);
    for (int i = 0; i < KERNEL_FILES; i++) {
        if (kernel->files[i].type == FILE_PIDFD && kernel->files[i].index == process)
            kernel_stir(i);
    }
}

const void *kernel_death_channel(unsigned process)
{
    return &kernel->fds[process];
}

unsigned kernel_descriptors(unsigned process)
{
    unsigned count = 0;
    for (int i = 0; i < KERNEL_FDS; i++)
        count += kernel->fds[process][i] >= 0;
    return count;
}

/* ---------------------------------------------------------------- as libc calls them */

int __wrap_close(int fd);
int __wrap_close(int fd)
{
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    task_point(&kernel->files[file], true, KERNEL_HERE);
    int *entry = &kernel->fds[task_process()][fd - KERNEL_FIRST_FD];
    KERNEL_TOUCH(*entry);
    *entry = -1;
    kernel_release(file);
    return 0;
}

/* Read-only access to an object through /proc/self/fd, or /dev/null. */
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    int fd = 0;
    (void)flags;
    if (strcmp(path, "/dev/null") == 0)
        return kernel_new_fd(kernel_new_file(FILE_NULL, 0, false));
    if (sscanf(path, "/proc/self/fd/%d", &fd) != 1)
        model_bug("open of %s is not modelled", path);
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    unsigned object = kernel->files[file].index;
    KERNEL_TOUCH(kernel->objects[object]);
    kernel->objects[object].refs++;
    return kernel_new_fd(kernel_new_file(FILE_OBJECT, object, false));
}

int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    if (command == F_GETFL)
        return kernel->files[file].writable ? O_RDWR : O_RDONLY;
    return command == F_GET_SEALS ? F_SEAL_SHRINK | F_SEAL_GROW : 0;
}

int __wrap_fstat(int fd, struct stat *status);
int __wrap_fstat(int fd, struct stat *status)
{
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    memset(status, 0, sizeof *status);
    status->st_mode = kernel->files[file].type == FILE_OBJECT ? S_IFREG : S_IFSOCK;
    if (kernel->files[file].type == FILE_OBJECT)
        status->st_size = (off_t)kernel->objects[kernel->files[file].index].bytes;
    return 0;
}

int __wrap_eventfd(unsigned initial, int flags);
int __wrap_eventfd(unsigned initial, int flags)
{
    (void)initial;
    (void)flags;
    return kernel_new_fd(kernel_new_file(FILE_EVENT, 0, true));
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    int file = kernel_file_of(fd);
    (void)data;
    if (file < 0)
        return -1;
    task_point(&kernel->files[file], true, KERNEL_HERE);
    KERNEL_TOUCH(kernel->files[file]);
    kernel->files[file].counter++;
    kernel_stir(file);
    return (ssize_t)bytes;
}

/* ---------------------------------------------------------------- epoll */

int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
    (void)flags;
    return kernel_new_fd(kernel_new_file(FILE_EPOLL, 0, true));
}

static int find_watch(const struct kernel_file *epoll, int fd)
{
    for (int w = 0; w < KERNEL_WATCHES; w++) {
        if (epoll->watches[w].fd == fd)
            return w;
    }
    return -1;
}

int __wrap_epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event)
{
    int number = kernel_file_of(epoll_fd), file = kernel_file_of(fd);
    if (number < 0 || file < 0)
        return -1;
    struct kernel_file *epoll = &kernel->files[number];
    int at = find_watch(epoll, what == EPOLL_CTL_ADD ? 0 : fd);
    if (at < 0)
        return what == EPOLL_CTL_ADD ? fail(ENOSPC) : fail(ENOENT);
    KERNEL_TOUCH(*epoll);
    epoll->watches[at].fd = what == EPOLL_CTL_DEL ? 0 : fd;
    epoll->watches[at].file = file;
    if (event != NULL) {
        epoll->watches[at].events = event->events;
        epoll->watches[at].data = event->data.ptr;
        task_wake(epoll, UINT_MAX); /* it may be ready for that already */
    }
    return 0;
}

int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout_ms);
int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout_ms)
{
    int number = kernel_file_of(epoll_fd), count = 0;
    if (number < 0)
        return -1;
    struct kernel_file *epoll = &kernel->files[number];
    for (bool late = false;;) {
        task_point(epoll, true, KERNEL_HERE);
        for (int w = 0; w < KERNEL_WATCHES && count < most; w++) {
            short ready = epoll->watches[w].fd == 0 ? 0
                                                    : kernel_ready(epoll->watches[w].file,
                                                                   (short)epoll->watches[w].events);
            if (ready != 0) {
                events[count].events = (uint32_t)ready;
                events[count++].data.ptr = epoll->watches[w].data;
            }
        }
        if (count > 0 || late)
            return count;
        int64_t until_ns = timeout_ms < 0 ? INT64_MAX
                                          : tasks_now_ns() + timeout_ms * INT64_C(1000000);
        late = task_sleep(epoll, until_ns) != 0;
    }
}

/* ---------------------------------------------------------------- processes */

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *end, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *end, int options)
{
    (void)type;
    (void)id;
    (void)end;
    (void)options;
    return fail(ECHILD); /* peers are not the host's children */
}

pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void)
{
    return (pid_t)(100 + task_process());
}

uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
    return 1000;
}
