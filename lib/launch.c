/* SPDX-License-Identifier: Apache-2.0
 *
 * launch.c - a pool of one's own: `PYTHON -m carom serve` as a child of this process.
 *
 * The child is the supervisor, which starts the workers. It says how it went through a pipe: the
 * line "ready", with the seconds that running calls may take at the end behind it, or the line
 * "failed" and then, to the end of the pipe, why. It watches this process (--parent) and ends with
 * it; its workers end with the supervisor; the socket is an abstract one and ends with both.
 * PR_SET_PDEATHSIG would not do here: it goes by the thread that started the child. */
#include "carom.h"
#include "child.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define DEFAULT_TIMEOUT_NS (60 * SECOND_NS)
#define DEFAULT_GRACEFUL_S 10
#define LONGEST_GRACEFUL_S 1000000
/* What the supervisor has beyond that time, to kill its workers and to end. */
#define CLOSE_MARGIN_S 10
#define FIXED_ARGUMENTS 13
#define WORD_READY "ready"
#define WORD_FAILED "failed\n"
/* Room in the sentence for what is in front of the child's text. */
#define PREFIX_BYTES 512

struct carom_pool {
    struct carom__child child;
    unsigned forks;
    int64_t close_timeout_ns;
    char service[CAROM_SERVICE_NAME_MAX + 1];
};

/* ---------------------------------------------------------------- what was asked for */

static int read_options(const struct carom_launch_options *given,
                        struct carom_launch_options *options)
{
    *options = (struct carom_launch_options){0};
    if (given != NULL && (given->size < sizeof given->size || given->size > sizeof *given))
        return carom__fail(-EINVAL, "carom_launch_options.size is %zu: set it to sizeof",
                           given->size);
    if (given != NULL)
        memcpy(options, given, given->size);
    if (options->timeout_ns == 0)
        options->timeout_ns = DEFAULT_TIMEOUT_NS;
    return 0;
}

static int check_application(const char *application)
{
    if (application != NULL && strchr(application, ':') != NULL && application[0] != '-')
        return 0;
    return carom__fail(-EINVAL, "'%s' names no application: write \"module:service\"",
                       application == NULL ? "(null)" : application);
}

static const char *wanted_python(const struct carom_launch_options *options)
{
    const char *from_environment = getenv("CAROM_PYTHON");
    if (options->python != NULL && options->python[0] != '\0')
        return options->python;
    return from_environment != NULL && from_environment[0] != '\0' ? from_environment : "python3";
}

/* A path is relative to this program's folder, although the interpreter will run in another one.
 * Its links stay as they are: Python finds its virtual environment by them. */
static int choose_python(const struct carom_launch_options *options, char *path, size_t capacity)
{
    char here[PATH_MAX] = "";
    const char *python = wanted_python(options);
    const bool relative = python[0] != '/' && strchr(python, '/') != NULL;
    if (relative && getcwd(here, sizeof here) == NULL)
        return carom__fail_errno(-errno, "the current folder");
    int length = snprintf(path, capacity, "%s%s%s", here, relative ? "/" : "", python);
    if (length < 0 || (size_t)length >= capacity)
        return carom__fail(-ENAMETOOLONG, "path too long: %s", python);
    return 0;
}

static int open_folder(const char *folder, int *fd)
{
    *fd = -1;
    if (folder == NULL)
        return 0;
    *fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd >= 0)
        return 0;
    return carom__fail(-errno, "cannot use the application's folder '%s': %s", folder,
                       strerror(errno));
}

static int draw_name(char *name, size_t capacity)
{
    uint64_t secret[2];
    ssize_t drawn;
    do {
        drawn = getrandom(secret, sizeof secret, 0);
    } while ((drawn < 0 && errno == EINTR) || (drawn >= 0 && drawn < (ssize_t)sizeof secret));
    if (drawn < 0)
        return carom__fail_errno(-errno, "no random numbers");
    snprintf(name, capacity, "@launch-%016llx%016llx", (unsigned long long)secret[0],
             (unsigned long long)secret[1]);
    return 0;
}

/* ---------------------------------------------------------------- starting it */

struct order {
    const char *application;
    uint32_t workers;
    struct carom_launch_options options;
    char python[PATH_MAX];
};

static size_t count_arguments(const char *const *arguments)
{
    size_t count = 0;
    while (arguments != NULL && arguments[count] != NULL)
        count++;
    return count;
}

