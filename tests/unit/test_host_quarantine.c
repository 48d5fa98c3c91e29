/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host_quarantine.c - a request that killed workers is kept whole or not at all: its bytes,
 * its name, and every way in which writing it fails. */
#include "support.h"

#include "host.h"
#include "lanes.h"
#include "service.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 4u

static struct test_lane made;
static struct carom__host_lane kept_lane;
static struct carom_host keeper;
static char folder[128];
static char path[CAROM__KEPT_BYTES];

static int make(void **state)
{
    int rc = before_test(state);
    test_lane_make(&made, SLOTS);
    kept_lane = (struct carom__host_lane){.lane = made.lane, .geometry = made.lane.geometry};
    kept_lane.geometry.request_block_bytes = 1 << 20;
    kept_lane.requests_fd = memfd_create("carom-test", MFD_CLOEXEC);
    require(kept_lane.requests_fd >= 0);
    require(ftruncate(kept_lane.requests_fd, (off_t)carom__blocks_bytes(SLOTS, 1 << 20)) == 0);
    keeper = (struct carom_host){.name = "unit"};
    snprintf(folder, sizeof folder, "%s/kept", test_folder());
    require(mkdir(folder, 0700) == 0);
    require(carom__host_quarantine_open(&keeper, folder) == 0);
    return rc;
}

static int entries(char *last)
{
    int count = 0;
    DIR *open = opendir(folder);
    require(open != NULL);
    for (struct dirent *entry; (entry = readdir(open)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(last, 256, "%s", entry->d_name);
        count++;
    }
    closedir(open);
    return count;
}

static int drop(void **state)
{
    char name[256], whole[512];
    while (access(folder, F_OK) == 0 && entries(name) > 0) {
        snprintf(whole, sizeof whole, "%s/%s", folder, name);
        require(unlink(whole) == 0);
    }
    rmdir(folder);
    free(keeper.quarantine_folder);
    close(kept_lane.requests_fd);
    test_lane_drop(&made);
    return after_test(state);
}

#define kept(test) cmocka_unit_test_setup_teardown(test, make, drop)

/* A request of `bytes` bytes in a slot, each telling its place. */
static void fill(uint32_t slot, size_t bytes)
{
    off_t at = (off_t)carom__block_offset(slot, kept_lane.geometry.request_block_bytes);
    unsigned char *content = malloc(bytes + 1);
    require(content != NULL);
    for (size_t i = 0; i < bytes; i++)
        content[i] = (unsigned char)(i * 31 + slot);
    require(pwrite(kept_lane.requests_fd, content, bytes, at) == (ssize_t)bytes);
    free(content);
    atomic_store(&kept_lane.lane.slots[slot].request_bytes, bytes);
}

static void assert_content(uint32_t slot, size_t bytes)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &status), 0);
    assert_int_equal(status.st_size, bytes);
    assert_int_equal(status.st_mode & 0777, 0600);
    for (size_t i = 0; i < bytes; i++) {
        int byte = getc(file);
        if (byte != (unsigned char)(i * 31 + slot))
            fail_msg("byte %zu is %d", i, byte);
    }
    (void)fclose(file);
}

static int keep(uint32_t slot, const char *method)
{
    return carom__host_quarantine(&keeper, &kept_lane, slot, method, path);
}

/* ---------------------------------------------------------------- what is kept */

static void requests_are_kept_byte_by_byte(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 4096, 70001, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t slot = (uint32_t)i % SLOTS;
        fill(slot, sizes[i]);
        assert_int_equal(keep(slot, "resize"), 0);
        assert_content(slot, sizes[i]);
    }
    char name[256];
    assert_int_equal(entries(name), 5); /* and nothing half beside them */
}

static void the_name_says_service_method_time_and_host(void **state)
{
    (void)state;
    char start[256], end[64];
    snprintf(start, sizeof start, "%s/unit-resize-20", folder);
    snprintf(end, sizeof end, "Z-%d-0.request", (int)getpid());
    assert_int_equal(keep(0, "resize"), 0);
    assert_memory_equal(path, start, strlen(start));
    assert_string_equal(path + strlen(path) - strlen(end), end);
    assert_int_equal(strlen(path), strlen(start) + strlen("yymmddTHHMMSS") + strlen(end));
}

static void a_name_leads_nowhere_else(void **state)
{
    (void)state;
    char longest[CAROM__METHOD_NAME_BYTES], name[256];
    const char *methods[] = {"../../etc/passwd", ".hidden", "", "a b\tc\n", "\xc3\xa4", longest};
    memset(longest, '/', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memset(keeper.name, 'n', sizeof keeper.name - 1);
    memcpy(keeper.name, "..", 2);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        assert_int_equal(keep(0, methods[i]), 0);
        assert_null(strchr(path + strlen(folder) + 1, '/'));
        assert_int_not_equal(path[strlen(folder) + 1], '.');
        assert_int_equal(access(path, F_OK), 0);
    }
    assert_int_equal(entries(name), 6);
}

static void a_file_that_is_there_already_stays_as_it_is(void **state)
{
    (void)state;
    char name[256], when[32];
    struct stat status;
    time_t now = time(NULL);
    for (int later = 0; later < 60; later++) { /* whatever second it will be */
        const time_t then = now + later;
        struct tm utc;
        gmtime_r(&then, &utc);
        strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &utc);
        snprintf(path, sizeof path, "%s/unit-m-%s-%d-0.request", folder, when, (int)getpid());
        close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    fill(0, 100);
    assert_int_equal(keep(0, "m"), 0);
    assert_non_null(strstr(path, "-1.request"));
    assert_content(0, 100);
    assert_int_equal(entries(name), 61);
    snprintf(name, sizeof name, "%.*s-0.request", (int)(strlen(path) - strlen("-1.request")), path);
    assert_int_equal(stat(name, &status), 0);
    assert_int_equal(status.st_size, 0);
}

