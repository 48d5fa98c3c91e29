/* SPDX-License-Identifier: Apache-2.0
 *
 * test_address.c - from the name of a service to the address of its socket, and whose
 * folder it is. */
#include "support.h"

#include "address.h"

#include "carom.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct sockaddr_un address;

static void in_folder(const char *name, char *path)
{
    snprintf(path, CAROM__PATH_MAX + 1, "%s/%s", test_folder(), name);
}

static void assert_refused(const char *service, int error, const char *why)
{
    assert_int_equal(carom__address(service, false, &address), error);
    assert_non_null(strstr(carom_error_detail(), why));
}

/* ---------------------------------------------------------------- the folder */

static void assert_folder(const char *expected)
{
    char folder[256];
    assert_int_equal(carom_service_folder(folder, sizeof folder), 0);
    assert_string_equal(folder, expected);
}

static void the_folder_is_carom_dir_then_the_runtime_folder_then_one_in_tmp(void **state)
{
    (void)state;
    char in_tmp[64], *before = getenv("XDG_RUNTIME_DIR");
    before = before != NULL ? strdup(before) : NULL;
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_folder(test_folder());
    setenv("CAROM_DIR", "", 1);
    assert_folder("/run/user/7/carom");
    unsetenv("CAROM_DIR");
    assert_folder("/run/user/7/carom");
    setenv("XDG_RUNTIME_DIR", "", 1);
    snprintf(in_tmp, sizeof in_tmp, "/tmp/carom-%u", (unsigned)geteuid());
    assert_folder(in_tmp);
    unsetenv("XDG_RUNTIME_DIR");
    assert_folder(in_tmp);
    if (before != NULL)
        setenv("XDG_RUNTIME_DIR", before, 1);
    free(before);
}

static void a_folder_that_does_not_fit_its_buffer_is_too_long(void **state)
{
    (void)state;
    char folder[64];
    size_t length = strlen(test_folder());
    assert_int_equal(carom_service_folder(folder, length), -ENAMETOOLONG);
    assert_int_equal(carom_service_folder(folder, length + 1), 0);
}

static void a_missing_folder_is_made_for_a_host_and_for_nobody_else(void **state)
{
    (void)state;
    char path[CAROM__PATH_MAX + 1];
    struct stat status;
    in_folder("made", path);
    setenv("CAROM_DIR", path, 1);
    assert_int_equal(carom__address("photo", false, &address), 0); /* connecting says ENOENT */
    assert_int_equal(stat(path, &status), -1);
    assert_int_equal(carom__address("photo", true, &address), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(rmdir(path), 0);
}

static void a_folder_in_which_others_can_write_is_refused(void **state)
{
    (void)state;
    const mode_t modes[] = {0770, 0720, 0707, 0702, 01777};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(chmod(test_folder(), modes[i]), 0);
        assert_refused("photo", -EACCES, "CAROM_DIR");
        assert_int_equal(carom__address("photo", true, &address), -EACCES);
    }
    assert_int_equal(chmod(test_folder(), 0755), 0);
    assert_int_equal(carom__address("photo", false, &address), 0);
}

static void a_folder_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can make one */
    assert_int_equal(chown(test_folder(), 12345, 12345), 0);
    int rc = carom__address("photo", true, &address);
    assert_int_equal(chown(test_folder(), 0, 0), 0);
    assert_int_equal(rc, -EACCES);
}

static void a_folder_that_is_a_link_or_a_file_is_refused(void **state)
{
    (void)state;
    char path[CAROM__PATH_MAX + 1];
    in_folder("link", path);
    assert_int_equal(symlink("/tmp", path), 0);
    setenv("CAROM_DIR", path, 1);
    assert_refused("photo", -EACCES, "must be a folder");
    assert_int_equal(unlink(path), 0);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fclose(file);
    assert_refused("photo", -EACCES, "must be a folder");
    assert_int_equal(carom__address("photo", true, &address), -EACCES);
    assert_int_equal(unlink(path), 0);
}

static void a_folder_whose_parent_is_missing_is_an_error_for_a_host(void **state)
{
    (void)state;
    char path[CAROM__PATH_MAX + 1];
    in_folder("no/where", path);
    setenv("CAROM_DIR", path, 1);
    assert_int_equal(carom__address("photo", true, &address), -ENOENT);
    assert_non_null(strstr(carom_error_detail(), path));
}

/* ---------------------------------------------------------------- names and paths */

static void a_name_becomes_a_socket_in_the_folder(void **state)
{
    (void)state;
    char path[CAROM__PATH_MAX + 1];
    in_folder("photo-2_x.y.sock", path);
    assert_int_equal(carom__address("photo-2_x.y", false, &address), 0);
    assert_int_equal(address.sun_family, AF_UNIX);
    assert_string_equal(address.sun_path, path);
}

