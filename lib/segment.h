/* SPDX-License-Identifier: Apache-2.0
 *
 * segment.h - memory objects: made, checked, handed over as file descriptors, mapped.
 *
 * An object is a sealed memfd: nobody can shrink it under another's mapping (SIGBUS) and it has no
 * name that could stay behind. Where memfd_create is missing, or a filter refuses it, it is a file
 * in /dev/shm that never has a name (O_TMPFILE), or where that is missing, too, one that is
 * unlinked at once; such an object cannot be sealed, so it is accepted only from the own uid. */
#ifndef CAROM_SEGMENT_H
#define CAROM_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Makes an object of `bytes` zero bytes, mode 0600, close-on-exec. `name` is for /proc/PID/maps.
 *  Returns its fd or a negative errno with its sentence. */
int carom__segment_create(const char *name, size_t bytes);

/** The same for the request or reply blocks of a lane, of which only the first 4 KiB of each
 *  are certain to be there (see segment.c on /dev/shm). */
int carom__segment_create_blocks(const char *name, uint32_t slots, uint64_t block_bytes);

/** Whether this process may make a file of that size (ulimit -f): beyond it the kernel sends a
 *  signal that ends the process. 0, or -EFBIG with its sentence. */
int carom__segment_check_size(uint64_t bytes);

/** A second fd on the same object through which it cannot be mapped writable. */
int carom__segment_read_only(int fd);

/** Whether a foreign fd may be mapped: a memory object of at least `bytes`, sealed against
 *  shrinking unless `trusted`. 0, or a negative errno (-EPROTO: it is not) with its sentence. */
int carom__segment_check(int fd, size_t bytes, bool trusted);

/** Maps the first `bytes`. NULL with errno set on failure. Not inherited by fork, not in core
 *  dumps; costs address space only until touched. */
void *carom__segment_map(int fd, size_t bytes, bool writable);

/** Has the kernel map the pages of [at, at + bytes) now, so that the first call does not wait for
 *  that. Only a hint: kernels before 5.14 do nothing. */
void carom__segment_prefault(const void *at, size_t bytes, bool writable);

/** Moves the mapping `fresh` to where the mapping `old` is, which goes in the same moment: a thread
 *  that reads there finds the one or the other. Both have `bytes` bytes.
 *  0, or a negative errno: then there are zeros at `old`, and `fresh` is as it was. */
int carom__segment_replace(void *old, void *fresh, size_t bytes);

/** Unmaps; NULL is allowed. */
void carom__segment_unmap(void *base, size_t bytes);

#endif
