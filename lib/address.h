/* SPDX-License-Identifier: Apache-2.0
 *
 * address.h - from the name of a service to the path of its socket. */
#ifndef CAROM_ADDRESS_H
#define CAROM_ADDRESS_H

#include <stdbool.h>
#include <sys/un.h>

/** Longest path of a Unix socket, without its NUL. */
#define CAROM__PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/** Fills the socket address of a service. `create`: make the folder (mode 0700) if it is missing.
 *  Refuses a folder of another user. 0, -EINVAL bad name, -ENAMETOOLONG, -EACCES. */
int carom__address(const char *service, bool create, struct sockaddr_un *address);

/** Name of a service for people: the last part of its path, without ".sock". */
void carom__service_label(const char *service, char *label, size_t capacity_bytes);

#endif
