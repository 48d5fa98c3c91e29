/* SPDX-License-Identifier: Apache-2.0
 *
 * error.c - what the library says when something goes wrong, in words for a person. */
#include "error.h"

#include "carom.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char detail[CAROM__DETAIL_BYTES];
unsigned carom__forks;

static const char *const status_names[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

static const struct {
    int error;
    const char *text;
} explanations[] = {
    {ENOENT, "no such service: start its host (carom serve) or check the name and $CAROM_DIR"},
    {ECONNREFUSED, "the service's host is gone: start it again"},
    {ETIMEDOUT, "the time ran out: allow more time, or look at what the workers do (carom ls)"},
    {EACCES, "not allowed: the service belongs to another user who has not allowed this uid"},
    {EPROTO, "the peer does not speak this version of carom: use the same release on both sides"},
    {ENOSPC, "no room: the service has as many peers or methods as it can hold"},
    {ENOSYS, "the service has no such method: check the name (carom ls SERVICE)"},
    {EAGAIN, "nothing there, or every slot is in use: wait, or open the client with more slots"},
    {EMSGSIZE, "longer than the block: open the client with larger blocks, or send it in parts"},
    {ENOBUFS, "the reply is larger than the buffer given for it"},
    {EHOSTDOWN, "the service's host died: the call may have run; connect again"},
    {ESHUTDOWN, "the service is stopping: connect again when it is back"},
    {EADDRINUSE, "another live host serves this name: stop it or choose another name"},
    {ECHILD, "opened before fork() and used in the child: open a new one in the child"},
    {EALREADY, "this call was submitted before: end it and begin another"},
    {EBUSY, "the request before is not finished: reply to it or fail it first"},
    {EEXIST, "a method is named twice: give each its own name"},
    {ENODATA, "no call with CAROM_NOTIFY is in flight"},
    {EINVAL, "an argument is not valid"},
    {EMFILE, "too many open files: raise RLIMIT_NOFILE (ulimit -n)"},
    {ENFILE, "the machine has too many open files"},
    {ENOMEM, "no memory or address space: ask for fewer slots or smaller blocks"},
    {ENAMETOOLONG, "name or path too long: a socket path has at most 107 bytes; set CAROM_DIR"},
    {EINTR, "a signal arrived"},
    {ENOEXEC, "the service could not be started: carom_error_detail() has its last words"},
};

const char *carom_version(void)
{
    return "0.1.0";
}

const char *carom_status_name(int status)
{
    const int count = (int)(sizeof status_names / sizeof status_names[0]);
    return status_names[status >= 0 && status < count ? status : CAROM_UNKNOWN];
}

const char *carom_strerror(int error)
{
    /* unsigned: the least int has no positive counterpart */
    const unsigned number = error < 0 ? 0u - (unsigned)error : (unsigned)error;
    if (error == 0)
        return "no error";
    for (size_t i = 0; i < sizeof explanations / sizeof explanations[0]; i++) {
        if (error < 0 && (unsigned)explanations[i].error == number)
            return explanations[i].text;
    }
    return strerror((int)number);
}

const char *carom_error_detail(void)
{
    return detail;
}

int carom__fail(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return error;
}

int carom__fail_errno(int error, const char *what)
{
    return carom__fail(error, "%s: %s", what, strerror(-error));
}

static void in_child(void)
{
    carom__forks++;
}

int carom__count_forks(void)
{
    static atomic_bool counting;
    /* relaxed: a flag; threads that register at the same time count each fork more than once, and
     * only the difference is looked at */
    if (atomic_load_explicit(&counting, memory_order_relaxed))
        return 0;
    int error = pthread_atfork(NULL, NULL, in_child);
    if (error != 0)
        return carom__fail_errno(-error, "cannot prepare for fork()");
    atomic_store_explicit(&counting, true, memory_order_relaxed); /* as above */
    return 0;
}

int carom__fail_forked(void)
{
    return carom__fail(-ECHILD, "opened before fork() and used in the child: open a new one there");
}
