# SPDX-License-Identifier: Apache-2.0
"""All planted bugs, by name."""

from __future__ import annotations

from planted import clients, connections, hosts, lanes, python, workers
from planted.bug import Bug

TABLES = (lanes.BUGS, workers.BUGS, clients.BUGS, hosts.BUGS, connections.BUGS, python.BUGS)
BUGS: dict[str, Bug] = {bug.name: bug for table in TABLES for bug in table}
