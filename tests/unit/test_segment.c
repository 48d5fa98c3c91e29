/* SPDX-License-Identifier: Apache-2.0
 *
 * test_segment.c - memory objects cannot be shrunk, a read-only descriptor cannot be mapped
 * writable, and what a peer hands over is looked at before it is mapped. */
#include "support.h"

#include "segment.h"

#include "carom.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES 8192u

static int create(size_t bytes)
{
    int fd = carom__segment_create("carom-test", bytes);
    assert_true(fd >= 0);
    return fd;
}

static void a_new_object_is_private_zeroed_and_of_its_size(void **state)
{
    (void)state;
    struct stat status;
    char bytes[BYTES];
    const char zeros[BYTES] = {0};
    int fd = create(BYTES);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, BYTES);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(status.st_nlink, 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(pread(fd, bytes, BYTES, 0), BYTES);
    assert_memory_equal(bytes, zeros, BYTES);
    close(fd);
}

static void nobody_can_shrink_it_grow_it_or_take_the_seals_off(void **state)
{
    (void)state;
    int fd = create(BYTES);
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
    assert_int_equal(ftruncate(fd, BYTES - 1), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)BYTES * 2), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    close(fd);
}

static void an_object_beyond_all_measure_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    int fd = carom__segment_create("carom-test", SIZE_MAX);
    assert_true(fd < 0);
    assert_non_null(strstr(carom_error_detail(), "carom-test"));
}

