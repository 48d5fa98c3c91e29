# SPDX-License-Identifier: Apache-2.0
"""`carom serve`: a service's host and its worker processes, kept alive, exchanged and counted.

settings     what was asked for: command line, pyproject.toml, environment
options      every option once: names, kind (kinds), default, help; sources reads them, check shows
log, notify  what the operator and systemd are told
supervisor   the main process: puts the parts below together, one event loop (loop)
crew         which workers there are and should be
nursery      which templates there are
process      a child process as the supervisor sees it; watcher listens to it
reload       new code takes the place of the old, if it is fit
housekeeping what is looked at regularly; stuck, recycle, autoscale decide
health       the state of the service, for everybody to see (description, stand_in)
template     the child that imports the application once (loaded) and forks workers (fork)
worker       a worker process: hooks, warm-up (warmup), calls (loops); manners of both
channel      what these say to each other
"""