/* Ours come last: of an option that is given twice the last one counts. */
static int start_with(const struct order *order, const char **arguments, int folder_fd, int fd,
                      struct carom_pool *pool)
{
    const size_t count = count_arguments(order->options.arguments);
    char workers[16], parent[16], report[16];
    snprintf(workers, sizeof workers, "%u", order->workers > 0 ? order->workers : 1u);
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    snprintf(report, sizeof report, "%d", CAROM__CHILD_FD);
    const char *const front[] = {order->python, "-m", "carom", "serve", order->application};
    const char *const back[] = {"--name",   pool->service, "--workers",   workers,
                                "--parent", parent,        "--report-fd", report};
    const size_t at = sizeof front / sizeof front[0];
    _Static_assert(sizeof front + sizeof back == FIXED_ARGUMENTS * sizeof front[0], "all of them");
    memcpy(arguments, front, sizeof front);
    if (count > 0)
        memcpy(arguments + at, order->options.arguments, count * sizeof arguments[0]);
    memcpy(arguments + at + count, back, sizeof back);
    return carom__child_start(arguments, folder_fd, fd, &pool->child);
}

static int explain_start(int rc)
{
    char why[PREFIX_BYTES];
    snprintf(why, sizeof why, "%s", carom_error_detail());
    return carom__fail(rc,
                       "%s: name an interpreter that has carom, in carom_launch_options.python or "
                       "$CAROM_PYTHON",
                       why);
}

static int start(const struct order *order, int fd, struct carom_pool *pool)
{
    int folder_fd;
    const size_t count = FIXED_ARGUMENTS + count_arguments(order->options.arguments) + 1;
    int rc = open_folder(order->options.folder, &folder_fd);
    if (rc < 0)
        return rc;
    const char **arguments = calloc(count, sizeof arguments[0]);
    if (arguments == NULL) {
        rc = carom__fail(-ENOMEM, "no memory for %zu arguments", count);
    } else {
        rc = start_with(order, arguments, folder_fd, fd, pool);
        if (rc == -ENOENT || rc == -EACCES || rc == -ENOEXEC)
            rc = explain_start(rc);
    }
    free(arguments);
    if (folder_fd >= 0)
        close(folder_fd);
    return rc;
}

/* ---------------------------------------------------------------- what it says */

struct report {
    size_t length;
    bool ended;                         /* nothing more will come */
    char text[2 * CAROM__DETAIL_BYTES]; /* NUL-terminated */
};

/* Of a long text the end matters: there a traceback says what happened. */
static void forget_the_middle(struct report *report)
{
    const size_t kept = sizeof WORD_FAILED - 1, from = kept + CAROM__DETAIL_BYTES / 2;
    memmove(report->text + kept, report->text + from, report->length - from);
    report->length -= from - kept;
}

/* Reads all that is there. */
static void read_report(int fd, struct report *report)
{
    for (;;) {
        if (report->length == sizeof report->text - 1)
            forget_the_middle(report);
        char *end = report->text + report->length;
        const ssize_t got = read(fd, end, sizeof report->text - 1 - report->length);
        if (got < 0 && errno == EINTR)
            continue;
        report->ended |= got == 0 || (got < 0 && errno != EAGAIN);
        if (got <= 0)
            return;
        for (ssize_t i = 0; i < got; i++)
            end[i] = end[i] == '\0' ? '?' : end[i];
        report->length += (size_t)got;
        report->text[report->length] = '\0';
    }
}

static bool says(const struct report *report, const char *word)
{
    return strncmp(report->text, word, strlen(word)) == 0;
}

static bool is_ready(const struct report *report)
{
    return says(report, WORD_READY) && strchr(report->text, '\n') != NULL;
}

/* Until it is ready or says no more; false when the deadline came before. The end of the child
 * counts as well as that of the pipe, which a process forked meanwhile may hold open. */
static bool await_report(int fd, const struct carom__child *child, int64_t deadline_ns,
                         struct report *report)
{
    while (!is_ready(report) && !report->ended) {
        if (!carom__child_wait(child, fd, deadline_ns))
            return false;
        const bool ended = carom__child_has_ended(child); /* looked at first: then all is there */
        read_report(fd, report);
        report->ended |= ended;
    }
    return true;
}

/* ---------------------------------------------------------------- how it went */

/* The last lines of a text that fit. */
static const char *last_lines(const char *text)
{
    const size_t length = strlen(text), room = CAROM__DETAIL_BYTES - PREFIX_BYTES;
    if (length <= room)
        return text;
    const char *cut = text + (length - room), *line = strchr(cut, '\n');
    return line != NULL && line[1] != '\0' ? line + 1 : cut;
}

