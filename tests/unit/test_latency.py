"""Timing in turns: a variant that dies is a row, not the end of the table."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Request
from pocketlens.measures import latency
from pocketlens.measures.latency import Timing, measure_latency, speedup
from pocketlens.measures.load import moment, taken_by_others
from pocketlens.workflows import _table
from pocketlens.workflows import shrink as shrinking
from pocketlens.workflows._ladder import Facts
from support.fake import fake_imported


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, Path]:
    return {name: fake_imported(tmp_path / name, ["a", "b"]).path for name in ("one", "two")}


def kill_at(monkeypatch: pytest.MonkeyPatch, bundle: Path, call: int) -> None:
    real, calls = latency._Worker.time, [0]

    def time(self: latency._Worker, kind: str, number: int) -> list[float]:
        if self._order["bundle"] == str(bundle.resolve()):
            calls[0] += 1
            if calls[0] == call:
                self._process.kill()
        return real(self, kind, number)

    monkeypatch.setattr(latency._Worker, "time", time)


@pytest.mark.parametrize("call", [1, 2, 3, 6, 9])
def test_one_that_dies_leaves_the_others(
    bundles: dict[str, Path], photos: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    kill_at(monkeypatch, bundles["one"], call)
    requests = [Request(str(next(photos.rglob("*.jpg"))))]
    timings = measure_latency(bundles, requests, threads=1, batch=2, rounds=4)
    assert "signal 9" in str(timings["one"].failed)
    assert timings["two"].failed is None
    assert timings["two"].latency_ms > 0
    assert timings["two"].throughput > 0
    assert len(timings["two"].blocks_ms) == 4
    assert speedup(timings["two"], timings["two"]) == 1


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux, not macOS or Windows")
def test_what_others_take_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        begin = moment(os.getpid())
        time.sleep(0.6)
        others, passed = taken_by_others(begin, moment(os.getpid()))
        busy.kill()
    assert 0.6 <= passed < 20
    assert others > 0.1
    assert taken_by_others(None, moment(os.getpid())) == (0, 0)
    assert moment(2**30) is None


def test_others_make_it_noisy() -> None:
    calm = Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,))
    assert not calm.noisy
    assert replace(calm, others_percent=50.0).noisy
    assert replace(calm, spread_percent=11.0).noisy


def test_one_that_cannot_be_opened_says_why(bundles: dict[str, Path], photos: Path) -> None:
    (bundles["two"] / "model.onnx").write_bytes(b"altered")
    requests = [Request(str(next(photos.rglob("*.jpg"))))]
    timings = measure_latency(bundles, requests, threads=1, batch=2, rounds=1)
    assert "was altered" in str(timings["two"].failed)
    assert timings["one"].failed is None


@pytest.mark.parametrize("broken", [{"float-torch"}, {"float-torch", "float-onnx"}])
def test_the_float_model_itself_cannot_be_timed(
    tiny: Bundle,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: set[str],
) -> None:
    def timed(bundles: dict[str, Path], *_: object, **__: object) -> dict[str, Timing]:
        fine = Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,))
        return {name: Timing(failed="it died") if name in broken else fine for name in bundles}

    monkeypatch.setattr(_table, "measure_latency", timed)
    ladder = [c for c in shrinking.ladder(Facts(4)) if c.name == "float-onnx"]
    monkeypatch.setattr(shrinking, "ladder", lambda _: ladder)
    if len(broken) == 1:
        table = pl.shrink(tiny, photos, out=tmp_path / "s")
        assert table.comparison.row("float-torch").verdict == "failed"
        best = table.comparison.best
        assert best is not None
        assert best.name == "float-onnx"
    else:
        with pytest.raises(UserError, match="it died"):
            pl.shrink(tiny, photos, out=tmp_path / "s")
        assert not (tmp_path / "s" / "compare.json").exists()
