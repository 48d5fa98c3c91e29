/* SPDX-License-Identifier: Apache-2.0
 *
 * support.c - the house-keeper of the unit tests. See support.h. */
#include "support.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WATCHDOG_SECONDS 100
#define MOST_CHILDREN 16
#define MOST_THREADS 64

struct board *board;

static char folder[64];
static void (*tidiers[4])(void);
static size_t tidier_count;
static pid_t children[MOST_CHILDREN];
static int fds_before, mappings_before, threads_before;

void failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: required: %s\n", file, line, condition);
    abort();
}

void pause_briefly(void)
{
    struct timespec briefly = {0, 50000};
    nanosleep(&briefly, NULL);
}

/* ---------------------------------------------------------------- what is open */

static int count_entries(const char *path)
{
    int count = 0;
    DIR *entries = opendir(path);
    require(entries != NULL);
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    return count;
}

int open_fds(void)
{
    return count_entries("/proc/self/fd");
}

static int threads(void)
{
    return count_entries("/proc/self/task");
}

int carom_mappings(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    require(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "carom-") != NULL;
    (void)fclose(maps);
    return count;
}

/* ---------------------------------------------------------------- around each test */

static void *tell_path(void *path)
{
    snprintf(path, 64, "/proc/self/task/%d", (int)gettid());
    return NULL;
}

/* A sanitizer starts a thread of its own with the first of ours. */
static void start_first_thread(void)
{
    char path[64];
    thread_join(thread_start(tell_path, path));
    await(access(path, F_OK) != 0); /* a joined thread leaves /proc a moment later */
}

void begin_program(void)
{
    alarm(WATCHDOG_SECONDS);
    start_first_thread();
    /* orphans of children come to this process, which waits for them */
    require(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
}

const char *test_folder(void)
{
    return folder;
}

void at_end_of_test(void (*tidy)(void))
{
    for (size_t i = 0; i < tidier_count; i++) {
        if (tidiers[i] == tidy)
            return;
    }
    require(tidier_count < sizeof tidiers / sizeof tidiers[0]);
    tidiers[tidier_count++] = tidy;
}

int before_test(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/carom-unit-XXXXXX");
    require(mkdtemp(folder) != NULL);
    require(setenv("CAROM_DIR", folder, 1) == 0);
    board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(board != MAP_FAILED);
    fds_before = open_fds();
    mappings_before = carom_mappings();
    threads_before = threads();
    return 0;
}

static void tidy_up(void)
{
    add_to(&board->finish, 1);
    add_to(&board->release, 1000);
    while (tidier_count > 0)
        tidiers[--tidier_count]();
    for (int i = 0; i < MOST_CHILDREN; i++) {
        if (children[i] != 0)
            child_kill(children[i]);
    }
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) { /* orphans: they look at board->finish */
    }
}

int after_test(void **state)
{
    (void)state;
    tidy_up();
    await(threads() == threads_before); /* as in start_first_thread */
    int fds = open_fds(), mappings = carom_mappings();
    bool left_files = rmdir(folder) != 0;
    munmap(board, 4096);
    unsetenv("CAROM_DIR");
    if (fds != fds_before)
        print_error("the test left %d descriptors open\n", fds - fds_before);
    if (mappings != mappings_before)
        print_error("the test left %d mappings\n", mappings - mappings_before);
    if (left_files)
        print_error("the test left files in %s\n", folder);
    return fds == fds_before && mappings == mappings_before && !left_files ? 0 : -1;
}

/* ---------------------------------------------------------------- threads */

pthread_t thread_start(void *(*main)(void *), void *argument)
{
    pthread_t thread;
    require(pthread_create(&thread, NULL, main, argument) == 0);
    return thread;
}

void thread_join(pthread_t thread)
{
    require(pthread_join(thread, NULL) == 0);
}

struct together {
    void *(*main)(void *);
    void *argument;
    pthread_barrier_t start;
};

static void *together_main(void *argument)
{
    struct together *together = argument;
    pthread_barrier_wait(&together->start);
    return together->main(together->argument);
}

void run_together(int count, void *(*main)(void *), void *argument)
{
    struct together together = {.main = main, .argument = argument};
    pthread_t started[MOST_THREADS];
    require(count <= MOST_THREADS);
    pthread_barrier_init(&together.start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++)
        started[i] = thread_start(together_main, &together);
    for (int i = 0; i < count; i++)
        thread_join(started[i]);
    pthread_barrier_destroy(&together.start);
}

/* The kernel shows the system call that a thread is in: number, then arguments. */
static bool sleeps_on(const char *thread, const void *word)
{
    char path[300], text[256] = "", wanted[64];
    snprintf(path, sizeof path, "/proc/self/task/%s/syscall", thread);
    snprintf(wanted, sizeof wanted, "%d 0x%" PRIxPTR " ", (int)SYS_futex, (uintptr_t)word);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool read = fgets(text, sizeof text, file) != NULL;
    (void)fclose(file);
    return read && strncmp(text, wanted, strlen(wanted)) == 0;
}

static int sleepers_on(const void *word)
{
    int count = 0;
    DIR *entries = opendir("/proc/self/task");
    require(entries != NULL);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        count += entry->d_name[0] != '.' && sleeps_on(entry->d_name, word);
    closedir(entries);
    return count;
}

void await_asleep(const void *word, int count)
{
    await(sleepers_on(word) == count);
}

/* ---------------------------------------------------------------- children */

static int place_of(pid_t child)
{
    for (int i = 0; i < MOST_CHILDREN; i++) {
        if (children[i] == child)
            return i;
    }
    failed("a child of this test", __FILE__, __LINE__);
}

/* cmocka catches these to end a test; in a child that would run the rest of the suite twice. */
static void die_of_signals(void)
{
    const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        require(signal(numbers[i], SIG_DFL) != SIG_ERR);
}

pid_t child_start(int (*main)(void *), void *argument)
{
    int place = place_of(0);
    pid_t child = fork();
    require(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        die_of_signals();
        alarm(WATCHDOG_SECONDS);
        _exit(main(argument));
    }
    children[place] = child;
    return child;
}

int child_join(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        require(errno == EINTR);
    children[place_of(child)] = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void child_kill(pid_t child)
{
    kill(child, SIGKILL);
    child_join(child);
}

int in_child(int (*main)(void *), void *argument)
{
    return child_join(child_start(main, argument));
}
