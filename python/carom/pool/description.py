# SPDX-License-Identifier: Apache-2.0
"""What the supervisor says of its service, as JSON that anybody can read from shared memory."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from carom.binding import DESCRIPTION_BYTES
from carom.pool.crew import Crew
from carom.pool.process import Process
from carom.records import State


@dataclass
class Description:
    """state: where the service is; since: when it came there, seconds since 1970."""

    state: State = State.STARTING
    since: float = 0.0

    def enter(self, state: State) -> None:
        """It is in this state now."""
        if self.state is not state or not self.since:
            self.state = state
            self.since = time.time()

    def text(self, crew: Crew) -> str:
        """The whole, or as many workers of it as there is room for."""
        whole = self._facts(crew)
        workers = [worker_facts(worker, crew) for worker in crew.workers]
        for count in range(len(workers), -1, -1):
            whole["workers"] = workers[:count]
            whole["truncated"] = count < len(workers)
            text = json.dumps(whole, separators=(",", ":"))
            if len(text) <= DESCRIPTION_BYTES:
                return text
        raise ValueError("the description has no room for anything")

    def _facts(self, crew: Crew) -> dict[str, Any]:
        settings, generation = crew.scene.settings, crew.generation
        template = generation.template if generation else None
        return {
            "target": settings.target,
            "state": self.state.name.lower(),
            "since": round(self.since, 3),
            "generation": generation.number if generation else 1,
            "supervisor": crew.scene.pid,
            "template": template.pid if template else None,
            "wanted": crew.wanted,
            "min": settings.min_workers,
            "max": settings.max_workers,
            "ready": len(crew.ready()),
            "restarts": crew.restarts,
            "last_restart": crew.last_restart_epoch_s,
            "last_reason": crew.crashes.last_reason[:500] or None,
        }


def worker_facts(worker: Process, crew: Crew) -> dict[str, Any]:
    """One worker."""
    return {
        "pid": worker.pid,
        "stage": worker.stage.value,
        "generation": worker.generation,
        "started": round(worker.started_epoch_s, 3),
        "threads": crew.scene.settings.threads,
        "ids": worker.ids,
    }
