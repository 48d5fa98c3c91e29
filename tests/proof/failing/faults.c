/* SPDX-License-Identifier: Apache-2.0
 *
 * faults.c - runs every script once with nothing failing, which shows from where the library
 * calls libc; then once per such call and error, with that call failing. Calls that are seen only
 * after something else has failed have their turn as well, with that failing too.
 *
 * After each run: the operation has worked, or it has returned a negative errno with a sentence
 * that is of this failure; descriptors, mappings, threads, files and blocks of memory are as
 * before; and the same operation works when it is made again.
 *
 * Scripts run in a child, so that one that crashes or hangs is reported and the rest goes on. The
 * lines `site ADDRESS CALLS FIRED DOOR` are for failing.py. */
#include "proof.h"
#include "script.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"

#define STALE "a sentence of an older failure"
#define HANG_SECONDS 20
#define CRASHES_MOST 5
#define CALLS_MOST 6
#define SPINNING 3000

int __lsan_do_recoverable_leak_check(void);

struct counts script_before;

/* Where the enumeration of faults stands; shared, so that a new child goes on behind a crash. */
static struct cursor {
    uint32_t site, error, mode, call;
    uint64_t executions, tolerated, reported;
    uint32_t failures;
    bool done;
} * cursor;

static struct proof proof;
static bool is_operators; /* the operator's calls are those that fail */

/* ---------------------------------------------------------------- what scripts use */

void try_begin(void)
{
    carom__fail(0, STALE);
    if (is_operators)
        inject_arm(OPERATOR);
}

void inject_disarm_operator(void)
{
    if (is_operators)
        inject_disarm();
}

int try_end(struct run *run, const char *step, int expected, int rc)
{
    inject_disarm_operator();
    if (rc >= 0 || rc == expected || run->rc < 0)
        return rc;
    run->rc = rc;
    snprintf(run->step, sizeof run->step, "%s", step);
    snprintf(run->detail, sizeof run->detail, "%s", carom_error_detail());
    return rc;
}

