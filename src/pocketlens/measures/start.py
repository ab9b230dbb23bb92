"""What a variant costs a fresh process: memory, and the time to its first answer."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pocketlens.core.predictor import Request
from pocketlens.progress import bar

ROUNDS: Final = 3


@dataclass(frozen=True)
class Start:
    """Medians over fresh processes; None or NaN: not measured.

    Attributes:
        cold_start_ms: from the start of a Python process to its first answer, one photo from its
            file: imports, reading and checking the bundle, compiling. Files are in the system's
            cache where they were read shortly before, as after scoring.
        memory_bytes: the most that a process held at a time, Python itself included.
    """

    cold_start_ms: float = math.nan
    memory_bytes: int | None = None


def measure_starts(
    bundles: Mapping[str, Path], request: Request, *, threads: int, rounds: int | None = None
) -> dict[str, Start]:
    """Start each variant in processes of their own, in turns.

    A variant that can't be started has no figures; why is for whoever times it to say.

    Args:
        rounds: processes of each variant; 3 by default.
    """
    rounds = rounds or ROUNDS
    found: dict[str, list[tuple[float, int | None]]] = {name: [] for name in bundles}
    with bar("measuring cold starts", rounds * len(bundles)) as advance:
        for _ in range(rounds):
            for name, path in bundles.items():
                once = _start(path, request, threads)
                if once is not None:
                    found[name].append(once)
                advance()
    return {name: _median(seen) for name, seen in found.items()}


def _median(seen: list[tuple[float, int | None]]) -> Start:
    if not seen:
        return Start()
    memory = [size for _, size in seen if size is not None]
    return Start(
        float(np.median([ms for ms, _ in seen])), int(np.median(memory)) if memory else None
    )


def _start(bundle: Path, request: Request, threads: int) -> tuple[float, int | None] | None:
    order = {
        "bundle": str(bundle.resolve()),
        "threads": threads,
        "request": (os.path.abspath(str(request.source)), request.box),
    }
    begin = time.perf_counter()
    # `-P`: a json.py in the folder where the user happens to be must not be run.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pocketlens.measures._start_worker", json.dumps(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process:
        line = process.stdout.readline()
        took_ms = (time.perf_counter() - begin) * 1000
        process.stdout.read()
    return (took_ms, json.loads(line)["memory_bytes"]) if line and not process.returncode else None
