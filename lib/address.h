/* SPDX-License-Identifier: Apache-2.0
 *
 * address.h - from the name of a service to the address of its socket.
 *
 *   "photo"       <folder>/photo.sock, see carom_service_folder
 *   "./a.sock"    with a slash: that path
 *   "@photo"      an abstract socket (unix(7)): no file and no folder, so nothing stays behind when
 *                 its host is killed, and no file mode keeps anyone out. Whoever knows the name may
 *                 connect; the host looks at the uid, as it does for every peer. Whoever guesses it
 *                 first can take it: names that others rely on belong into a folder. carom_launch
 *                 uses names of 128 random bits. */
#ifndef CAROM_ADDRESS_H
#define CAROM_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

/** Longest path of a Unix socket, without its NUL. */
#define CAROM__PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
/** Room for an address as text. */
#define CAROM__ADDRESS_TEXT_BYTES (CAROM__PATH_MAX + 2)

/** Fills the socket address of a service. `create`: make the folder (mode 0700) if it is missing.
 *  Refuses a folder of another user. 0, -EINVAL bad name, -ENAMETOOLONG, -EACCES. */
int carom__address(const char *service, bool create, struct sockaddr_un *address);

/** Whether an address is an abstract one: its path begins with a NUL. */
bool carom__address_is_abstract(const struct sockaddr_un *address);

/** Size of an address for bind and connect. Of an abstract one every byte counts, NULs too: with
 *  the whole structure the name would be another than the one that other programs mean. */
socklen_t carom__address_bytes(const struct sockaddr_un *address);

/** The address as a person writes it: a path, or "@name". `text`: CAROM__ADDRESS_TEXT_BYTES. */
void carom__address_text(const struct sockaddr_un *address, char *text);

/** Name of a service for people: the last part of its path, without ".sock". */
void carom__service_label(const char *service, char *label, size_t capacity_bytes);

#endif
