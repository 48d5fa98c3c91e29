/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.h - how an entry tells recvmsg (world.c) what arrives. The bytes are any; an entry goes
 * through every length and number of descriptors, because EVA knows then what is initialized. */
#ifndef BOUNDS_KERNEL_H
#define BOUNDS_KERNEL_H

#include <stddef.h>

extern size_t kernel_length;    /* of the next messages */
extern size_t kernel_fds;       /* that come with each */
extern const void *kernel_text; /* what a message begins with; NULL: any bytes */
extern size_t kernel_text_bytes;

#endif
