/* SPDX-License-Identifier: Apache-2.0
 *
 * messages.c - spoiled messages. See messages.h. */
#include "messages.h"

#include "kernel_calls.h"

#include <string.h>

int message_fd(struct fuzz_input *input)
{
    unsigned how = (unsigned)fuzz_take(input, 1);
    static const uint64_t sizes[] = {0, 1, 4096, 65536, 1 << 20, UINT64_C(1) << 40, 131072, 8192};
    struct kernel_fd fd = {
        .kind = (enum kernel_kind)(KERNEL_SOCKET + how % (KERNEL_KINDS - KERNEL_SOCKET)),
        .read_only = how & 8,
        .hung_up = (how & 0x70) == 0x70,
        .seals = how & 0x80 ? -1 : 7,
        .bytes = sizes[how >> 4 & 7],
    };
    return kernel_open(fd);
}

void message_add(struct kernel_message *message, int fd)
{
    if (fd < 0)
        return;
    if (message->fd_count < sizeof message->fds / sizeof message->fds[0])
        message->fds[message->fd_count++] = fd;
}

static void drop_fd(struct kernel_message *message)
{
    if (message->fd_count > 0)
        kernel_close(message->fds[--message->fd_count]);
}

void message_drop_fds(struct kernel_message *message)
{
    while (message->fd_count > 0)
        drop_fd(message);
}

static void spoil_once(struct kernel_message *message, struct fuzz_input *input, bool *sized)
{
    unsigned at = (unsigned)fuzz_take(input, 1), how = at & 7;
    if (how == 0 && message->fd_count < sizeof message->fds / sizeof message->fds[0])
        message_add(message, message_fd(input));
    else if (how == 1)
        drop_fd(message);
    else if (how == 2)
        message->length = fuzz_take(input, 2) % KERNEL_MESSAGE_BYTES;
    else if (how == 3)
        message->length += (size_t)(fuzz_take(input, 1) - 128);
    else if (how == 4)
        *sized = false;
    else
        message->bytes[fuzz_take(input, 1)] = (unsigned char)fuzz_take(input, 1);
    if (message->length > KERNEL_MESSAGE_BYTES)
        message->length = 0;
}

void message_spoil(struct kernel_message *message, struct fuzz_input *input)
{
    struct carom__header header;
    bool sized = true;
    for (unsigned count = (unsigned)fuzz_take(input, 1) % 8; count > 3; count--)
        spoil_once(message, input, &sized);
    memcpy(&header, message->bytes, sizeof header);
    header.size_bytes = sized ? (uint32_t)message->length : header.size_bytes;
    memcpy(message->bytes, &header, sizeof header);
}

void message_spoil_geometry(struct carom__geometry *geometry, struct fuzz_input *input)
{
    static const uint64_t sizes[] = {0, 1, 4096, 8192, 65536, UINT64_C(1) << 40, 4095, UINT64_MAX};
    unsigned how = (unsigned)fuzz_take(input, 1);
    if (how < 128)
        return;
    geometry->slots = how & 1 ? 1u << (how >> 1 & 15) : (uint32_t)fuzz_take(input, how % 5);
    geometry->ring_cells = geometry->slots * (how & 2 ? CAROM__CELLS_PER_SLOT : how & 7);
    geometry->request_block_bytes = sizes[how >> 2 & 7];
    geometry->reply_block_bytes = sizes[fuzz_take(input, 1) & 7];
}
