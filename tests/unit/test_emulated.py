"""Answers on an emulated processor: what is missing is said, what differs is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.measures import _emulated_worker, emulated


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root whose Python is this one, behind an emulator that only takes its options off."""
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/python3").write_text("")
    emulator = tmp_path / "qemu-aarch64"
    emulator.write_text(f'#!/bin/sh\nshift 5\nexec {sys.executable} "$@"\n')
    emulator.chmod(0o755)
    monkeypatch.setenv(emulated.ROOT_VARIABLE, str(tmp_path / "root"))
    monkeypatch.setattr(emulated.shutil, "which", lambda name: str(emulator))
    return tmp_path / "root"


def test_no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get install qemu-user-static"):
        emulated.find_root()


def test_no_root(root: Path) -> None:
    (root / "usr/bin/python3").unlink()
    with pytest.raises(UserError, match=r"examples/arm64_root\.sh"):
        emulated.find_root()


def test_the_same_answers_through_the_worker(root: Path, tiny_onnx: Bundle) -> None:
    with pl.load(tiny_onnx) as predictor:
        shape = (3, 3, predictor.manifest.preprocess.height, predictor.manifest.preprocess.width)
        inputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected = predictor.logits(inputs)
    assert emulated.emulated_logits(tiny_onnx, inputs) == pytest.approx(expected, abs=1e-5)


def test_a_file_that_gives_no_answer(root: Path, tiny_onnx: Bundle) -> None:
    with pytest.raises(UserError, match="gave no answer on emulated arm64"):
        emulated.emulated_logits(tiny_onnx, np.zeros((1, 2, 2), np.float32))


def test_compare_adds_a_pair_a_file(
    root: Path, tiny: Bundle, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    table = pl.compare([tiny, tiny_onnx], photos, out=tmp_path / "table", emulate="arm64")
    pairs = [pair.rows for pair in table.comparison.parity]
    name = next(row.name for row in table.rows if row.runtime == "onnx")
    assert (name, f"{name} on arm64") in pairs
    assert len(pairs) == 2  # torch has no file for it
    assert table.comparison.parity[-1].agreement == 100


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    from onnx import save_model

    from support.fake import mean_network

    save_model(mean_network(2, batch=4), tmp_path / "fixed.onnx")
    inputs = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    paths: list[Any] = [str(tmp_path / n) for n in ("fixed.onnx", "inputs.npy", "logits.npy")]
    worker = str(Path(_emulated_worker.__file__))
    subprocess.run([sys.executable, worker, "onnx", *paths], check=True)
    expected = inputs.mean(axis=(1, 2, 3))[:, None] * [1, 2]
    assert np.load(paths[2]) == pytest.approx(expected, abs=1e-5)
