/* SPDX-License-Identifier: Apache-2.0
 *
 * host_quarantine.c - keeps a request that has killed workers, for somebody to look at: in a file
 * of its own that appears whole or not at all. */
#include "error.h"
#include "host.h"
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif
/** Names that are tried when others stand there already: of a host with the same process id in
 *  another container, within the same second. */
#define ATTEMPTS 16

int carom__host_quarantine_open(struct carom_host *host, const char *folder)
{
    struct stat status;
    if (folder == NULL)
        return 0;
    if (stat(folder, &status) != 0)
        return carom__fail(-errno, "the quarantine folder %s cannot be used: %s", folder,
                           strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return carom__fail(-EINVAL, "the quarantine folder %s is not a folder", folder);
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0)
        return carom__fail(-errno, "the quarantine folder %s cannot be written to: %s", folder,
                           strerror(errno));
    host->quarantine_folder = realpath(folder, NULL);
    if (host->quarantine_folder == NULL)
        return carom__fail(-errno, "the quarantine folder %s cannot be used: %s", folder,
                           strerror(errno));
    return 0;
}

/* ---------------------------------------------------------------- its name */

/* What can stand in any file name, and nothing that makes it a hidden one. */
static void make_safe(char *text)
{
    const char *harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    for (char *at = text; *at != '\0'; at++) {
        if (strchr(harmless, *at) == NULL || (at == text && *at == '.'))
            *at = '_';
    }
}

static int make_name(struct carom_host *host, const char *method, char name[NAME_MAX])
{
    char service[CAROM__SERVICE_NAME_BYTES], safe_method[CAROM__METHOD_NAME_BYTES], when[32];
    const time_t now = time(NULL);
    struct tm utc;
    snprintf(service, sizeof service, "%s", host->name);
    snprintf(safe_method, sizeof safe_method, "%s", method);
    make_safe(service);
    make_safe(safe_method);
    if (gmtime_r(&now, &utc) == NULL || strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &utc) == 0)
        return carom__fail(-EOVERFLOW, "the clock shows no date");
    snprintf(name, NAME_MAX, "%s-%s-%s-%d-%u.request", service, safe_method, when, (int)getpid(),
             host->kept++);
    return 0;
}

/* ---------------------------------------------------------------- its content */

static int copy_request(int file, const struct carom__host_lane *lane, uint32_t slot,
                        uint64_t request_bytes)
{
    uint64_t block_bytes = lane->geometry.request_block_bytes;
    off_t at = (off_t)carom__block_offset(slot, block_bytes);
    for (uint64_t left = request_bytes; left > 0;) {
        ssize_t copied = sendfile(file, lane->requests_fd, &at, left);
        if (copied < 0 && errno == EINTR)
            continue;
        if (copied < 0)
            return -errno;
        if (copied == 0) /* an object that is not sealed, cut by its client */
            return -EFAULT;
        left -= (uint64_t)copied;
    }
    return 0;
}

/* Some file systems tell only now that there is no room. */
static int finish(int file, const char *temporary, const char *path)
{
    if (close(file) != 0)
        return -errno;
#ifdef SYS_renameat2
    if (syscall(SYS_renameat2, AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != ENOSYS && errno != EINVAL)
        return -errno;
#endif
    return rename(temporary, path) == 0 ? 0 : -errno;
}

static int keep(const char *temporary, const char *path, const struct carom__host_lane *lane,
                uint32_t slot, uint64_t request_bytes)
{
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return -errno;
    int rc = copy_request(file, lane, slot, request_bytes);
    if (rc < 0)
        close(file);
    else
        rc = finish(file, temporary, path);
    if (rc < 0)
        unlink(temporary);
    return rc;
}

int carom__host_quarantine(struct carom_host *host, const struct carom__host_lane *lane,
                           uint32_t slot, const char *method, char *path)
{
    char name[NAME_MAX], temporary[CAROM__KEPT_BYTES];
    /* relaxed: published by SUBMITTED; loaded once and checked */
    uint64_t request_bytes = atomic_load_explicit(&lane->lane.slots[slot].request_bytes,
                                                  memory_order_relaxed);
    int rc = -EEXIST;
    if (request_bytes > lane->geometry.request_block_bytes)
        return carom__fail(-EPROTO, "its client claims a length of %llu bytes, which cannot be",
                           (unsigned long long)request_bytes);
    if (carom__segment_check_size(request_bytes) < 0)
        return -EFBIG;
    for (int attempt = 0; attempt < ATTEMPTS && rc == -EEXIST; attempt++) {
        rc = make_name(host, method, name);
        if (rc < 0)
            return rc;
        int length = snprintf(path, CAROM__KEPT_BYTES, "%s/%s", host->quarantine_folder, name);
        int hidden = snprintf(temporary, sizeof temporary, "%s/.%s.part", host->quarantine_folder,
                              name);
        if (length >= (int)CAROM__KEPT_BYTES || hidden >= (int)sizeof temporary)
            return carom__fail(-ENAMETOOLONG, "%s", strerror(ENAMETOOLONG));
        rc = keep(temporary, path, lane, slot, request_bytes);
    }
    if (rc == -EFAULT)
        return carom__fail(rc, "its client has taken the memory away");
    return rc < 0 ? carom__fail(rc, "%s", strerror(-rc)) : 0;
}
