"""An INT8 model that answers otherwise on this processor: told to whoever opens it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.runtimes import onnx
from pocketlens.workflows import _probe


@pytest.fixture
def small(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> Iterator[Bundle]:
    yield pl.compress(
        tiny_onnx, method="onnx-static", data=photos, out=tmp_path / "int8", num_images=8
    )
    _probe._warn_once.cache_clear()


def test_answers_are_kept_with_the_processor(small: Bundle) -> None:
    record = json.loads((small.path / "manifest.json").read_text())["metrics"]["probe"]
    assert record["cpu"]
    assert len(record["logits"]) == 4
    assert all(set(kept) == {"0", "1", "2"} for kept in record["logits"])
    # Patterns that a network answers alike would find nothing.
    assert len({json.dumps(kept) for kept in record["logits"]}) == 4


def test_the_same_processor_is_quiet(small: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    pl.load(small.path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("wrong", "told"), [(0.2, True), (0.001, False)])
def test_another_processor_is_told_once(
    small: Bundle,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: float,
    told: bool,
) -> None:
    # FAULTS 24
    real = onnx.open

    def saturating(*given: Any) -> Any:
        run = real(*given)

        def network(input_NCHW: Any) -> Any:
            logits_NK = run(input_NCHW)
            return logits_NK + wrong * np.abs(logits_NK).max()

        return network

    monkeypatch.setattr(onnx, "open", saturating)
    pl.evaluate(small.path, photos)
    pl.load(small.path)
    assert capsys.readouterr().err.count("answers otherwise on this processor") == int(told)


@pytest.mark.parametrize("logits", [[], [{"99": 1.0}] * 4, "text", [{"0": "x"}] * 4, None])
def test_a_damaged_record_is_one_line(small: Bundle, logits: Any) -> None:
    file = small.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["metrics"]["probe"]["logits"] = logits
    file.write_text(json.dumps(manifest))
    with pytest.raises(pl.UserError, match="manifest is damaged"):
        pl.load(small.path)


def test_the_float_model_keeps_none(tiny_onnx: Bundle) -> None:
    assert "probe" not in tiny_onnx.manifest.metrics
