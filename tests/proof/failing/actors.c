/* SPDX-License-Identifier: Apache-2.0
 *
 * actors.c - what this program is when a script starts it as a process of its own: a worker that
 * dies of the first call of "death" it is given, and what stands in for `python -m carom serve`. */
#include "script.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LONGEST_S 60

static void die(void *context, struct carom_request *request)
{
    (void)context;
    (void)request;
    raise(SIGKILL);
}

static int be_mortal(void)
{
    const struct carom_method methods[] = {
        {.name = "death", .handler = die, .flags = CAROM_IDEMPOTENT}};
    struct carom_worker *worker;
    if (carom_worker_open(SERVICE, methods, 1, 5 * SECOND, NULL, &worker) != 0)
        return 1;
    int rc = carom_worker_run(worker);
    carom_worker_close(worker);
    return rc == 0 ? 0 : 2;
}

/* Says to its report descriptor what $CAROM_FAILING_WORD has; after "failed" it ends. */
static int be_supervisor(void)
{
    const char *word = getenv("CAROM_FAILING_WORD");
    if (word == NULL || (word[0] != '\0' && write(3, word, strlen(word)) < 0) ||
        strncmp(word, "failed", 6) == 0)
        return 1;
    for (;;)
        pause();
}

bool actor_is_wanted(int argc, char **argv, int *status)
{
    const char *role = argc > 1 ? argv[1] : "";
    bool is_mortal = strcmp(role, ACTOR_MORTAL) == 0;
    if (!is_mortal && strcmp(role, "-m") != 0) /* PYTHON -m carom serve */
        return false;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LONGEST_S);
    *status = is_mortal ? be_mortal() : be_supervisor();
    return true;
}
