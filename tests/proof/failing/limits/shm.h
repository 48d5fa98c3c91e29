/* SPDX-License-Identifier: Apache-2.0
 *
 * shm.h - a small /dev/shm. */
#ifndef SHM_H
#define SHM_H

/** With all degrees of filling: works, or is refused in words; nothing stays there. */
void limit_shm(void);

#endif
