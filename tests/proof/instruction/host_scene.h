/* SPDX-License-Identifier: Apache-2.0
 *
 * host_scene.h - the same for hosts: the subject is the service's host, whom worker and clients
 * survive. Hosts follow each other on the same name: each subject takes over that of the one killed
 * before it, and it is checked that everybody has come back and nothing was left behind. */
#ifndef HOST_SCENE_H
#define HOST_SCENE_H

#include "scene.h"

bool host_scene_begin(const struct scenario *scenario);
bool host_scene_start(const struct scenario *scenario, struct subject *subject);
bool host_scene_kill(const struct scenario *scenario, struct subject *subject);

/** After the last kill: one more host takes the name over. */
bool host_scene_succeed(void);

/** Whether the host has so many descriptors more than before the event. */
bool host_has_fds(int more);

#endif
