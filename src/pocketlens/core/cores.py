"""How much of a machine this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Cores this process may use: what it is bound to, and what its container may take.

    A container of two cores on a machine of 64 sees all 64; that many threads would spend their
    share at once and then stand still.
    """
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    quota = _quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def _quota() -> float | None:
    """Cores' worth of time that this process's control groups (version 2) allow; None: all."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    path = next((line[len("0::/") :] for line in lines if line.startswith("0::/")), None)
    if path is None:
        return None
    group = _CGROUPS / path
    found = []
    while True:
        try:
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
            if quota != "max":
                found.append(int(quota) / int(period))
        except (OSError, ValueError):  # the root has no such file
            pass
        if group == _CGROUPS or _CGROUPS not in group.parents:
            return min(found, default=None)
        group = group.parent
