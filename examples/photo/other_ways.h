/* SPDX-License-Identifier: Apache-2.0
 *
 * other_ways.h - the two ways with which demo.c compares carom: a fresh Python process for every
 * call, and a warm Python process behind a Unix stream socket (unix_server.py). Both are written
 * with care: one writev per request, no polling, no copy that is not needed. They return 0 or a
 * negative errno. */
#ifndef OTHER_WAYS_H
#define OTHER_WAYS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Memory for an answer and how much of it is one. */
struct answer {
    uint8_t *bytes;
    size_t capacity;
    size_t length;
};

static inline int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0)
            return -errno;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

/* Reads to the end of the file. */
static inline int read_to_end(int fd, struct answer *answer)
{
    for (;;) {
        if (answer->length == answer->capacity)
            return -EMSGSIZE;
        ssize_t got = read(fd, answer->bytes + answer->length, answer->capacity - answer->length);
        if (got <= 0)
            return got < 0 ? -errno : 0;
        answer->length += (size_t)got;
    }
}

/* python -c script < request > answer. The script reads all of its input before it writes. */
static inline int call_fresh_process(const char *python, const char *script, const uint8_t *request,
                                     size_t length, struct answer *answer)
{
    extern char **environ;
    char *const arguments[] = {(char *)python, "-c", (char *)script, NULL};
    int to[2], from[2], status;
    pid_t pid;

    answer->length = 0;
    if (pipe2(to, O_CLOEXEC) != 0)
        return -errno;
    if (pipe2(from, O_CLOEXEC) != 0) {
        int error = -errno;
        close(to[0]);
        close(to[1]);
        return error;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    int result = -posix_spawn(&pid, python, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    if (result == 0) {
        result = write_all(to[1], request, length);
        close(to[1]);
        int read_result = read_to_end(from[0], answer);
        waitpid(pid, &status, 0);
        if (result == 0)
            result = read_result != 0 ? read_result : status != 0 ? -ECHILD : 0;
    } else {
        close(to[1]);
    }
    close(from[0]);
    return result;
}

/* Connects to unix_server.py, waiting up to timeout_ms for its socket to appear. */
static inline int connect_unix(const char *path, int timeout_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        timeout_ms -= 10;
        if (timeout_ms <= 0) {
            int error = -errno;
            close(fd);
            return error;
        }
        nanosleep(&pause, NULL);
    }
    return fd;
}

static inline int read_exactly(int fd, void *bytes, size_t length)
{
    ssize_t got = recv(fd, bytes, length, MSG_WAITALL);
    if (got < 0)
        return -errno;
    return (size_t)got == length ? 0 : -ECONNRESET;
}

static inline int call_unix(int fd, uint32_t method, const uint8_t *request, size_t length,
                            struct answer *answer)
{
    uint32_t head[2] = {method, (uint32_t)length}, answer_length;
    struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)request, length}};
    ssize_t written = writev(fd, parts, 2);

    if (written < (ssize_t)sizeof head)
        return written < 0 ? -errno : -EPIPE;
    size_t sent = (size_t)written - sizeof head;
    int result = write_all(fd, request + sent, length - sent);
    if (result == 0)
        result = read_exactly(fd, &answer_length, sizeof answer_length);
    if (result != 0)
        return result;
    if (answer_length > answer->capacity)
        return -EMSGSIZE;
    answer->length = answer_length;
    return read_exactly(fd, answer->bytes, answer_length);
}

#endif