void broken(struct run *run, const char *format, ...)
{
    va_list arguments;
    if (run->broken[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(run->broken, sizeof run->broken, format, arguments);
    va_end(arguments);
}

const struct carom_client_options script_client_options = {
    .size = sizeof script_client_options,
    .slots = 4,
    .request_block_bytes = 3 << 20,
    .reply_block_bytes = 3 << 20,
    .resident_bytes = 1,
    .no_spin = true,
    .retry_pause_ns = 2 * MILLISECOND,
};

struct carom_client *script_client_open(void)
{
    struct carom_client *client = NULL;
    if (carom_client_open(SERVICE, 5 * SECOND, &script_client_options, &client) != 0) {
        fprintf(stderr, "faults.c: carom_client_open: %s\n", carom_error_detail());
        abort();
    }
    for (int method = 0; method < METHODS - 1; method++)
        carom_client_method(client, world_methods[method].name);
    return client;
}

int script_observer_open(const char *service, struct carom_observer **observer)
{
    int rc = -ETIMEDOUT;
    for (int i = 0; i < 8 && rc == -ETIMEDOUT; i++)
        rc = carom_observer_open(service, observer);
    return rc;
}

void check_client(struct run *run, struct carom_client *client)
{
    char reply[8];
    size_t length = 0;
    int method = carom_client_method(client, "echo");
    int rc = method < 0 ? method
                        : carom_invoke(client, method, "again", 5, reply, sizeof reply, &length,
                                       5 * SECOND);
    if (rc != 0)
        broken(run, "the client does not work afterwards: %d, %s", rc, carom_error_detail());
    else if (length != 5 || memcmp(reply, "again", 5) != 0)
        broken(run, "the client has another's reply afterwards");
}

/* ---------------------------------------------------------------- judging */

/* Whether a sentence is about an error: by what strerror says, or as the library puts it. */
static bool is_about(const char *detail, int error)
{
    static const struct {
        int error;
        const char *words;
    } own[] = {
        {CUT_OFF, "open files"},     {EMFILE, "open files"},         {ENFILE, "open files"},
        {ENOMEM, "no memory"},       {EADDRINUSE, "already served"}, {ECONNREFUSED, "no service"},
        {ENOENT, "no service"},      {EAGAIN, "accepts nobody"},     {EACCES, "no permission"},
        {EINTR, "a signal arrived"}, {ENOENT, "removes it"},         {EACCES, "another user"},
        {EBUSY, "another"},
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (own[i].error == error && strstr(detail, own[i].words) != NULL)
            return true;
    }
    const struct inject_fault *fault = &inject->fault;
    if (strncmp(inject->sites[fault->site].door, "sendmsg", 7) == 0 &&
        strstr(detail, "hung up during the handshake without a reason") != NULL)
        return true; /* the reason itself could not be sent */
    if (fault->mode == FOR_GOOD && !is_operators &&
        strstr(detail, "the host does not answer") != NULL)
        return true; /* it accepts nobody and can tell nobody */
    return error < HALF && strstr(detail, strerror(error)) != NULL;
}

static bool has_words(const char *detail)
{
    int words = 0;
    for (const char *at = detail; *at != '\0'; at++)
        words += isalpha((unsigned char)*at) && (at == detail || at[-1] == ' ');
    return words >= 3;
}

/* What waits: when a signal arrives it is made again, or the documented -EINTR is returned. */
static const char *const waiting[] = {
    "recvmsg", "recvmsg DONTWAIT", "sendmsg",   "poll",    "epoll_wait", "waitid", "waitpid",
    "read",    "futex WAIT",       "nanosleep", "accept4", "getrandom",  NULL};

static bool is_one_of(const char *door, const char *const *doors)
{
    while (*doors != NULL && strcmp(*doors, door) != 0)
        doors++;
    return *doors != NULL;
}

/* NULL: the outcome is one that a user can live with. */
static const char *judge(const struct run *run)
{
    if (run->broken[0] != '\0')
        return run->broken;
    if (run->rc == 0)
        return NULL;
    if (run->detail[0] == '\0' || strcmp(run->detail, STALE) == 0)
        return "an error without a sentence";
    if (inject->fault.site == INJECT_NO_SITE)
        return run->detail;
    if (inject->fault.error == EINTR &&
        is_one_of(inject->sites[inject->fault.site].door, waiting) &&
        strstr(run->detail, "a signal arrived") == NULL && inject->under.site == INJECT_NO_SITE)
        return "a signal ended it";
    if (!is_about(run->detail, inject->fault.error) &&
        !(inject->under.site != INJECT_NO_SITE && is_about(run->detail, inject->under.error)))
        return "a sentence of something else";
    return has_words(run->detail) ? NULL : "a sentence without words";
}

static void name_fault(char *text, size_t capacity)
{
    const struct inject_fault *fault = &inject->fault, *under = &inject->under;
    if (fault->site == INJECT_NO_SITE) {
        snprintf(text, capacity, "nothing fails");
        return;
    }
    int length = snprintf(text, capacity, "%s @%#lx call %u %s%s", inject->sites[fault->site].door,
                          inject->sites[fault->site].at, fault->call,
                          inject_error_name(fault->error),
                          fault->mode == FOR_GOOD ? " for good" : "");
    if (under->site != INJECT_NO_SITE)
        snprintf(text + length, capacity - (size_t)length, " after %s @%#lx %s",
                 inject->sites[under->site].door, inject->sites[under->site].at,
                 inject_error_name(under->error));
}

static void report(const struct script *script, const char *what, const struct run *run)
{
    char fault[300];
    name_fault(fault, sizeof fault);
    cursor->failures++;
    if (run->rc < 0)
        proof_check(&proof, false, script->name, "[%s] %s (%d from %s: '%s')", fault, what, run->rc,
                    run->step, run->detail);
    else
        proof_check(&proof, false, script->name, "[%s] %s", fault, what);
}

/* ---------------------------------------------------------------- running */

/* The host could not open again the descriptor that it keeps in reserve, and does so when the next
 * peer comes: the run after this one must find everything as before. */
static int owed_fds(const struct script *script, const struct inject_fault *fault)
{
    return script->role == HOST && fault != NULL &&
           strcmp(inject->sites[fault->site].door, "open") == 0;
}

/* A call that fails again and again is made again after a pause. */
static void look_for_spinning(const struct script *script, const struct run *run)
{
    char what[100];
    for (uint32_t site = 0; site < inject->site_count; site++) {
        if (inject->calls[site] < SPINNING)
            continue;
        snprintf(what, sizeof what, "%s was called %u times in one run", inject->sites[site].door,
                 inject->calls[site]);
        report(script, what, run);
    }
}

static void execute(const struct script *script, const struct inject_fault *fault)
{
    struct run run = {0};
    char left[200];
    inject_plan(fault);
    script_before.owed_fds = owed_fds(script, fault);
    alarm(HANG_SECONDS);
    script->run(&run);
    inject_disarm();
    const char *wrong = judge(&run);
    if (wrong != NULL) {
        report(script, wrong, &run);
    } else if (!counts_await(&script_before)) {
        counts_tell(&script_before, left, sizeof left);
        report(script, left, &run);
        script_before = counts_settled();
    }
    alarm(0);
    look_for_spinning(script, &run);
    if (fault != NULL && inject->fired > 0) {
        cursor->executions++;
        cursor->tolerated += run.rc == 0;
        cursor->reported += run.rc != 0;
    }
}

/* A pointer to memory that is gone: carom__segment_replace has put zeros in the place of a mapping
 * that the kernel took away in vain; when even that fails nothing can be done. (Linux looks at the
 * number of mappings, which is what can run out, before it takes anything away.) */
static bool is_hopeless(const struct inject_site *site)
{
    return (strcmp(site->door, "mmap") == 0 || strcmp(site->door, "mremap") == 0) &&
           site->under.site != INJECT_NO_SITE &&
           strcmp(inject->sites[site->under.site].door, "mremap") == 0;
}

/* Not those that an existing connection or wait needs: where they fail for good there is no
 * conversation any more, and no reason why memory for them should be missing for ever. Nor mremap:
 * while it leaves holes the other threads of this process map things into them. */
static bool fails_for_good(const struct inject_site *site, int error)
{
    return !inject_is_passing(error) && strncmp(site->door, "sendmsg", 7) != 0 &&
           strncmp(site->door, "recv", 4) != 0 && strncmp(site->door, "futex", 5) != 0 &&
           strcmp(site->door, "poll") != 0 && strcmp(site->door, "mremap") != 0 &&
           strcmp(site->door, "epoll_ctl MOD") != 0; /* for which Linux needs no memory */
}

/* After these each error leads to another place: none is left out. */
static const char *const branching[] = {"accept4", "memfd_create", "sendfile", "write", NULL};

/* How many errors and calls of a site have their turn. */
static bool is_wanted(const int *errors)
{
    const struct inject_site *site = &inject->sites[cursor->site];
    uint32_t count = 0;
    if (is_hopeless(site))
        return false;
    while (errors[count] != 0)
        count++;
    if (cursor->mode == FOR_GOOD &&
        (proof.scale != PROOF_LONG || !fails_for_good(site, errors[cursor->error])))
        return false;
    if (cursor->call > 1 && (proof.scale != PROOF_LONG || cursor->call > site->calls))
        return false;
    if (proof.scale != PROOF_QUICK || cursor->error == 0 || is_one_of(site->door, branching))
        return true;
    return count > 1 && cursor->error == 1 + (proof.seed + cursor->site) % (count - 1);
}

/* Moves to the next of all combinations; false: that was the last. */
static bool advance(void)
{
    for (;;) {
        if (cursor->site >= inject->site_count)
            return false;
        const int *errors = inject_errors(inject->sites[cursor->site].door);
        if (++cursor->call > CALLS_MOST) {
            cursor->call = 1;
            cursor->mode++;
        }
        if (cursor->mode > FOR_GOOD) {
            cursor->mode = ONCE;
            cursor->error++;
        }
        if (errors[cursor->error] == 0) {
            cursor->error = 0;
            cursor->site++;
            cursor->call = 0;
            continue;
        }
        if (is_wanted(errors))
            return true;
    }
}

static void fail_each_in_turn(const struct script *script)
{
    double said = proof_seconds();
    while (proof_wants(&proof, script->name) && advance()) {
        const struct inject_site *site = &inject->sites[cursor->site];
        const struct inject_fault fault = {
            .site = cursor->site,
            .call = cursor->call,
            .error = inject_errors(site->door)[cursor->error],
            .mode = cursor->mode,
        };
        execute(script, &fault);
        execute(script, NULL);
        if (proof_seconds() - said > 5) {
            said = proof_seconds();
            printf("# %s: site %u of %u\n", script->name, cursor->site + 1, inject->site_count);
        }
    }
}

/* All of a script, in a child. */
static int child_main(const struct script *script)
{
    struct run run = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    is_operators = script->role == OPERATOR;
    inject_role = is_operators ? OPERATOR : NOBODY;
    memcpy(inject->lacks, script->lacks, sizeof inject->lacks);
    if (script->begin != NULL)
        script->begin();
    inject_plan(NULL);
    script->run(&run); /* what the first run makes for the life of the process does not count */
    inject_disarm();
    script_before = counts_settled();
    execute(script, NULL);
    fail_each_in_turn(script);
    cursor->done = true;
    if (script->end != NULL)
        script->end();
    if (__lsan_do_recoverable_leak_check() != 0)
        report(script, "memory was leaked", &run);
    return proof.failures > 0;
}

static int run_child(const struct script *script)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        proof.failures = 0;
        _exit(child_main(script));
    }
    while (waitpid(child, &status, 0) < 0) {
    }
    return status;
}

