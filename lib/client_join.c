/* SPDX-License-Identifier: Apache-2.0
 *
 * client_join.c - becoming a client of a host: the requests' memory is made and handed over, the
 * rest comes back and is mapped. The same for the first connection and for every later one. */
#include "client.h"
#include "error.h"
#include "segment.h"

#include <errno.h>
#include <unistd.h>

static size_t requests_bytes(const struct carom__geometry *geometry)
{
    return carom__blocks_bytes(geometry->slots, geometry->request_block_bytes);
}

static size_t replies_bytes(const struct carom__geometry *geometry)
{
    return carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes);
}

static int map_fd(struct carom__fds *fds, uint32_t index, size_t bytes, bool writable, void **at)
{
    int rc = carom__segment_check(fds->fd[index], bytes, true);
    if (rc < 0)
        return rc;
    *at = carom__segment_map(fds->fd[index], bytes, writable);
    return *at != NULL ? 0 : carom__fail_errno(-errno, "cannot map the lane");
}

/* Maps what WELCOME brought: lane control, replies, bell, directory. */
static int map_objects(struct carom__joined *joined, struct carom__fds *fds,
                       const struct carom__geometry *geometry)
{
    int rc = map_fd(fds, 0, carom__control_bytes(geometry), true, &joined->control);
    if (rc == 0)
        rc = map_fd(fds, 1, replies_bytes(geometry), false, &joined->replies);
    if (rc == 0)
        rc = map_fd(fds, 2, sizeof(struct carom__bell), true, &joined->bell);
    if (rc == 0)
        rc = map_fd(fds, 3, sizeof(struct carom__directory), false, &joined->directory);
    return rc;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void prefault(const struct carom__joined *joined, const struct carom__geometry *geometry)
{
    carom__segment_prefault(joined->control,
                            least(carom__control_bytes(geometry), CAROM__PREFAULT_CONTROL_BYTES),
                            true);
    carom__segment_prefault(joined->requests, CAROM__PREFAULT_BLOCK_BYTES, true);
    carom__segment_prefault(joined->replies, CAROM__PREFAULT_BLOCK_BYTES, false);
    carom__segment_prefault(joined->bell, sizeof(struct carom__bell), true);
}

/* Returns a descriptor of the requests through which they cannot be mapped writable. */
static int make_requests(struct carom__joined *joined, const struct carom__geometry *geometry)
{
    int fd = carom__segment_create_blocks("carom-requests", geometry->slots,
                                          geometry->request_block_bytes);
    if (fd < 0)
        return fd;
    joined->requests = carom__segment_map(fd, requests_bytes(geometry), true);
    int read_only_fd = joined->requests != NULL
                           ? carom__segment_read_only(fd)
                           : carom__fail_errno(-errno, "cannot map the requests");
    close(fd); /* from here on nobody can map the requests writable again */
    return read_only_fd;
}

static int shake_hands(struct carom__joined *joined, const struct carom__geometry *geometry,
                       int64_t deadline_ns)
{
    struct carom__hello hello = {.role = CAROM__CLIENT, .geometry = *geometry};
    struct carom__welcome welcome;
    struct carom__fds fds;
    int requests_fd = make_requests(joined, geometry);
    if (requests_fd < 0)
        return requests_fd;
    int rc = carom__shake_hands(&joined->connection, &hello, sizeof hello, requests_fd, deadline_ns,
                                &welcome, &fds, 4);
    close(requests_fd);
    if (rc < 0)
        return rc;
    joined->lane_id = welcome.id;
    rc = welcome.id < CAROM__MAX_LANES ? map_objects(joined, &fds, geometry)
                                       : carom__fail(-EPROTO, "the host named a lane out of range");
    carom__close_fds(&fds);
    if (rc == 0)
        prefault(joined, geometry);
    return rc;
}

int carom__join(int socket, const struct carom__geometry *geometry, int64_t deadline_ns,
                struct carom__joined *joined)
{
    *joined = (struct carom__joined){.connection = {socket, -1}};
    int rc = shake_hands(joined, geometry, deadline_ns);
    if (rc < 0)
        carom__unjoin(joined, geometry);
    return rc;
}

void carom__unjoin(struct carom__joined *joined, const struct carom__geometry *geometry)
{
    carom__segment_unmap(joined->control, carom__control_bytes(geometry));
    carom__segment_unmap(joined->requests, requests_bytes(geometry));
    carom__segment_unmap(joined->replies, replies_bytes(geometry));
    carom__segment_unmap(joined->bell, sizeof(struct carom__bell));
    carom__segment_unmap(joined->directory, sizeof(struct carom__directory));
    carom__disconnect(&joined->connection);
    *joined = (struct carom__joined){.connection = {-1, -1}};
}
