/* SPDX-License-Identifier: Apache-2.0
 *
 * request.c - what a handler does with the call it was given: read, reply, fail, keep. */
#include "error.h"
#include "failure.h"
#include "stats.h"
#include "worker.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int carom_request_method(const struct carom_request *request)
{
    return request->method;
}

const void *carom_request_data(const struct carom_request *request, size_t *length_bytes)
{
    if (carom__check_fork(request->worker->forks) < 0)
        return NULL;
    if (length_bytes != NULL)
        *length_bytes = request->claim.request_bytes;
    return carom__request_blocks(request)->request;
}

void *carom_request_reply_block(struct carom_request *request, size_t *capacity_bytes)
{
    if (carom__check_fork(request->worker->forks) < 0)
        return NULL;
    if (capacity_bytes != NULL)
        *capacity_bytes = request->lane->lane.geometry.reply_block_bytes;
    return carom__request_blocks(request)->reply;
}

CAROM__HOT void finish(struct carom_request *request, int status, size_t reply_bytes)
{
    struct carom_worker *worker = request->worker;
    carom__count(&worker->stats->calls, 1);
    carom__note_idle(worker->stats);
    request->open = false;
    if (CAROM__UNLIKELY(
            carom__lane_finish(&request->lane->lane, &request->claim, status, reply_bytes) < 0))
        carom__worker_poison(worker, request->lane);
}

void carom__request_finish(struct carom_request *request, int status, size_t reply_bytes)
{
    if (status != CAROM_OK)
        carom__count(&request->worker->stats->errors, 1);
    finish(request, status, reply_bytes);
}

/* A reply that cannot be given; nothing at all after the call was finished. */
CAROM__RARE static int refuse(const struct carom_request *request, size_t length_bytes)
{
    int rc = carom__check_fork(request->worker->forks);
    if (rc < 0 || !request->open) /* the lane of a finished request may be gone */
        return rc;
    return carom__fail(-EMSGSIZE,
                       "reply of %zu bytes is larger than the client's reply block of %llu: "
                       "open the client with a larger reply_block_bytes",
                       length_bytes,
                       (unsigned long long)request->lane->lane.geometry.reply_block_bytes);
}

int carom_request_reply(struct carom_request *request, size_t length_bytes)
{
    if (CAROM__UNLIKELY(request->worker->forks != carom__forks || !request->open ||
                        length_bytes > request->lane->lane.geometry.reply_block_bytes))
        return refuse(request, length_bytes);
    finish(request, CAROM_OK, length_bytes);
    return 0;
}

void carom_request_fail_with(struct carom_request *request, const struct carom_error *error)
{
    if (!request->open || carom__check_fork(request->worker->forks) < 0)
        return;
    int status = error->status;
    if (status <= CAROM_OK || status > CAROM_UNAUTHENTICATED)
        status = CAROM_UNKNOWN;
    size_t bytes = carom__failure_write(carom__request_blocks(request)->reply,
                                        request->lane->lane.geometry.reply_block_bytes, error);
    carom__request_finish(request, status, bytes);
}

void carom_request_fail(struct carom_request *request, int status, const char *type,
                        const char *message, const char *traceback)
{
    const struct carom_error error = {
        .status = status, .type = type, .message = message, .traceback = traceback};
    carom_request_fail_with(request, &error);
}

bool carom_request_cancelled(const struct carom_request *request)
{
    if (carom__check_fork(request->worker->forks) < 0)
        return true;
    uint64_t state = carom__lane_flags(&request->lane->lane, request->claim.slot);
    return (state & (CAROM__CANCEL | CAROM__ABANDONED)) != 0;
}

int64_t carom_request_deadline(const struct carom_request *request)
{
    return request->claim.deadline_ns;
}

void carom_request_client(const struct carom_request *request, struct carom_peer *peer)
{
    *peer = request->lane->client;
}

