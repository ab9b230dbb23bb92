"""One study in a PostgreSQL server, which two processes add to and one of them is killed in."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pocketlens.core.bundle import read_bundle

SPACE = """data: {photos}
fixed: {{model: test_byobnet, weights: none, epochs: 2, image-size: 32, batch_size: 8}}
space:
  lr: {{low: 1e-4, high: 1e-2, log: true}}
trials: 5
sampler: random
storage: ${{POCKETLENS_POSTGRES}}
study: {study}
"""


def start(space: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pocketlens", "sweep", str(space), "--out", str(out)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with (out.with_suffix(".log")).open("a") as log:
        return subprocess.Popen(
            [*command, "--threads", "1", *more], stdout=log, stderr=log, text=True, env=env
        )


@pytest.mark.skipif(
    not os.environ.get("POCKETLENS_POSTGRES"),
    reason="needs PostgreSQL: set POCKETLENS_POSTGRES to the URL of a database",
)
def test_two_processes_one_study(photos: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.format(photos=photos, study=f"test-{uuid.uuid4().hex}"))
    a, b = tmp_path / "a", tmp_path / "b"
    first, second = start(space, a), start(space, b)
    deadline = time.monotonic() + 120
    while not list(a.glob("trials/*.run/last.safetensors")):  # a trial that can be gone on with
        assert time.monotonic() < deadline, a.with_suffix(".log").read_text()
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert second.wait(timeout=240) == 0, b.with_suffix(".log").read_text()
    assert start(space, a, "--resume").wait(timeout=240) == 0, a.with_suffix(".log").read_text()
    assert start(space, b, "--resume").wait(timeout=240) == 0, b.with_suffix(".log").read_text()

    assert (a / "trials.csv").read_text() == (b / "trials.csv").read_text()
    with (a / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete"] * 5
    assert len({row["lr"] for row in rows}) == 5, "two machines don't try the same"
    runs = [{path.name for path in place.glob("trials/*.run")} for place in (a, b)]
    assert all(runs)
    assert not runs[0] & runs[1]
    owner = a if f"{int(rows[0]['number']):04d}.run" in runs[0] else b
    assert read_bundle(owner / "best").manifest.metrics["trial"] == int(rows[0]["number"])
    secret = os.environ["POCKETLENS_POSTGRES"].split("@")[0].split(":")[-1]
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(secret.encode() in content for content in written)
