"""Memory stays flat from 1,000 to 50,000 samples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["check", "--distinct"],
        ["evaluate"],
        ["evaluate", "--classes", "1000"],
        ["predict"],
        ["calibrate"],
    ],
)
def test_memory_stays_flat(words: list[str], project: Path) -> None:
    # FAULTS 17
    command = [sys.executable, project / "benchmarks" / "memory.py", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["runs"][1]["num_samples"] == 50_000
