/* SPDX-License-Identifier: Apache-2.0
 *
 * hosting.h - a host for fuzz targets: the structure is filled by hand, everything that it then
 * does is the library's. */
#ifndef HOSTING_H
#define HOSTING_H

#include "fuzzing.h"
#include "host.h"

#define FUZZ_HOST_CLIENTS 6u
#define FUZZ_HOST_WORKERS 4u

/** A host without peers, as fresh from carom_host_open. */
struct carom_host *fuzz_host(void);

#endif