static int fail_with_text(const struct order *order, struct report *report)
{
    char *text = report->text + sizeof WORD_FAILED - 1;
    while (report->length > 0 && report->text[report->length - 1] == '\n')
        report->text[--report->length] = '\0';
    return carom__fail(-ENOEXEC, "%.200s could not be served: %s", order->application,
                       last_lines(text));
}

static int fail_without(const struct order *order, const struct report *report, const char *how)
{
    if (report->length > 0)
        return carom__fail(
            -ENOEXEC,
            "%.200s %s and said '%.60s', which is none of carom's words: use library "
            "and Python package of the same release",
            order->python, how, report->text);
    return carom__fail(-ENOEXEC,
                       "%.200s %s before it said anything, except perhaps on standard error: is "
                       "carom installed for it? (%.200s -m carom --version)",
                       order->python, how, order->python);
}

static int fail_late(const struct order *order)
{
    return carom__fail(-ETIMEDOUT,
                       "%.200s was not ready after %.1f s: look at standard error, or allow more "
                       "in carom_launch_options.timeout_ns",
                       order->application, (double)order->options.timeout_ns / (double)SECOND_NS);
}

static int64_t close_timeout_ns(const struct report *report)
{
    const char *seconds = report->text + sizeof WORD_READY - 1;
    char *end;
    long graceful_s = strtol(seconds, &end, 10);
    if (*seconds != ' ' || end == seconds || graceful_s < 0)
        graceful_s = DEFAULT_GRACEFUL_S;
    if (graceful_s > LONGEST_GRACEFUL_S)
        graceful_s = LONGEST_GRACEFUL_S;
    return (graceful_s + CLOSE_MARGIN_S) * SECOND_NS;
}

static int64_t deadline_of(const struct order *order)
{
    const int64_t now_ns = carom_now_ns(), timeout_ns = order->options.timeout_ns;
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
}

static int await_ready(const struct order *order, int fd, struct carom_pool *pool)
{
    struct report report = {0};
    char how[CAROM__CHILD_END_BYTES];
    const int64_t deadline_ns = deadline_of(order);
    const bool in_time = await_report(fd, &pool->child, deadline_ns, &report);
    if (is_ready(&report)) {
        pool->close_timeout_ns = close_timeout_ns(&report);
        return 0;
    }
    carom__child_finish(&pool->child, in_time ? deadline_ns : 0, how);
    if (says(&report, WORD_FAILED))
        return fail_with_text(order, &report);
    return in_time ? fail_without(order, &report, how) : fail_late(order);
}

/* ---------------------------------------------------------------- the pool */

static int open_pool(const struct order *order, struct carom_pool *pool)
{
    int ends[2];
    int rc = draw_name(pool->service, sizeof pool->service);
    if (rc < 0)
        return rc;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return carom__fail_errno(-errno, "a pipe");
    /* our end only: the child may wait for room */
    rc = fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 ? start(order, ends[1], pool)
                                                  : carom__fail_errno(-errno, "a pipe");
    close(ends[1]);
    if (rc == 0)
        rc = await_ready(order, ends[0], pool);
    close(ends[0]);
    return rc;
}

int carom_launch(const char *application, uint32_t workers,
                 const struct carom_launch_options *options, struct carom_pool **pool)
{
    struct order order = {.application = application, .workers = workers};
    if (pool == NULL)
        return carom__fail(-EINVAL, "carom_launch: pool is NULL");
    *pool = NULL;
    int rc = carom__count_forks();
    if (rc == 0)
        rc = check_application(application);
    if (rc == 0)
        rc = read_options(options, &order.options);
    if (rc == 0)
        rc = choose_python(&order.options, order.python, sizeof order.python);
    if (rc < 0)
        return rc;
    struct carom_pool *made = calloc(1, sizeof *made);
    if (made == NULL)
        return carom__fail(-ENOMEM, "no memory for a pool");
    made->forks = carom__forks;
    rc = open_pool(&order, made);
    if (rc < 0)
        free(made);
    else
        *pool = made;
    return rc;
}

const char *carom_pool_service(const struct carom_pool *pool)
{
    return pool->service;
}

pid_t carom_pool_pid(const struct carom_pool *pool)
{
    return pool->child.pid;
}

/* The supervisor sees to it that running calls end in time. Should it not end itself, SIGKILL does,
 * and its workers die with it. */
void carom_pool_close(struct carom_pool *pool)
{
    char how[CAROM__CHILD_END_BYTES];
    if (pool == NULL)
        return;
    if (pool->forks == carom__forks) {
        carom__child_terminate(&pool->child);
        carom__child_finish(&pool->child, carom_now_ns() + pool->close_timeout_ns, how);
    } else {
        carom__child_forget(&pool->child);
    }
    free(pool);
}
