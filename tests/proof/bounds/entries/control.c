/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c - what comes in over the control socket: control.c on every length and any number of
 * descriptors, and the host's reading of a HELLO. The kernel alone writes control headers. */
#include "lib/control.c"

#include "kernel.h"
#include "peer.h"

#define CAPACITY sizeof(struct carom__lane_news)

static void with_message(void)
{
    struct carom__fds fds;
    char buffer[CAPACITY]; /* not initialized: what did not come must not be looked at */
    int length = carom__receive(any_int, buffer, sizeof buffer, &fds, maybe());
    //@ assert length_fits: length <= 56;
    if (length < 0) {
        //@ assert none_on_failure: fds.count == 0;
        return;
    }
    //@ assert fds_fit: fds.count <= 5;
    if (carom__is_message(buffer, length, CAROM__LANE, CAPACITY))
        (void)(((struct carom__lane_news *)buffer)->lane);
    if (carom__is_message(buffer, length, CAROM__LEAVE, sizeof(struct carom__header)))
        (void)(((struct carom__header *)buffer)->type);
    carom__take_fd(&fds, any32);
    carom__take_fd(&fds, 0);
    carom__close_fds(&fds);
}

void entry_receive(void)
{
    //@ loop unroll 64;
    for (kernel_length = 0; kernel_length <= CAPACITY; kernel_length++) {
        //@ loop unroll 8;
        for (kernel_fds = 0; kernel_fds <= CAROM__MESSAGE_FDS; kernel_fds++)
            with_message();
    }
}
