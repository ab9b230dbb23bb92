"""`benchmarks/serve.py` measures what it says: a real service, real clients, no error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.fake import fake_imported
from support.layouts import photo

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_service_is_measured(tmp_path: Path) -> None:
    bundle = fake_imported(tmp_path / "bundle", ("a", "b"))
    (tmp_path / "photos").mkdir()
    for i in range(4):
        photo(tmp_path / "photos" / f"{i}.png", seed=i)
    command = [sys.executable, str(ROOT / "benchmarks" / "serve.py"), str(tmp_path / "photos")]
    command += ["--bundle", str(bundle.path), "--servers", "pocketlens", "--rounds", "1"]
    command += ["--num", "20", "--clients", "1", "4"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "the predictor alone",
        "pocketlens, 1 client",
        "pocketlens, 4 clients",
    ]
    for row in rows[1:]:
        cpu_ms, median_ms, p99_ms, memory_mb = (float(row[i]) for i in (1, 4, 5, 7))
        assert cpu_ms > 0
        assert 0 < median_ms <= p99_ms
        assert memory_mb > 50, "API and worker"
        assert row[8].strip() == "0"


@pytest.mark.slow
def test_an_error_is_not_passed_over(tmp_path: Path) -> None:
    """A photo that can't be read is answered as one; the benchmark counts it, and fails."""
    bundle = fake_imported(tmp_path / "bundle", ("a", "b"))
    (tmp_path / "photos").mkdir()
    photo(tmp_path / "photos" / "0.png")
    (tmp_path / "photos" / "1.png").write_bytes(b"no photo")
    command = [sys.executable, str(ROOT / "benchmarks" / "serve.py"), str(tmp_path / "photos")]
    command += ["--bundle", str(bundle.path), "--servers", "pocketlens", "--rounds", "1"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    done = subprocess.run(
        [*command, "--num", "4", "--clients", "1"],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "422" in done.stderr
