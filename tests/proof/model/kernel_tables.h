/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_tables.h - the modelled kernel's memory: files, descriptors, objects, mappings. It lies in
 * the arena, so it is part of the state of the world and is put back with it. */
#ifndef KERNEL_TABLES_H
#define KERNEL_TABLES_H

#include "arena.h"
#include "kernel.h"
#include "tasks.h"

#define KERNEL_FILES 96
#define KERNEL_FDS 48
#define KERNEL_FIRST_FD 1000
#define KERNEL_OBJECTS 48
#define KERNEL_MAPPINGS 48
#define KERNEL_SOCKETS 32
#define KERNEL_QUEUE 8
#define KERNEL_MESSAGE 320
#define KERNEL_MESSAGE_FILES 5
#define KERNEL_WATCHES 24

enum kernel_type {
    FILE_NONE,
    FILE_OBJECT,
    FILE_SOCKET,
    FILE_EPOLL,
    FILE_EVENT,
    FILE_PIDFD,
    FILE_NULL
};

struct kernel_file {
    enum kernel_type type;
    unsigned refs;  /* descriptors and messages on their way */
    unsigned index; /* object, socket, process of a pidfd */
    bool writable;
    uint64_t counter; /* of an eventfd */
    struct {
        int fd; /* in the process that watches; 0 none */
        int file;
        uint32_t events;
        void *data;
    } watches[KERNEL_WATCHES];
};

struct kernel_message {
    unsigned bytes;
    unsigned file_count;
    int files[KERNEL_MESSAGE_FILES];
    char data[KERNEL_MESSAGE];
};

struct kernel_socket {
    bool used, listening, connected, hung_up; /* hung_up: the other end is closed */
    int peer;                                 /* socket */
    int file;
    unsigned owner; /* process that made it */
    unsigned peer_owner;
    char name[32];
    unsigned first, count;
    struct kernel_message queue[KERNEL_QUEUE];
    int waiting[KERNEL_QUEUE]; /* listening: files of ends that nobody has accepted */
    unsigned waiting_count;
};

struct kernel_object {
    char *at;
    size_t bytes;
    unsigned refs;              /* files and mappings */
    uint8_t readable, writable; /* bit = process */
};

struct kernel_mapping {
    int object; /* -1 none */
    size_t left_bytes;
    bool writable;
};

struct kernel_tables {
    struct kernel_file files[KERNEL_FILES];
    int fds[MODEL_PROCESSES][KERNEL_FDS]; /* file, -1 none */
    struct kernel_object objects[KERNEL_OBJECTS];
    struct kernel_mapping mappings[MODEL_PROCESSES][KERNEL_MAPPINGS];
    struct kernel_socket sockets[KERNEL_SOCKETS];
    unsigned object_count;
};

extern struct kernel_tables *kernel;

#define KERNEL_TOUCH(thing) arena_touch(&(thing), sizeof(thing))
#define KERNEL_HERE __builtin_return_address(0)

/** Something of this file may have become ready: whoever waits for it looks again. */
void kernel_stir(int file);

int kernel_new_file(enum kernel_type type, unsigned index, bool writable);
/** A descriptor of the running process for a file; -1 with errno. */
int kernel_new_fd(int file);
/** The file behind a descriptor of the running process; -1 with errno EBADF. */
int kernel_file_of(int fd);
void kernel_release(int file);

/* kernel_memory.c */
void kernel_object_release(unsigned object);
void kernel_unmap_all(unsigned process);

/* kernel_sockets.c */
void kernel_socket_close(unsigned socket);
short kernel_ready(int file, short events);

#endif