static void a_read_only_descriptor_cannot_be_mapped_writable(void **state)
{
    (void)state;
    int fd = create(BYTES), read_only = carom__segment_read_only(fd);
    assert_true(read_only >= 0 && read_only != fd);
    assert_int_equal(fcntl(read_only, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true(fcntl(read_only, F_GETFD) & FD_CLOEXEC);
    assert_null(carom__segment_map(read_only, BYTES, true));
    assert_int_equal(errno, EACCES);
    char *base = carom__segment_map(read_only, BYTES, false);
    assert_non_null(base);
    assert_int_equal(mprotect(base, BYTES, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(errno, EACCES);
    carom__segment_unmap(base, BYTES);
    close(read_only);
    close(fd);
}

static void both_descriptors_show_the_same_memory(void **state)
{
    (void)state;
    int fd = create(BYTES), read_only = carom__segment_read_only(fd);
    char *writable = carom__segment_map(fd, BYTES, true);
    const char *readable = carom__segment_map(read_only, BYTES, false);
    close(read_only);
    close(fd);
    writable[BYTES - 1] = 'x';
    assert_int_equal(readable[BYTES - 1], 'x');
    carom__segment_unmap(writable, BYTES);
    carom__segment_unmap((void *)(uintptr_t)readable, BYTES);
}

static void a_descriptor_that_is_none_cannot_be_reopened(void **state)
{
    (void)state;
    assert_true(carom__segment_read_only(-1) < 0);
    assert_true(strlen(carom_error_detail()) > 0);
}

static void unmapping_nothing_is_allowed(void **state)
{
    (void)state;
    carom__segment_unmap(NULL, BYTES);
}

static int look_for_mapping(void *base)
{
    return msync(base, BYTES, MS_ASYNC) == -1 && errno == ENOMEM ? 0 : 1;
}

static void a_child_does_not_inherit_the_mapping(void **state)
{
    (void)state;
    int fd = create(BYTES);
    char *base = carom__segment_map(fd, BYTES, true);
    close(fd);
    assert_int_equal(look_for_mapping(base), 1);
    assert_int_equal(in_child(look_for_mapping, base), 0);
    carom__segment_unmap(base, BYTES);
}

/* ---------------------------------------------------------------- checks */

static void assert_refused(int fd, size_t bytes, bool trusted, const char *why)
{
    assert_int_equal(carom__segment_check(fd, bytes, trusted), -EPROTO);
    assert_non_null(strstr(carom_error_detail(), why));
}

static void an_object_of_ours_is_accepted_up_to_its_size(void **state)
{
    (void)state;
    int fd = create(BYTES);
    assert_int_equal(carom__segment_check(fd, BYTES, false), 0);
    assert_int_equal(carom__segment_check(fd, 1, false), 0);
    assert_refused(fd, BYTES + 1, false, "8193 bytes");
    assert_refused(fd, SIZE_MAX, true, "bytes of memory");
    close(fd);
}

static void an_object_that_can_shrink_is_accepted_only_from_the_own_uid(void **state)
{
    (void)state;
    int fd = memfd_create("carom-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && ftruncate(fd, BYTES) == 0);
    assert_refused(fd, BYTES, false, "not sealed");
    assert_int_equal(carom__segment_check(fd, BYTES, true), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
    assert_refused(fd, BYTES, false, "not sealed");
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(carom__segment_check(fd, BYTES, false), 0);
    close(fd);
}

static void what_is_no_memory_is_refused(void **state)
{
    (void)state;
    int ends[2], sockets[2], folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    const int fds[] = {ends[0], ends[1], sockets[0], sockets[1], folder, null};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        assert_refused(fds[i], 1, true, "not 1 bytes of memory");
        close(fds[i]);
    }
    assert_refused(-1, 1, true, "not 1 bytes of memory");
}

static void a_file_on_disk_of_another_uid_is_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/carom-file-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, BYTES) == 0);
    unlink(path);
    assert_refused(fd, BYTES, false, "not sealed");
    close(fd);
}

/* ---------------------------------------------------------------- replacing */

static _Atomic bool replaced_enough;

static void *read_always(void *at)
{
    const volatile char *bytes = at;
    while (!atomic_load_explicit(&replaced_enough, memory_order_relaxed)) /* a flag, no more */
        require(bytes[0] >= 'a' && bytes[0] <= 'z' && bytes[BYTES - 2] >= 'a');
    return NULL;
}

static char *mapped_full_of(char letter)
{
    int fd = create(BYTES);
    char *base = carom__segment_map(fd, BYTES, true);
    close(fd);
    assert_non_null(base);
    memset(base, letter, BYTES);
    return base;
}

static void one_mapping_takes_anothers_place_at_once(void **state)
{
    (void)state;
    char *base = mapped_full_of('a');
    int mappings = carom_mappings();
    atomic_store_explicit(&replaced_enough, false, memory_order_relaxed); /* before the thread */
    pthread_t reader = thread_start(read_always, base + 1);               /* would die in a hole */
    for (int i = 0; i < ROUNDS(1000); i++) {
        char letter = (char)('a' + i % 26);
        assert_int_equal(carom__segment_replace(base, mapped_full_of(letter), BYTES), 0);
        assert_int_equal(base[0], letter);
        assert_int_equal(base[BYTES - 1], letter);
    }
    atomic_store_explicit(&replaced_enough, true, memory_order_relaxed); /* a flag, no more */
    thread_join(reader);
    assert_int_equal(carom_mappings(), mappings);
    carom__segment_unmap(base, BYTES);
}

static void what_cannot_be_moved_leaves_zeros_and_no_hole(void **state)
{
    (void)state;
    char *base = mapped_full_of('a'), *gone = mapped_full_of('b');
    carom__segment_unmap(gone, BYTES);
    assert_true(carom__segment_replace(base, gone, BYTES) < 0);
    assert_non_null(strstr(carom_error_detail(), "cannot exchange shared memory"));
    assert_int_equal(base[0], 0);
    assert_int_equal(base[BYTES - 1], 0);
    carom__segment_unmap(base, BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_new_object_is_private_zeroed_and_of_its_size),
        sentence(nobody_can_shrink_it_grow_it_or_take_the_seals_off),
        sentence(an_object_beyond_all_measure_is_an_error_and_leaves_nothing),
        sentence(a_read_only_descriptor_cannot_be_mapped_writable),
        sentence(both_descriptors_show_the_same_memory),
        sentence(a_descriptor_that_is_none_cannot_be_reopened),
        sentence(unmapping_nothing_is_allowed),
        sentence(a_child_does_not_inherit_the_mapping),
        sentence(an_object_of_ours_is_accepted_up_to_its_size),
        sentence(an_object_that_can_shrink_is_accepted_only_from_the_own_uid),
        sentence(what_is_no_memory_is_refused),
        sentence(a_file_on_disk_of_another_uid_is_refused),
        sentence(one_mapping_takes_anothers_place_at_once),
        sentence(what_cannot_be_moved_leaves_zeros_and_no_hole),
    };
    return RUN(tests);
}
