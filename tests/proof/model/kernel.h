/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.h - the modelled kernel: what a process gets from it, and what becomes of that when the
 * process ends. The functions that the library calls are defined in kernel_*.c under the names that
 * the linker's --wrap gives them (__wrap_mmap for mmap and so on). */
#ifndef KERNEL_H
#define KERNEL_H

#include "model.h"

#include <poll.h>
#include <sys/socket.h>

void kernel_reset(void);

/** An execution begins. */
void kernel_begin(void);

/** Its descriptors are closed, its mappings gone; those who watch it are told. */
void kernel_process_ended(unsigned process);

/** For weak.h: who notices the end of a process has seen all that it did. */
const void *kernel_death_channel(unsigned process);

/** Descriptors and mappings that a process has. */
unsigned kernel_descriptors(unsigned process);
unsigned kernel_mappings(unsigned process);

/** Whether a process maps the object at an address so that it may write there. */
bool kernel_may_write(unsigned process, const void *at);
bool kernel_may_read(unsigned process, const void *at);

#endif
