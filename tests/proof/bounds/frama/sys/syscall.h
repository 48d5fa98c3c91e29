/* SPDX-License-Identifier: Apache-2.0
 *
 * syscall.h - Frama-C's C library has none; world.c answers anything. */
#ifndef BOUNDS_SYSCALL_H
#define BOUNDS_SYSCALL_H
#define SYS_pidfd_open 434
#endif
