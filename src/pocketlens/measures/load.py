"""How busy other programs keep the processor: what they take, a measurement lacks."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

_STAT = Path("/proc/stat")


class Moment(NamedTuple):
    """Seconds of processor time so far: of the whole machine, and of one process; and the clock."""

    machine: float
    process: float
    clock: float


def moment(pid: int) -> Moment | None:
    """Now, or None where the system doesn't tell (it does on Linux)."""
    try:
        ticks = os.sysconf("SC_CLK_TCK")
        values = [int(value) for value in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        # user, nice, system, irq, softirq and steal; idle and waiting for disks are not work.
        busy = sum(values[:3]) + sum(values[5:8])
        # Its name, in brackets, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return Moment(busy / ticks, (int(fields[11]) + int(fields[12])) / ticks, time.monotonic())
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def taken_by_others(begin: Moment | None, end: Moment | None) -> tuple[float, float]:
    """Processor seconds that others took between two moments, and seconds that passed."""
    if begin is None or end is None:
        return 0.0, 0.0
    others = (end.machine - begin.machine) - (end.process - begin.process)
    return max(0.0, others), end.clock - begin.clock
