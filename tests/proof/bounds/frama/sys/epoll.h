/* SPDX-License-Identifier: Apache-2.0
 *
 * epoll.h - Frama-C's C library has none; world.c answers anything. */
#ifndef BOUNDS_EPOLL_H
#define BOUNDS_EPOLL_H
#include <stdint.h>

typedef union epoll_data {
    void *ptr;
    int fd;
    uint32_t u32;
    uint64_t u64;
} epoll_data_t;
struct epoll_event {
    uint32_t events;
    epoll_data_t data;
};
#define EPOLLIN 0x001
#define EPOLLOUT 0x004
#define EPOLLERR 0x008
#define EPOLLHUP 0x010
#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define EPOLL_CTL_MOD 3
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
#endif
