/* SPDX-License-Identifier: Apache-2.0
 *
 * inject.h - makes one call that the library makes of libc fail: which one, and with which error.
 *
 * The program is linked so that the library's calls of open, mmap, malloc and so on arrive at
 * doors.c instead (wrap.txt). A *site* is one such call in the library's code, known by its
 * return address. A *fault* is: the Nth call from this site fails with this error, once or for
 * good. Only the thread whose role is armed is looked at, so that one side of a conversation can
 * be made to fail while the other, in the same process, cannot.
 *
 * Everything is in memory shared with the children in which scripts run, so that the parent knows
 * what was being done when one of them died. */
#ifndef INJECT_H
#define INJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum inject_role { NOBODY, OPERATOR, HOST };

/** Not of the kernel's: the call does half of what it was asked for. */
#define HALF 1001
/** Not of the kernel's: recvmsg had no room in the table of descriptors (MSG_CTRUNC). */
#define CUT_OFF 1002

enum inject_mode { ONCE, FOR_GOOD };

struct inject_fault {
    uint32_t site; /* index; INJECT_NO_SITE nothing is made to fail */
    uint32_t call; /* which call from that site, from 1 */
    int error;
    enum inject_mode mode;
};
#define INJECT_NO_SITE UINT32_MAX

/** A function that always fails in a script, as on a machine that does not have it. */
struct inject_lack {
    const char *door;
    int error;
};

struct inject_site {
    uintptr_t at;     /* return address */
    const char *door; /* "open", "fcntl F_SETLK" */
    uint32_t calls;   /* most in one run */
    uint32_t fired;   /* faults that were made there */
    /* seen only where something else had failed: that. Else its site is INJECT_NO_SITE */
    struct inject_fault under;
};

#define INJECT_SITES 512
#define INJECT_LACKS 1

struct inject {
    _Atomic int armed; /* role */
    struct inject_fault fault;
    struct inject_fault under; /* made to fail as well, so that the fault's site is reached */
    struct inject_lack lacks[INJECT_LACKS];
    uint32_t fired;
    uint32_t site_count;
    struct inject_site sites[INJECT_SITES];
    uint32_t calls[INJECT_SITES]; /* in this run */
};

extern struct inject *inject;
extern _Thread_local enum inject_role inject_role;
/** Blocks of memory that the library and this program have and have not freed. */
extern _Atomic long inject_blocks;

/** Once, before any child. */
void inject_begin(void);

/** A run begins: what shall fail in it; NULL nothing. */
void inject_plan(const struct inject_fault *fault);

void inject_arm(enum inject_role role);
void inject_disarm(void);

/** The errors with which a door can fail, ending in 0. */
const int *inject_errors(const char *door);

/** Whether an error is one of those after which the caller is to try again at once. */
bool inject_is_passing(int error);

/** "EMFILE". */
const char *inject_error_name(int error);

/** Whether this call shall fail: the error, or 0. For doors.c. */
int inject_look(const char *door, uintptr_t site);

#endif
