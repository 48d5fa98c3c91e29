/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_memory.c - the modelled kernel: memory objects, mappings, and each process's heap.
 *
 * An object is one region of the arena, and every process that maps it has it at the same address;
 * what a process may do there is in its mapping, and checked at every access. */
#include "kernel_tables.h"
#include "weak.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

static int fail(int error)
{
    errno = error;
    return -1;
}

/* ---------------------------------------------------------------- objects */

int __wrap_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags)
{
    (void)name;
    (void)flags;
    KERNEL_TOUCH(kernel->object_count);
    if (kernel->object_count == KERNEL_OBJECTS)
        model_bug("the modelled kernel has too few objects");
    unsigned number = kernel->object_count++;
    KERNEL_TOUCH(kernel->objects[number]);
    kernel->objects[number] = (struct kernel_object){.refs = 1};
    return kernel_new_fd(kernel_new_file(FILE_OBJECT, number, true));
}

int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode)
{
    (void)mode;
    return kernel_file_of(fd) < 0 ? -1 : 0;
}

int __wrap_ftruncate(int fd, off_t bytes);
int __wrap_ftruncate(int fd, off_t bytes)
{
    static const char *const names[] = {"object 0",  "object 1",  "object 2",  "object 3",
                                        "object 4",  "object 5",  "object 6",  "object 7",
                                        "object 8",  "object 9",  "object 10", "object 11",
                                        "object 12", "object 13", "object 14", "object n"};
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    unsigned number = kernel->files[file].index;
    struct kernel_object *object = &kernel->objects[number];
    KERNEL_TOUCH(*object);
    object->at = arena_make(names[number < 15 ? number : 15], (size_t)bytes, ARENA_SHARED, 0);
    object->bytes = (size_t)bytes;
    arena_find(object->at)->tag = number;
    return 0;
}

void kernel_object_release(unsigned number)
{
    struct kernel_object *object = &kernel->objects[number];
    KERNEL_TOUCH(*object);
    object->refs--;
}

static bool has_mapping(unsigned process, unsigned object, bool writable)
{
    for (unsigned i = 0; i < KERNEL_MAPPINGS; i++) {
        const struct kernel_mapping *mapping = &kernel->mappings[process][i];
        if (mapping->object == (int)object && (mapping->writable || !writable))
            return true;
    }
    return false;
}

static void set_rights(unsigned process, unsigned number)
{
    struct kernel_object *object = &kernel->objects[number];
    uint8_t bit = (uint8_t)(1u << process);
    KERNEL_TOUCH(*object);
    object->readable &= (uint8_t)~bit;
    object->writable &= (uint8_t)~bit;
    if (has_mapping(process, number, false))
        object->readable |= bit;
    if (has_mapping(process, number, true))
        object->writable |= bit;
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    int file = kernel_file_of(fd);
    (void)at;
    (void)flags;
    (void)offset;
    if (file < 0)
        return MAP_FAILED;
    bool writable = (protection & PROT_WRITE) != 0;
    if (writable && !kernel->files[file].writable) {
        errno = EACCES;
        return MAP_FAILED;
    }
    for (unsigned i = 0; i < KERNEL_MAPPINGS; i++) {
        struct kernel_mapping *mapping = &kernel->mappings[task_process()][i];
        if (mapping->object >= 0)
            continue;
        unsigned number = kernel->files[file].index;
        KERNEL_TOUCH(*mapping);
        *mapping = (struct kernel_mapping){(int)number, bytes, writable};
        KERNEL_TOUCH(kernel->objects[number]);
        kernel->objects[number].refs++;
        set_rights(task_process(), number);
        return kernel->objects[number].at;
    }
    errno = ENOMEM;
    return MAP_FAILED;
}

static void drop_mapping(unsigned process, struct kernel_mapping *mapping)
{
    unsigned number = (unsigned)mapping->object;
    mapping->object = -1;
    kernel_object_release(number);
    set_rights(process, number);
}

/* Blocks are unmapped one by one: a mapping is gone when all of its bytes are. */
int __wrap_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes)
{
    const struct arena_region *region = arena_find(at);
    if (region == NULL || region->kind != ARENA_SHARED)
        return fail(EINVAL);
    task_point(at, true, KERNEL_HERE);
    for (unsigned i = 0; i < KERNEL_MAPPINGS; i++) {
        struct kernel_mapping *mapping = &kernel->mappings[task_process()][i];
        if (mapping->object != (int)region->tag)
            continue;
        KERNEL_TOUCH(*mapping);
        mapping->left_bytes -= bytes < mapping->left_bytes ? bytes : mapping->left_bytes;
        if (mapping->left_bytes == 0)
            drop_mapping(task_process(), mapping);
        return 0;
    }
    return fail(EINVAL);
}

void kernel_unmap_all(unsigned process)
{
    for (unsigned i = 0; i < KERNEL_MAPPINGS; i++) {
        struct kernel_mapping *mapping = &kernel->mappings[process][i];
        if (mapping->object < 0)
            continue;
        KERNEL_TOUCH(*mapping);
        drop_mapping(process, mapping);
    }
}

unsigned kernel_mappings(unsigned process)
{
    unsigned count = 0;
    for (unsigned i = 0; i < KERNEL_MAPPINGS; i++)
        count += kernel->mappings[process][i].object >= 0;
    return count;
}

bool kernel_may_read(unsigned process, const void *at)
{
    const struct arena_region *region = arena_find(at);
    return region != NULL && region->kind == ARENA_SHARED &&
           (kernel->objects[region->tag].readable >> process & 1) != 0;
}

bool kernel_may_write(unsigned process, const void *at)
{
    const struct arena_region *region = arena_find(at);
    return region != NULL && region->kind == ARENA_SHARED &&
           (kernel->objects[region->tag].writable >> process & 1) != 0;
}

void *__wrap_mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...);
void *__wrap_mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
    (void)old;
    (void)old_bytes;
    (void)bytes;
    (void)flags;
    model_bug("mremap is not modelled: no scenario connects again or detaches a block");
}

/* Only giving memory back shows. */
int __wrap_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice)
{
    if (advice != MADV_REMOVE)
        return 0;
    task_point(at, true, KERNEL_HERE);
    arena_touch(at, bytes);
    memset(at, 0, bytes);
    return 0;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    int file = kernel_file_of(fd);
    if (file < 0)
        return -1;
    const struct kernel_object *object = &kernel->objects[kernel->files[file].index];
    if ((size_t)offset + bytes > object->bytes)
        return fail(ENOSPC);
    task_point(object->at + offset, true, KERNEL_HERE);
    if (model_mode.weak && model_exploring)
        weak_plain(object->at + offset, bytes, true, KERNEL_HERE);
    arena_touch(object->at + offset, bytes);
    memcpy(object->at + offset, data, bytes);
    return (ssize_t)bytes;
}

/* ---------------------------------------------------------------- heap */

void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return arena_make("heap", count * bytes, ARENA_PRIVATE, task_process());
}

void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return __wrap_calloc(1, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    (void)alignment; /* regions begin on a page */
    return __wrap_calloc(1, bytes);
}

char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = __wrap_calloc(1, bytes);
    arena_touch(copy, bytes);
    return memcpy(copy, text, bytes);
}

void __wrap_free(void *at);
void __wrap_free(void *at)
{
    const struct arena_region *region = arena_find(at);
    if (at == NULL)
        return;
    if (region == NULL || region->owner != task_process())
        model_fail("%s frees what is not its own: %s", task_name(task_self()), arena_name(at));
    if (!arena_free(at))
        model_fail("%s frees twice: %s", task_name(task_self()), arena_name(at));
}
