/* SPDX-License-Identifier: Apache-2.0
 *
 * host_scene.c - what must hold after the death of a host. See host_scene.h.
 *
 * The survivors sleep in slices of 1 ms here: a host that is dead wakes nobody. */
#include "host_scene.h"

#include "puppet.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static uint32_t joined; /* how often the surviving worker was there, before this host */
static pid_t host;
static int host_fds;

bool host_scene_begin(const struct scenario *scenario)
{
    host = 0;
    bool ok = scene_begin(scenario);
    set_to(&board->joined, 1); /* the surviving worker alone */
    set_to(&board->left, 0);
    puppet_stop(HOST);
    return ok;
}

bool host_has_fds(int more)
{
    return count_fds(host) == host_fds + more;
}

/* Worker and clients find the host that is there now. */
static bool everybody_comes_back(const char *to)
{
    if (!await(value_of(&board->joined) == joined + 1))
        return bad("the surviving worker does not come back to %s", to);
    for (int which = CALLER; which <= BYSTANDER; which++) {
        if (ask(which, CHECK, 0, 0, 0) != 0)
            return bad("a surviving client does not come back to %s", to);
    }
    return problem[0] == '\0';
}

static void check_peer_ends(void)
{
    struct puppet *peer = &board->puppets[FILLER];
    int status = 0;
    if (peer->pid <= 0)
        return;
    if (!await(waitpid(peer->pid, &status, WNOHANG) == peer->pid)) {
        bad("the peer that came or went does not end");
        puppet_stop(FILLER);
    } else if (status != 0) {
        bad("the peer that came or went: status %#x", status);
    }
    peer->pid = 0;
}

/* After the death of a host, on the one that took its name over: everybody is there again, and has
 * what it had. */
static void check_return(const char *to)
{
    everybody_comes_back(to);
    check_peer_ends();
    check_possessions(WORKER, "worker");
    check_possessions(CALLER, "client");
    check_possessions(BYSTANDER, "other client");
    check_runs();
}

/* The subject is up: it has taken the name of the one that was killed before. */
static bool join_subject(const struct scenario *scenario, struct subject *subject)
{
    uint32_t up = value_of(&board->up);
    if (!subject_launch(subject, scenario->body))
        return false;
    host = subject->pid;
    if (!await(value_of(&board->up) == up + 1))
        return bad("no new host can take the name over");
    check_return("the new host");
    new_point();
    if (scenario->busy)
        hold_worker();
    if (scenario->before != NULL)
        scenario->before();
    if (!await(sleeps_in_call(host, SYS_epoll_wait) &&
               futex_of(board->puppets[WORKER].pid) != NULL))
        return bad("the service does not come to rest");
    host_fds = count_fds(host);
    return problem[0] == '\0' && subject_interrupt(subject);
}

bool host_scene_start(const struct scenario *scenario, struct subject *subject)
{
    joined = value_of(&board->joined);
    if (!await(value_of(&board->left) == joined)) /* the host before */
        return bad("the surviving worker does not notice that the host is dead");
    if (!scenario->opens)
        return join_subject(scenario, subject);
    new_point();
    return subject_start(subject, scenario->body);
}

/* Without a host a call may end with that, or as it would have ended. */
static void check_outcomes(int which)
{
    const struct puppet *puppet = &board->puppets[which];
    for (uint32_t i = 0; i < puppet->count; i++) {
        int outcome = puppet->calls[i].outcome;
        uint32_t runs = value_of(&board->runs[puppet->calls[i].number]);
        bool known = outcome == 0 || outcome == -EHOSTDOWN || outcome == -ESHUTDOWN ||
                     outcome == CAROM_UNAVAILABLE;
        if (!known || runs > 1 || (outcome == 0 && runs != 1))
            bad("call %u of client %d: outcome %d, %u runs", i, which, outcome, runs);
    }
}

bool host_scene_succeed(void)
{
    uint32_t up = value_of(&board->up);
    joined = value_of(&board->joined);
    if (!await(value_of(&board->left) == joined))
        return bad("the surviving worker does not notice that the host is dead");
    puppet_start(HOST, host_body);
    if (!await(value_of(&board->up) == up + 1))
        bad("no new host can take the name over");
    check_return("the new host");
    puppet_stop(HOST);
    return problem[0] == '\0';
}

bool host_scene_kill(const struct scenario *scenario, struct subject *subject)
{
    subject_kill(subject);
    finish_calls();
    set_to(&board->finish, 1);
    word_wake(&board->finish);
    if (scenario->victim)
        puppet_stop(FILLER);
    check_outcomes(CALLER);
    check_outcomes(BYSTANDER);
    return scenario->opens ? host_scene_succeed() : problem[0] == '\0';
}
