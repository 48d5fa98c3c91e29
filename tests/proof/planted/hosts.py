# SPDX-License-Identifier: Apache-2.0
"""Planted bugs in the host."""

from __future__ import annotations

from planted.bug import bug

BUGS = (
    bug(
        "wakes_not_repeated",
        "after a worker's death the host does not repeat the wakes that it may have owed",
        ("lib/host_deaths.c", """    carom__lane_repeat_wakes(&lane->lane);\n""", ""),
    ),
    bug(
        "workers_not_woken",
        "after a death the host does not wake the workers, one of which may have been meant",
        (
            "lib/host_peers.c",
            """    /* once for all: it may have taken a wake-up with it, and there is news */
    carom__host_wake_workers(host);""",
            "",
        ),
    ),
    bug(
        "ready_bit_not_set_again",
        "a worker dies between clearing a ready bit and looking again; the host leaves it so",
        ("lib/host_deaths.c", """        carom__bell_set_ready(host->bell, lane);\n""", ""),
    ),
    bug(
        "host_reclaims_on_a_timer",
        "the host takes a worker for dead that has not been heard of for a while",
        (
            "lib/host.c",
            """host->greeting > 0 ? GREETING_MS : -1;""",
            """host->greeting > 0 ? GREETING_MS : 300;""",
        ),
        (
            "lib/host.c",
            """    carom__host_expire(host);
    carom__host_sweep(host);""",
            """    carom__host_expire(host);
    for (uint32_t i = 0; count == 0 && i < host->max_workers; i++) {
        if (host->workers[i] != NULL)
            carom__host_bury(host, host->workers[i]);
    }
    carom__host_sweep(host);""",
        ),
    ),
    bug(
        "peer_by_number",
        "the host opens its own pidfd of a worker or client, by the number the kernel gives it",
        (
            "lib/host_admission.c",
            """watch_pidfd(host, peer, carom__take_fd(&fds, 0));""",
            """watch_pidfd(host, peer, (int)syscall(SYS_pidfd_open, peer->pid, 0));""",
        ),
        (
            "lib/host_admission.c",
            """#include <sys/socket.h>""",
            """#include <sys/socket.h>
#include <sys/syscall.h>""",
        ),
    ),
    bug(
        "one_peer_per_number",
        "a client with the process id of another is taken for that one, come again",
        (
            "lib/host_admission.c",
            """    peer->role = CAROM__CLIENT;""",
            """    for (uint32_t other = 0; other < host->max_clients; other++) {
        if (host->clients[other] != NULL && host->clients[other]->pid == peer->pid)
            carom__host_bury(host, host->clients[other]);
    }
    peer->role = CAROM__CLIENT;""",
        ),
    ),
    bug(
        "no_pidfd_no_death",
        "a worker without a pidfd that hangs up is never taken for dead",
        (
            "lib/host_peers.c",
            """    if (worker->pidfd < 0 || carom__host_is_dead(worker)) {""",
            """    if (carom__host_is_dead(worker)) {""",
        ),
    ),
    bug(
        "anybody_admitted",
        "the host does not look at who connects",
        (
            "lib/host_admission.c",
            """    if (uid == geteuid())
""",
            """    if (uid == geteuid() || uid > 0)
""",
        ),
    ),
    bug(
        "descriptor_kept",
        "the host does not close the requests of a client that has gone",
        (
            "lib/host_lanes.c",
            """    close_fd(lane->requests_fd);""",
            """    (void)lane->requests_fd;""",
        ),
    ),
    bug(
        "unchecked_method_count",
        "the host reads as many methods as HELLO says if it brings none",
        (
            "lib/host_admission.c",
            """if (hello->role == CAROM__WORKER) /* more than CAROM__MAX_METHODS fit no message */
        names =""",
            """if (hello->role == CAROM__WORKER &&
        hello->method_count <= CAROM__MAX_METHODS)
        names =""",
        ),
        (
            "lib/host_admission.c",
            """sizeof *hello + names ||
        (hello->role == CAROM__WORKER && hello->method_count > CAROM__MAX_METHODS))""",
            """sizeof *hello + names)""",
        ),
    ),
    bug(
        "reclaim_on_timer",
        "a host that takes a worker for dead which has run its call for a second",
        (
            "lib/host.c",
            """#include "segment.h"
#include "wait.h\"""",
            """#include "segment.h"
#include "stats.h"
#include "wait.h\"""",
        ),
        (
            "lib/host.c",
            """GREETING_MS : -1;""",
            """GREETING_MS : 100;""",
        ),
        (
            "lib/host.c",
            """/* True: told to stop. */
static bool handle(""",
            """static void reclaim_silent(struct carom_host *host)
{
    int64_t since_ns = 0;
    for (uint32_t id = 0; id < host->max_workers; id++) {
        if (host->workers[id] != NULL &&
            carom__running(&host->statistics->workers[id], &since_ns) >= 0 &&
            carom__now_ns() - since_ns > INT64_C(1000000000))
            carom__host_end(host, host->workers[id]);
    }
}

/* True: told to stop. */
static bool handle(""",
        ),
        (
            "lib/host.c",
            """    carom__host_expire(host);
""",
            """    carom__host_expire(host);
    reclaim_silent(host);
""",
        ),
    ),
    bug(
        "lane_descriptor_leak",
        "a host that forgets to close one of the descriptors of a dead client",
        ("lib/host_lanes.c", """    close_fd(lane->replies_fd);\n""", ""),
    ),
    bug(
        "dead_workers_calls_stay",
        "a host that does not end the calls which a dead worker ran",
        (
            "lib/host_deaths.c",
            """slot = 0; carom__lane_find_running(""",
            """slot = 0; death->calls > 0 && carom__lane_find_running(""",
        ),
    ),
    bug(
        "dead_stay_parked",
        "the host leaves the parked bit of a dead worker, and clients wake the dead",
        (
            "lib/host_peers.c",
            """    carom__bell_forget_worker(host->bell, peer->id);
""",
            "",
        ),
    ),
    bug(
        "lane_stays_open",
        "the host buries a client and keeps the memory of its lane",
        ("lib/host_peers.c", """    carom__host_lane_close(peer, true);\n""", ""),
    ),
    bug(
        "unchecked_quarantine_length",
        "the host believes the length of a request that it keeps",
        (
            "lib/host_quarantine.c",
            """    if (request_bytes > lane->geometry.request_block_bytes)""",
            """    if (request_bytes == UINT64_MAX)""",
        ),
    ),
    bug(
        "unchecked_poisoned_lane",
        "the host believes which lane a worker calls poisoned",
        (
            "lib/host_peers.c",
            """message->lane < host->max_clients ? host->clients[message->lane]
                                                                   : NULL;""",
            """host->clients[message->lane];""",
        ),
    ),
    bug(
        "leaked_descriptor",
        "the host keeps descriptors that came beside a refused HELLO",
        (
            "lib/host_admission.c",
            """    carom__close_fds(&fds);
    carom__host_greeted(host, peer);""",
            """    if (rc == 0)
        carom__close_fds(&fds);
    carom__host_greeted(host, peer);""",
        ),
    ),
    bug(
        "unchecked_method_of_dead",
        "a host that believes which method a dead worker ran",
        (
            "lib/host_deaths.c",
            """method < count ? host->directory->methods[method].name : "?";""",
            """count > 0 ? host->directory->methods[method].name : "?";""",
        ),
    ),
)
