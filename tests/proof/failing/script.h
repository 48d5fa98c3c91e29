/* SPDX-License-Identifier: Apache-2.0
 *
 * script.h - an operation of the library as something that can be run again and again while one
 * of its calls after the other is made to fail. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "inject.h"
#include "world.h"

/** What came of a run. */
struct run {
    int rc;            /* the first negative result of a TRY; 0 everything worked */
    char step[80];     /* of that one */
    char detail[1024]; /* carom_error_detail of that one */
    char broken[600];  /* what must not be; "" nothing */
};

struct script {
    const char *name;
    void (*begin)(void); /* before all runs; NULL nothing */
    void (*end)(void);
    void (*run)(struct run *run);
    enum inject_role role; /* whose calls fail */
    struct inject_lack lacks[INJECT_LACKS];
};

extern const struct script client_scripts[], worker_scripts[], host_scripts[], death_scripts[],
    launch_scripts[]; /* each ends with one without a name */

/** Makes a call of the library's during which calls of libc may fail, if it is the operator's that
 *  are to. Notes a negative result. Its value is the result. */
#define TRY(run, expression) try_end(run, #expression, 0, (try_begin(), (expression)))
/** The same where one error is expected. */
#define TRY_UNLESS(run, error, expression)                                                         \
    try_end(run, #expression, error, (try_begin(), (expression)))
/** The same for functions without a result. */
#define DO(statement)                                                                              \
    do {                                                                                           \
        try_begin();                                                                               \
        statement;                                                                                 \
        inject_disarm_operator();                                                                  \
    } while (0)

void try_begin(void);
int try_end(struct run *run, const char *step, int expected, int rc);
void inject_disarm_operator(void);

/** Says what must not be. */
__attribute__((format(printf, 2, 3))) void broken(struct run *run, const char *format, ...);

/** Calls echo through a client, with nothing failing. */
void check_client(struct run *run, struct carom_client *client);

/** The options of every client here: few slots, blocks of 3 MiB of which 1 MiB stays. */
extern const struct carom_client_options script_client_options;
struct carom_client *script_client_open(void);

/** carom_observer_open waits for a host that is there for 250 ms only: this one is more patient. */
int script_observer_open(const char *service, struct carom_observer **observer);

/* ---- actors.c: this program as another process */

#define ACTOR_MORTAL "mortal" /* its first argument */

/** Whether it has been started as an actor; then it has played, and `status` is how it ended. */
bool actor_is_wanted(int argc, char **argv, int *status);

/** What was open when the runs began, for scripts that must wait for quiet themselves. */
extern struct counts script_before;

#endif
