"""What a fresh process costs, and what the machine could do at best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Row
from pocketlens.core.predictor import Request
from pocketlens.measures import start
from pocketlens.measures._start_worker import peak_bytes
from pocketlens.measures.latency import Timing
from pocketlens.measures.peak import Peak, matmul_peak
from pocketlens.measures.start import Start, measure_starts
from pocketlens.workflows._timings import with_ranks, with_timing


def timing(*blocks: float, **values: float) -> Timing:
    median = float(np.median(blocks))
    return Timing(median, median, values.get("spread", 1.0), median, 1.0, 1, tuple(blocks))


def test_torch_needs_more_than_onnx_runtime(tiny: Bundle, tiny_onnx: Bundle, photos: Path) -> None:
    bundles = {"torch": tiny.path, "onnx": tiny_onnx.path}
    request = Request(str(next(photos.rglob("*.jpg"))))
    found = measure_starts(bundles, request, threads=1)
    assert found["torch"].cold_start_ms > found["onnx"].cold_start_ms > 50
    sizes = [found[name].memory_bytes or 0 for name in ("torch", "onnx")]
    assert sizes[0] > 1.5 * sizes[1] > 20e6


def test_a_process_that_dies_has_no_figures(tiny_onnx: Bundle, tmp_path: Path) -> None:
    photo = tmp_path / "x.jpg"
    photo.write_bytes(b"no photo")
    found = measure_starts({"a": tiny_onnx.path}, Request(str(photo)), threads=1)
    assert np.isnan(found["a"].cold_start_ms)
    assert found["a"].memory_bytes is None


def test_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(300.0, 30), (100.0, 10), (200.0, 20)])
    monkeypatch.setattr(start, "_start", lambda *_: next(answers))
    found = measure_starts({"a": Path()}, Request("x"), threads=1, rounds=3)
    assert found == {"a": Start(200.0, 20)}


def test_a_process_knows_its_peak() -> None:
    before = peak_bytes()
    assert before is not None
    block = np.ones(8_000_000)
    after = peak_bytes()
    assert after is not None
    assert after - before > 0.8 * block.nbytes or after > 1e9  # it held as much before


def test_the_machines_limit() -> None:
    peak = matmul_peak(1)
    assert peak is not None
    assert peak.float32 > 1e9
    assert peak.int8 > 1e9
    row = Row("a", "onnx", "int8", "m", "macro_f1", macs=500_000)
    filled = with_timing(row, timing(1.0), Start(), Peak(1e9, 4e9))
    assert filled.roofline_percent == pytest.approx(25)  # a million operations in a millisecond
    other = with_timing(Row("a", "onnx", "float32", "m", "x", macs=1), timing(1.0), Start(), None)
    assert other.roofline_percent is None


def test_ranks_are_claimed_only_where_every_round_agrees() -> None:
    timings = {
        "fast": timing(1.0, 1.1, 1.0),
        "close": timing(1.02, 1.08, 1.04),  # once it was the faster
        "slow": timing(2.0, 2.1, 2.2),
        "noisy": timing(1.5, 1.5, 1.5, spread=30),
        "far": timing(5.0, 3.2, 4.0, spread=30),
    }
    rows = [Row(n, "onnx", "int8", "m", "x", latency_ms=t.latency_ms) for n, t in timings.items()]
    rows.append(Row("failed", "onnx", "int8", "m", "x"))
    found = {row.name: row for row in with_ranks(rows, timings)}
    assert found["fast"].ties == ("close", "noisy")
    assert (found["fast"].rank_best, found["fast"].rank_worst) == (1, 3)
    assert (found["slow"].rank_best, found["slow"].rank_worst) == (3, 5)
    assert (found["noisy"].rank_best, found["noisy"].rank_worst) == (1, 4)
    assert found["far"].ties == ("slow",), "even its fastest block is twice as slow as the others"
    assert (found["far"].rank_best, found["far"].rank_worst) == (4, 5)
    assert found["failed"].rank_best is None


def test_a_lead_within_a_whim_is_none() -> None:
    timings = {"a": timing(1.0, 1.0, 1.0), "b": timing(1.03, 1.03, 1.03)}
    rows = [Row(n, "onnx", "int8", "m", "x", latency_ms=t.latency_ms) for n, t in timings.items()]
    assert with_ranks(rows, timings)[0].ties == ("b",)
