/* SPDX-License-Identifier: Apache-2.0
 *
 * attempts.h - host, worker and client as processes that live under a limit. Each ends with WORKED,
 * with REFUSED (a negative errno and its sentence, nothing left open), or with what must not be:
 * BROKEN, or the negative number of a signal. */
#ifndef ATTEMPTS_H
#define ATTEMPTS_H

#include "proof.h"

#include "carom.h"

#include <sys/resource.h>
#include <sys/types.h>

#define SERVICE "limits"
#define SECOND INT64_C(1000000000)

enum { WORKED = 0, REFUSED = 10, BROKEN = 11 };

/** What a process does; its outcome. */
typedef int attempt(uint64_t argument);

extern struct proof proof;

/** Once, before anything else. False: no memory. */
bool attempts_begin(void);

/** BROKEN; says what is wrong, for the log. */
int broken(const char *what, int rc);

/** The outcome of an operation that failed: REFUSED if the error is one that a limit can cause, has
 *  its sentence, and as many descriptors are open as before. */
int refused(int rc, int fds_before);

int count_fds(void);
void set_limit(__rlimit_resource_t resource, uint64_t value);

/** Runs an attempt in a process of its own, to its end. */
int in_child(attempt *run, uint64_t argument);

/** Starts `host_main` or `worker_main` and waits until it is open. False: it has ended, with
 *  *outcome. */
bool start_open(attempt *run, uint64_t argument, pid_t *child, int *outcome);

/** Has one of them stop, and waits. */
int end(pid_t child);

/** A host that may have so many descriptors; 0: as many as it likes. */
attempt host_main;

/** A worker that echoes. */
attempt worker_main;

/** A client with little memory: opens, calls, closes. */
attempt client_main;
extern const struct carom_client_options small;

#endif