static void run_script(const struct script *script)
{
    int crashes = 0;
    double begun = proof_seconds();
    *cursor = (struct cursor){0};
    inject->site_count = 0;
    while (!cursor->done && crashes < CRASHES_MOST) {
        struct run run = {0};
        char how[80];
        world_folder_make();
        int status = run_child(script);
        world_folder_remove();
        if (WIFEXITED(status) && cursor->done)
            break;
        crashes++;
        snprintf(how, sizeof how, WIFSIGNALED(status) ? "%sdied of signal %d" : "%sended with %d",
                 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hung: " : "",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        inject_disarm();
        report(script, how, &run);
        if (inject->fault.site == INJECT_NO_SITE && cursor->call == 0)
            break; /* it does not even work with nothing failing */
    }
    printf("# %s: %.1f s\n", script->name, proof_seconds() - begun);
    proof.executions += cursor->executions;
    proof.failures += cursor->failures;
    uint32_t fired = 0;
    for (uint32_t i = 0; i < inject->site_count; i++) {
        fired += inject->sites[i].fired > 0;
        printf("site %#lx %u %u %s\n", inject->sites[i].at, inject->sites[i].calls,
               inject->sites[i].fired, inject->sites[i].door);
    }
    if (cursor->failures == 0)
        proof_check(&proof, true, script->name,
                    "%llu failures at %u call sites: %llu made no difference, %llu were reported",
                    (unsigned long long)cursor->executions, fired,
                    (unsigned long long)cursor->tolerated, (unsigned long long)cursor->reported);
}

/* Each of several processes has a part of the scripts: $CAROM_FAILING_PART is "NUMBER/COUNT". */
static void run_scripts(const struct script *scripts, const char *part)
{
    static unsigned long number;
    char *slash = NULL;
    unsigned long mine = part != NULL ? strtoul(part, &slash, 10) : 0;
    unsigned long count = slash != NULL && *slash == '/' ? strtoul(slash + 1, NULL, 10) : 1;
    for (const struct script *script = scripts; script->name != NULL; script++) {
        if (number++ % count == mine && proof_wants(&proof, script->name))
            run_script(script);
    }
}

int main(int argc, char **argv)
{
    int status;
    if (actor_is_wanted(argc, argv, &status))
        return status;
    proof = proof_begin(argc, argv);
    cursor = mmap(NULL, sizeof *cursor, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (cursor == MAP_FAILED)
        return 2;
    inject_begin();
    const struct script *const all[] = {client_scripts, worker_scripts, host_scripts,
                                        launch_scripts, death_scripts};
    const char *part = getenv("CAROM_FAILING_PART");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        run_scripts(all[i], part);
    return proof_end(&proof);
}
