# SPDX-License-Identifier: Apache-2.0
"""Energy that the processor packages have used, by RAPL, where the kernel lets us read it."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """`reason` says why there is nothing to read; "" when there is."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        self.zones = sorted(folder.glob("intel-rapl:[0-9]")) if folder.exists() else []
        self.reason = self.find_reason()

    def find_reason(self) -> str:
        if not self.zones:
            return "no RAPL zones under /sys/class/powercap (usual in a virtual machine)"
        try:
            self.microjoules()
        except OSError as error:
            return f"{self.zones[0]}/energy_uj: {error.strerror} (root may read it)"
        return ""

    def microjoules(self) -> dict[str, int]:
        """The counter of each zone; it begins anew at its range."""
        return {str(zone): int((zone / "energy_uj").read_text()) for zone in self.zones}

    def since(self, before: dict[str, int]) -> int:
        """Microjoules that have been used since."""
        total = 0
        for zone, value in self.microjoules().items():
            used = value - before[zone]
            if used < 0:
                used += int((Path(zone) / "max_energy_range_uj").read_text())
            total += used
        return total
