/* SPDX-License-Identifier: Apache-2.0
 *
 * scene.h - what a subject is killed in the middle of, and what must hold afterwards.
 *
 * A scenario is an operation under a condition. Its service lives as long as the scenario: host,
 * worker and two clients survive every kill, so that what one kill leaves behind shows. A point is
 * one subject and one kill: where, and what happened to the subject's world before. */
#ifndef SCENE_H
#define SCENE_H

#include "board.h"
#include "step.h"

enum when {
    NO_EVENT,
    WHEN_ASLEEP, /* the event ends a sleep of the subject's */
    ANYWHERE,    /* it comes between any two instructions: interference */
};

struct scenario {
    const char *name;     /* operation, condition */
    void (*body)(void);   /* the subject: prepares, marker(), the operation, marker() */
    void (*first)(void);  /* before anything else */
    void (*before)(void); /* before the subject is there */
    void (*ready)(void);  /* the subject is at its begin marker */
    enum when when;
    void (*event)(void);
    bool (*done)(void); /* hosts: asleep again, is it through? */
    bool busy;          /* the surviving worker runs a call of the other client's meanwhile */
    bool rival;         /* another thread of the subject makes calls */
    bool exchange;      /* the host dies and has a successor while the subject prepares */
    bool late;          /* the host notices the death only after another call was made */
    bool host;          /* the subject is a host */
    bool opens;         /* a host that nobody has joined yet */
    bool victim;        /* a peer of the host dies, which would not end by itself */
    int answer;         /* how calls end that the subject answered */
    int waiting;        /* how calls end that nobody had claimed */
};

extern const struct scenario client_scenarios[], worker_scenarios[], host_scenarios[];

/** Where a subject is killed. */
struct point {
    uint32_t event_at; /* ANYWHERE: instructions before the event */
    uint32_t at;       /* instructions before the kill; ANYWHERE: after the event */
    uint32_t acts;     /* ANYWHERE: instead, instructions that others see; 0 does not count */
    bool asleep;       /* in the sleep that the event ends */
};

/** Starts and ends the survivors of a scenario. */
bool scene_begin(const struct scenario *scenario);
void scene_end(void);

/** Whether nothing of carom's has a name in /dev/shm. */
bool scene_is_clean(void);

/** Starts a subject; it is at its begin marker. */
bool scene_start(const struct scenario *scenario, struct subject *subject);

/** Kills it and checks everything. */
bool scene_kill(const struct scenario *scenario, struct subject *subject);

/* ---- for events */

/** Waits until the surviving worker, or client, sleeps in the library. */
bool worker_parked(void);
bool caller_asleep(void);

/** The client is in a command from which it comes back after the kill. */
void tell_caller(enum command command);

/** The other client has a call that the surviving worker runs until the gate opens. */
void hold_worker(void);

/* ---- for host_scene.c, the parts of the above */

void new_point(void);
void finish_calls(void);
void check_possessions(int which, const char *who);
void check_runs(void);
int count_fds(pid_t pid);

/** For subjects: what came of a call. */
void note_end(uint32_t number, int outcome);

/** State of the client's first call. */
uint64_t caller_state(uint32_t call);

#endif