void carom__request_trim(struct carom_request *request)
{
    uint64_t stride = carom__block_stride(request->lane->lane.geometry.reply_block_bytes);
    char *pages = carom__block_pages(carom__request_blocks(request)->reply);
    if (stride > CAROM__KEEP_BYTES)
        madvise(pages + CAROM__KEEP_BYTES, stride - CAROM__KEEP_BYTES, MADV_REMOVE);
}

/* ---------------------------------------------------------------- detach */

/* Size of the pages that hold the first length_bytes of a block. */
static size_t detached_bytes(const void *block, size_t length_bytes)
{
    size_t before = (size_t)((const char *)block - (const char *)carom__block_pages(block));
    return (before + length_bytes + CAROM__PAGE_BYTES - 1) & ~(size_t)(CAROM__PAGE_BYTES - 1);
}

/* Maps the pages of a shared block a second time, elsewhere. mremap with an old size of 0 does that
 * without a descriptor (mremap(2), "MREMAP_MAYMOVE"). */
static void *map_again(void *pages, size_t bytes)
{
    void *again = mremap(pages, 0, bytes, MREMAP_MAYMOVE);
    if (again == MAP_FAILED)
        return NULL;
    madvise(again, bytes, MADV_DONTDUMP);
    madvise(again, bytes, MADV_DONTFORK);
    return again;
}

/* Moves a mapping to where another one is, which goes in one step, so that a thread that reads
 * through an escaped pointer never meets a hole. 0 or a negative errno: then the kernel may have
 * unmapped the other one before it failed. */
static int move_over(void *from, size_t bytes, void *to)
{
    void *moved = mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    return moved != MAP_FAILED ? 0 : -errno;
}

/* Puts a private copy of `bytes` at the address of shared pages, which are mapped `again`
 * elsewhere. On failure they are back at their address, or elsewhere only, as *again then says. */
static int replace_by_copy(char *pages, size_t bytes, size_t stride, char **again)
{
    void *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        int error = -errno;
        munmap(*again, stride);
        *again = pages;
        return error;
    }
    memcpy(copy, pages, bytes);
    int rc = move_over(copy, bytes, pages);
    if (rc == 0)
        return 0;
    munmap(copy, bytes);
    if (move_over(*again, stride, pages) == 0)
        *again = pages;
    return rc;
}

int carom_request_detach(struct carom_request *request, enum carom_block which, size_t length_bytes)
{
    struct carom__blocks *blocks = carom__request_blocks(request);
    const struct carom__geometry *geometry = &request->lane->lane.geometry;
    bool is_request = which == CAROM_REQUEST_BLOCK;
    size_t block_bytes = is_request ? geometry->request_block_bytes : geometry->reply_block_bytes;
    size_t stride = carom__block_stride(block_bytes);
    const char *block = is_request ? blocks->request : blocks->reply;
    char *pages = carom__block_pages(block);
    if (carom__check_fork(request->worker->forks) < 0)
        return -ECHILD;
    if (length_bytes == 0 || length_bytes > block_bytes)
        return carom__fail(-EINVAL, "cannot detach %zu bytes of a block of %zu", length_bytes,
                           block_bytes);
    char *again = map_again(pages, stride);
    if (again == NULL)
        return carom__fail_errno(-errno, "cannot map a block a second time");
    size_t bytes = detached_bytes(block, length_bytes);
    int rc = replace_by_copy(pages, bytes, stride, &again);
    if (rc == 0 && bytes < stride)
        munmap(pages + bytes, stride - bytes);
    if (is_request)
        blocks->request = again + (block - pages);
    else
        blocks->reply = again + (block - pages);
    return rc < 0 ? carom__fail_errno(rc, "cannot copy a block") : 0;
}

void carom_detached_free(void *address, size_t length_bytes)
{
    if (address != NULL)
        munmap(carom__block_pages(address), detached_bytes(address, length_bytes));
}