/* ---------------------------------------------------------------- what cannot be kept */

static void assert_not_kept(int error, const char *words)
{
    char name[256];
    assert_int_equal(keep(0, "resize"), error);
    if (strstr(carom_error_detail(), words) == NULL)
        print_error("'%s' is not in '%s'\n", words, carom_error_detail());
    assert_non_null(strstr(carom_error_detail(), words));
    if (access(folder, F_OK) == 0)
        assert_int_equal(entries(name), 0);
}

static void a_length_that_cannot_be_is_not_believed(void **state)
{
    (void)state;
    const uint64_t lengths[] = {(1 << 20) + 1, UINT64_C(1) << 40, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        atomic_store(&kept_lane.lane.slots[0].request_bytes, lengths[i]);
        assert_not_kept(-EPROTO, "cannot be");
    }
}

static void memory_that_was_cut_leaves_no_half_file(void **state)
{
    (void)state;
    fill(0, 1 << 20);
    assert_int_equal(ftruncate(kept_lane.requests_fd, 4096), 0);
    assert_not_kept(-EFAULT, "taken the memory away");
}

static void a_folder_that_is_gone_is_named(void **state)
{
    (void)state;
    assert_int_equal(rmdir(folder), 0);
    assert_not_kept(-ENOENT, "No such file or directory");
}

static int keep_as_nobody(void *unused)
{
    (void)unused;
    struct carom_host host = {.name = "unit"};
    if (geteuid() == 0)
        require(setgid(65534) == 0 && setuid(65534) == 0);
    require(keep(0, "resize") == -EACCES);
    require(strstr(carom_error_detail(), "Permission denied") != NULL);
    require(carom__host_quarantine_open(&host, folder) == -EACCES);
    require(strstr(carom_error_detail(), "cannot be written to") != NULL);
    return 0;
}

static void a_folder_without_permission_is_named(void **state)
{
    (void)state;
    char name[256];
    assert_int_equal(chmod(test_folder(), 0755), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(in_child(keep_as_nobody, NULL), 0);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_int_equal(entries(name), 0);
}

/* Puts a disk of one page on the folder, for this process alone: as root, or as root of a user
 * namespace of its own. */
static bool mount_small_disk(void)
{
    return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", folder, "tmpfs", 0, "size=4k") == 0;
}

static int keep_on_a_small_disk(void *unused)
{
    char name[256];
    (void)unused;
    if (!mount_small_disk())
        return 77;
    fill(0, 70001);
    require(keep(0, "resize") == -ENOSPC);
    require(strcmp(carom_error_detail(), "No space left on device") == 0);
    require(entries(name) == 0); /* not even a part of it */
    fill(1, 4000);
    require(keep(1, "resize") == 0); /* the room has been given back */
    return 0;
}

static void a_full_disk_keeps_nothing(void **state)
{
    (void)state;
    int result = in_child(keep_on_a_small_disk, NULL);
    if (result == 77) {
        print_message("no small disk without root or user namespaces (unshare -Urm); see below\n");
        skip();
    }
    assert_int_equal(result, 0);
}

/* The same without any right to mount: files may not grow beyond a limit. */
static int keep_below_a_limit(void *unused)
{
    char name[256];
    const struct rlimit limit = {4096, 4096};
    (void)unused;
    fill(0, 70001);
    fill(1, 4000);
    require(setrlimit(RLIMIT_FSIZE, &limit) == 0); /* whose signal would end this process */
    require(keep(0, "resize") == -EFBIG);
    require(strstr(carom_error_detail(), "ulimit -f") != NULL);
    require(entries(name) == 0);
    require(keep(1, "resize") == 0);
    return 0;
}

static void a_file_that_cannot_be_finished_is_not_kept(void **state)
{
    (void)state;
    assert_int_equal(in_child(keep_below_a_limit, NULL), 0);
}

/* ---------------------------------------------------------------- the option */

static void assert_folder_refused(const char *wanted, int error, const char *words)
{
    struct carom_host *host;
    struct carom_host_options options = {.size = sizeof options, .quarantine_folder = wanted};
    assert_int_equal(carom_host_open(SERVICE, &options, &host), error);
    assert_non_null(strstr(carom_error_detail(), words));
}

static void a_host_refuses_a_folder_that_is_none(void **state)
{
    (void)state;
    assert_folder_refused("/nowhere/at/all", -ENOENT, "/nowhere/at/all cannot be used");
    assert_folder_refused("/dev/null", -EINVAL, "is not a folder");
    assert_folder_refused("", -ENOENT, "cannot be used");
}

static void a_folder_may_be_named_from_where_the_host_stands(void **state)
{
    (void)state;
    char here[512];
    struct carom_host host = {.name = "unit"};
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(test_folder()), 0);
    int rc = carom__host_quarantine_open(&host, "kept");
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rc, 0);
    assert_string_equal(host.quarantine_folder, folder);
    free(host.quarantine_folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        kept(requests_are_kept_byte_by_byte),
        kept(the_name_says_service_method_time_and_host),
        kept(a_name_leads_nowhere_else),
        kept(a_file_that_is_there_already_stays_as_it_is),
        kept(a_length_that_cannot_be_is_not_believed),
        kept(memory_that_was_cut_leaves_no_half_file),
        kept(a_folder_that_is_gone_is_named),
        kept(a_folder_without_permission_is_named),
        kept(a_full_disk_keeps_nothing),
        kept(a_file_that_cannot_be_finished_is_not_kept),
        kept(a_host_refuses_a_folder_that_is_none),
        kept(a_folder_may_be_named_from_where_the_host_stands),
    };
    return RUN(tests);
}
