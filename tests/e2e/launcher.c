/* SPDX-License-Identifier: Apache-2.0
 *
 * launcher.c - a program with a pool of its own that does what test_launch.py tells it, one line
 * each way.
 *
 *     launcher FOLDER APPLICATION WORKERS [OPTION OF carom serve]...
 *
 * With $LAUNCH_TIMEOUT_NS; with $LAUNCH_ON_THREAD the pool is launched by a thread that ends at
 * once. Says "pool PID SERVICE", or "failed ERRNO" and then the detail, and exits. Then, of each
 * line of standard input:
 *
 *     call    "called PID": the method `pid` has answered
 *     fork    "forked PID": a child that has everything of this program and sleeps
 *     close   "closed"
 *     abort   dies of a signal
 *
 * At the end of the input it returns from main without closing the pool. It ignores SIGINT. */
#include <carom.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS INT64_C(20000000000)

static struct carom_launch_options options = {.size = sizeof options};
static const char *application;
static uint32_t workers;
static struct carom_pool *pool;

static int fail(int error)
{
    printf("failed %d\n%s\n", -error, carom_error_detail());
    return 1;
}

static void *launch(void *result)
{
    *(int *)result = carom_launch(application, workers, &options, &pool);
    if (*(int *)result != 0)
        fail(*(int *)result);
    return NULL;
}

static int launch_on_thread(void)
{
    pthread_t thread;
    int result = 1;
    if (pthread_create(&thread, NULL, launch, &result) == 0)
        pthread_join(thread, NULL);
    return result;
}

static void call(void)
{
    struct carom_client *client = NULL;
    char reply[32];
    size_t length = 0;
    int result = carom_client_open(carom_pool_service(pool), PATIENCE_NS, NULL, &client);
    if (result == 0)
        result = carom_invoke(client, carom_client_method(client, "pid"), "", 0, reply,
                              sizeof reply, &length, PATIENCE_NS);
    if (result == CAROM_OK)
        printf("called %.*s\n", (int)length, reply);
    else
        fail(result);
    carom_client_close(client);
}

static void fork_sleeper(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        carom_pool_close(pool);
        for (;;)
            pause();
    }
    printf("forked %d\n", (int)child);
}

static void obey(const char *command)
{
    if (strcmp(command, "call\n") == 0)
        call();
    if (strcmp(command, "fork\n") == 0)
        fork_sleeper();
    if (strcmp(command, "abort\n") == 0)
        abort();
    if (strcmp(command, "close\n") == 0) {
        carom_pool_close(pool);
        pool = NULL;
        puts("closed");
    }
}

int main(int argc, char **argv)
{
    char command[64];
    const char *timeout = getenv("LAUNCH_TIMEOUT_NS");
    if (argc < 4)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGINT, SIG_IGN);
    options.folder = argv[1];
    options.arguments = (const char *const *)(argv + 4);
    options.timeout_ns = timeout != NULL ? strtoll(timeout, NULL, 10) : 0;
    application = argv[2];
    workers = (uint32_t)strtoul(argv[3], NULL, 10);
    int result = 1;
    if (getenv("LAUNCH_ON_THREAD") != NULL)
        result = launch_on_thread();
    else
        launch(&result);
    if (result != 0)
        return 1;
    printf("pool %d %s\n", (int)carom_pool_pid(pool), carom_pool_service(pool));
    while (fgets(command, sizeof command, stdin) != NULL)
        obey(command);
    return 0;
}
