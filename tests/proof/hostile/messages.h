/* SPDX-License-Identifier: Apache-2.0
 *
 * messages.h - control messages as an input describes them: a proper one, of which some fields, the
 * length and the descriptors beside it are as the input says. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "control.h"
#include "fuzzing.h"

/** Opens a descriptor of some kind, as a peer that sends it could. */
int message_fd(struct fuzz_input *input);

/** Adds a descriptor. */
void message_add(struct kernel_message *message, int fd);

/** Closes what has not been sent. */
void message_drop_fds(struct kernel_message *message);

/** Changes bytes of a message, perhaps its length, perhaps its descriptors; sets its header's size,
 *  perhaps. */
void message_spoil(struct kernel_message *message, struct fuzz_input *input);

/** Changes a geometry. */
void message_spoil_geometry(struct carom__geometry *geometry, struct fuzz_input *input);

#endif