static void what_is_no_name_is_refused_and_quoted(void **state)
{
    (void)state;
    const char *names[] = {"", ".", "..", ".hidden", "a b", "a\nb", "f\xc3\xbcr", "a*", "a:b"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_refused(names[i], -EINVAL, names[i]);
    assert_refused(NULL, -EINVAL, "(null)");
}

static void a_name_has_at_most_63_bytes(void **state)
{
    (void)state;
    char name[CAROM_SERVICE_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[CAROM_SERVICE_NAME_MAX + 1] = '\0';
    assert_refused(name, -EINVAL, "up to 63");
    name[CAROM_SERVICE_NAME_MAX] = '\0';
    assert_int_equal(carom__address(name, false, &address), 0);
}

static void a_service_with_a_slash_is_a_path_and_its_folder_is_the_callers_business(void **state)
{
    (void)state;
    assert_int_equal(carom__address("./x", true, &address), 0);
    assert_string_equal(address.sun_path, "./x");
    assert_int_equal(carom__address("/no/such/folder/y.sock", true, &address), 0);
    assert_string_equal(address.sun_path, "/no/such/folder/y.sock");
}

static void a_path_has_at_most_107_bytes(void **state)
{
    (void)state;
    char path[CAROM__PATH_MAX + 2];
    memset(path, 'p', sizeof path);
    path[0] = '/';
    path[CAROM__PATH_MAX + 1] = '\0';
    assert_refused(path, -ENAMETOOLONG, path);
    path[CAROM__PATH_MAX] = '\0';
    assert_int_equal(carom__address(path, false, &address), 0);
    assert_string_equal(address.sun_path, path);
}

static void folder_and_name_together_may_be_too_long(void **state)
{
    (void)state;
    char folder[256];
    memset(folder, 'd', sizeof folder);
    folder[0] = '/';
    folder[CAROM__PATH_MAX - 5] = '\0';
    setenv("CAROM_DIR", folder, 1);
    assert_refused("photo", -ENAMETOOLONG, "too long");
    folder[CAROM__PATH_MAX - 5] = 'd';
    folder[255] = '\0';
    setenv("CAROM_DIR", folder, 1);
    assert_refused("photo", -ENAMETOOLONG, "too long");
}

static void assert_label(const char *service, const char *expected)
{
    char label[CAROM_SERVICE_NAME_MAX + 1];
    carom__service_label(service, label, sizeof label);
    assert_string_equal(label, expected);
}

static void people_see_the_last_part_of_a_path_without_its_ending(void **state)
{
    (void)state;
    assert_label("photo", "photo");
    assert_label("/run/x/photo.sock", "photo");
    assert_label("./photo", "photo");
    assert_label("/run/.sock", ".sock");
    assert_label("/run/a.sock.b", "a.sock.b");
    assert_label("/run/a.sock.sock", "a.sock");
}

static void a_label_is_cut_to_its_buffer(void **state)
{
    (void)state;
    char label[4];
    carom__service_label("photograph", label, sizeof label);
    assert_string_equal(label, "pho");
}

/* ---------------------------------------------------------------- abstract sockets */

static void a_name_with_an_at_sign_is_an_abstract_socket_and_needs_no_folder(void **state)
{
    (void)state;
    setenv("CAROM_DIR", "/no/such/folder", 1);
    assert_int_equal(carom__address("@photo-2_x.y", true, &address), 0);
    assert_int_equal(address.sun_family, AF_UNIX);
    assert_memory_equal(address.sun_path, "\0photo-2_x.y", sizeof "\0photo-2_x.y");
    assert_true(carom__address_is_abstract(&address));
    setenv("CAROM_DIR", test_folder(), 1);
    assert_int_equal(carom__address("photo", false, &address), 0);
    assert_false(carom__address_is_abstract(&address));
}

static void what_is_no_name_of_an_abstract_socket_is_refused_and_quoted(void **state)
{
    (void)state;
    const char *names[] = {"@", "@.", "@.hidden", "@a/b", "@a b", "@@a", "@f\xc3\xbcr", "@a\n"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_refused(names[i], -EINVAL, names[i]);
    char name[CAROM_SERVICE_NAME_MAX + 3] = "@";
    memset(name + 1, 'n', CAROM_SERVICE_NAME_MAX + 1);
    assert_refused(name, -EINVAL, "up to 63");
    name[CAROM_SERVICE_NAME_MAX + 1] = '\0';
    assert_int_equal(carom__address(name, false, &address), 0);
}

static void an_abstract_address_ends_with_its_name(void **state)
{
    (void)state;
    assert_int_equal(carom__address("@photo", false, &address), 0);
    assert_int_equal(carom__address_bytes(&address),
                     offsetof(struct sockaddr_un, sun_path) + strlen("@photo"));
    assert_int_equal(carom__address("./photo", false, &address), 0);
    assert_int_equal(carom__address_bytes(&address), sizeof address);
}

static void assert_text(const char *service)
{
    char text[CAROM__ADDRESS_TEXT_BYTES];
    assert_int_equal(carom__address(service, false, &address), 0);
    carom__address_text(&address, text);
    assert_string_equal(text, service);
}

static void an_address_is_told_as_it_was_written(void **state)
{
    (void)state;
    char path[CAROM__PATH_MAX + 1];
    memset(path, 'p', sizeof path);
    path[0] = '/';
    path[CAROM__PATH_MAX] = '\0';
    assert_text("@photo");
    assert_text("./photo.sock");
    assert_text(path); /* all the room there is */
}

static void an_abstract_service_has_its_name_as_label(void **state)
{
    (void)state;
    assert_label("@photo", "photo");
    assert_label("@photo.sock", "photo");
}

/* Unlike a folder, the abstract sockets are those of the whole machine. */
static const char *own_name(void)
{
    static char name[64];
    snprintf(name, sizeof name, "@carom-unit-%d", (int)getpid());
    return name;
}

static void *run_host(void *host)
{
    require(carom_host_run(host) == 0);
    return NULL;
}

static void a_service_on_an_abstract_socket_is_one_like_any_other(void **state)
{
    (void)state;
    struct carom_host *host, *second;
    struct carom_client *client;
    assert_int_equal(carom_host_open(own_name(), NULL, &host), 0);
    assert_int_equal(carom_host_open(own_name(), NULL, &second), -EADDRINUSE);
    assert_non_null(strstr(carom_error_detail(), own_name() + 1));
    pthread_t thread = thread_start(run_host, host);
    assert_int_equal(carom_client_open(own_name(), PATIENCE, NULL, &client), 0);
    carom_client_close(client);
    carom_host_stop(host);
    thread_join(thread);
    carom_host_close(host);
}

static void an_abstract_socket_goes_with_its_host(void **state)
{
    (void)state;
    struct carom_host *host;
    struct carom_client *client = NULL;
    for (int i = 0; i < 2; i++) { /* and can be taken again */
        assert_int_equal(carom_client_open(own_name(), 0, NULL, &client), -ENOENT);
        assert_non_null(strstr(carom_error_detail(), own_name()));
        assert_int_equal(carom_host_open(own_name(), NULL, &host), 0);
        carom_host_close(host);
    }
}

static int host_until_killed(void *name)
{
    struct carom_host *host;
    require(carom_host_open(name, NULL, &host) == 0);
    raise(SIGKILL);
    return 0;
}

static void an_abstract_socket_of_a_killed_host_is_gone(void **state)
{
    (void)state;
    struct carom_host *host;
    char name[64];
    snprintf(name, sizeof name, "%s", own_name());
    assert_int_equal(in_child(host_until_killed, name), -SIGKILL);
    assert_int_equal(carom_host_open(name, NULL, &host), 0);
    carom_host_close(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(the_folder_is_carom_dir_then_the_runtime_folder_then_one_in_tmp),
        sentence(a_folder_that_does_not_fit_its_buffer_is_too_long),
        sentence(a_missing_folder_is_made_for_a_host_and_for_nobody_else),
        sentence(a_folder_in_which_others_can_write_is_refused),
        sentence(a_folder_of_another_user_is_refused),
        sentence(a_folder_that_is_a_link_or_a_file_is_refused),
        sentence(a_folder_whose_parent_is_missing_is_an_error_for_a_host),
        sentence(a_name_becomes_a_socket_in_the_folder),
        sentence(what_is_no_name_is_refused_and_quoted),
        sentence(a_name_has_at_most_63_bytes),
        sentence(a_service_with_a_slash_is_a_path_and_its_folder_is_the_callers_business),
        sentence(a_path_has_at_most_107_bytes),
        sentence(folder_and_name_together_may_be_too_long),
        sentence(people_see_the_last_part_of_a_path_without_its_ending),
        sentence(a_label_is_cut_to_its_buffer),
        sentence(a_name_with_an_at_sign_is_an_abstract_socket_and_needs_no_folder),
        sentence(what_is_no_name_of_an_abstract_socket_is_refused_and_quoted),
        sentence(an_abstract_address_ends_with_its_name),
        sentence(an_address_is_told_as_it_was_written),
        sentence(an_abstract_service_has_its_name_as_label),
        sentence(a_service_on_an_abstract_socket_is_one_like_any_other),
        sentence(an_abstract_socket_goes_with_its_host),
        sentence(an_abstract_socket_of_a_killed_host_is_gone),
    };
    return RUN(tests);
}
