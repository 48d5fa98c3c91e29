/* SPDX-License-Identifier: Apache-2.0
 *
 * scripts_launch.c - carom_launch and carom_pool_close. In place of Python stands this program
 * (actors.c), which says what $CAROM_FAILING_WORD has and waits to be ended. */
#include "script.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[400];

static void begin_saying(const char *word)
{
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    setenv("CAROM_FAILING_WORD", word, 1);
}

static void begin_ready(void)
{
    begin_saying("ready 1\n");
}

static void begin_failed(void)
{
    begin_saying("failed\nImportError: no module named 'app'\n");
}

static void begin_silent(void)
{
    begin_saying("");
}

static void begin_relative(void)
{
    char here[400];
    begin_ready();
    if (getcwd(here, sizeof here) == NULL)
        return;
    size_t length = strlen(here);
    if (strncmp(path, here, length) == 0) /* "./build/..." */
        memmove(path + 1, path + length, strlen(path + length) + 1), path[0] = '.';
}

static void launch(struct run *run, int expected, int64_t timeout_ns)
{
    struct carom_pool *pool = NULL;
    const struct carom_launch_options options = {
        .size = sizeof options, .python = path, .folder = "/tmp", .timeout_ns = timeout_ns};
    int rc = TRY_UNLESS(run, expected, carom_launch("app:service", 1, &options, &pool));
    if (rc < 0 && pool != NULL)
        broken(run, "a pool although it failed");
    if (rc == 0 && expected != 0)
        broken(run, "it was ready");
    if (rc == 0 && kill(carom_pool_pid(pool), 0) != 0)
        broken(run, "its process is not there");
    DO(carom_pool_close(pool));
}

static void launch_ready(struct run *run)
{
    launch(run, 0, 5 * SECOND);
}

static void launch_failed(struct run *run)
{
    launch(run, -ENOEXEC, 5 * SECOND);
}

static void launch_late(struct run *run)
{
    launch(run, -ETIMEDOUT, 20 * MILLISECOND);
}

static void launch_unwatched(struct run *run)
{
    launch(run, -EPERM, 5 * SECOND);
}

const struct script launch_scripts[] = {
    {"launch", .begin = begin_ready, .run = launch_ready, .role = OPERATOR},
    {"launch by a relative path", .begin = begin_relative, .run = launch_ready, .role = OPERATOR},
    {"launch that fails", .begin = begin_failed, .run = launch_failed, .role = OPERATOR},
    {"launch that is late", .begin = begin_silent, .run = launch_late, .role = OPERATOR},
    {"launch without pidfd", .begin = begin_ready, .run = launch_unwatched, .role = OPERATOR,
     .lacks = {{"pidfd_open", EPERM}}},
    {0},
};
