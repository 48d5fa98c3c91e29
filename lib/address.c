/* SPDX-License-Identifier: Apache-2.0
 *
 * address.c - service names, the folder of sockets, and whose it is. */
#include "address.h"

#include "carom.h"
#include "error.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int print_path(char *path, size_t capacity, const char *folder, const char *rest)
{
    int length = snprintf(path, capacity, "%s%s", folder, rest);
    if (length < 0 || (size_t)length >= capacity)
        return carom__fail(-ENAMETOOLONG, "path too long: %s%s", folder, rest);
    return 0;
}

int carom_service_folder(char *path, size_t capacity_bytes)
{
    const char *folder = getenv("CAROM_DIR");
    if (folder != NULL && folder[0] != '\0')
        return print_path(path, capacity_bytes, folder, "");
    folder = getenv("XDG_RUNTIME_DIR");
    if (folder != NULL && folder[0] != '\0')
        return print_path(path, capacity_bytes, folder, "/carom");
    char rest[32];
    snprintf(rest, sizeof rest, "/tmp/carom-%u", (unsigned)geteuid());
    return print_path(path, capacity_bytes, rest, "");
}

static bool is_name(const char *service)
{
    size_t length = strlen(service);
    if (length == 0 || length > CAROM_SERVICE_NAME_MAX || service[0] == '.')
        return false;
    return strspn(service, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
           length;
}

/* In a folder that somebody else can write to, a name would prove nothing. */
static int check_folder(const char *folder, bool create)
{
    struct stat status;
    if (create && mkdir(folder, 0700) != 0 && errno != EEXIST)
        return carom__fail(-errno, "cannot create the folder %s: %s", folder, strerror(errno));
    if (lstat(folder, &status) != 0)
        return create ? carom__fail(-errno, "cannot look at the folder %s: %s", folder,
                                    strerror(errno))
                      : 0; /* then connecting says ENOENT */
    if (S_ISDIR(status.st_mode) && (status.st_uid == geteuid() || status.st_uid == 0) &&
        (status.st_mode & 022) == 0)
        return 0;
    return carom__fail(-EACCES,
                       "%s must be a folder that belongs to you and that nobody else can write to: "
                       "fix it or set CAROM_DIR to another folder",
                       folder);
}

static int fill_abstract(const char *name, struct sockaddr_un *address)
{
    if (!is_name(name))
        return carom__fail(-EINVAL,
                           "'@%s' is not the name of an abstract socket: use '@' and up "
                           "to %d letters, digits, '.', '_' and '-'",
                           name, CAROM_SERVICE_NAME_MAX);
    return print_path(address->sun_path + 1, sizeof address->sun_path - 1, name, "");
}

int carom__address(const char *service, bool create, struct sockaddr_un *address)
{
    char folder[CAROM__PATH_MAX + 1], rest[CAROM_SERVICE_NAME_MAX + 8];
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (service != NULL && service[0] == '@')
        return fill_abstract(service + 1, address);
    if (service != NULL && strchr(service, '/') != NULL)
        return print_path(address->sun_path, sizeof address->sun_path, service, "");
    if (service == NULL || !is_name(service))
        return carom__fail(-EINVAL,
                           "'%s' is not a service name: use up to %d letters, digits, '.', '_' "
                           "and '-', a path with a '/', or '@' and a name",
                           service == NULL ? "(null)" : service, CAROM_SERVICE_NAME_MAX);
    int rc = carom_service_folder(folder, sizeof folder);
    if (rc == 0)
        rc = check_folder(folder, create);
    if (rc < 0)
        return rc;
    snprintf(rest, sizeof rest, "/%s.sock", service);
    return print_path(address->sun_path, sizeof address->sun_path, folder, rest);
}

bool carom__address_is_abstract(const struct sockaddr_un *address)
{
    return address->sun_path[0] == '\0';
}

socklen_t carom__address_bytes(const struct sockaddr_un *address)
{
    if (!carom__address_is_abstract(address))
        return sizeof *address;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address->sun_path + 1));
}

void carom__address_text(const struct sockaddr_un *address, char *text)
{
    bool is_abstract = carom__address_is_abstract(address);
    snprintf(text, CAROM__ADDRESS_TEXT_BYTES, "%s%s", is_abstract ? "@" : "",
             address->sun_path + (is_abstract ? 1 : 0));
}

void carom__service_label(const char *service, char *label, size_t capacity_bytes)
{
    const char *last = strrchr(service, '/');
    if (service[0] == '@')
        service++;
    snprintf(label, capacity_bytes, "%s", last == NULL ? service : last + 1);
    const size_t length = strlen(label), suffix = sizeof ".sock" - 1;
    if (length > suffix && strcmp(label + length - suffix, ".sock") == 0)
        label[length - suffix] = '\0';
}
