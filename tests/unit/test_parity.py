"""How far two runtimes' answers to the same photos lie apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.parity import parity

NAMES = ("one.jpg", "two.jpg", "three.jpg")


def test_differences() -> None:
    one = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], np.float32)
    other = one + np.array([[0.0, 0.5], [0.0, 0.0], [0.0, 4.0]], np.float32)
    found = parity(("a", "b"), one, other, NAMES, "single_label")
    assert (found.rows, found.num_photos) == (("a", "b"), 3)
    assert found.largest == 4
    assert found.mean == pytest.approx(4.5 / 6)
    assert found.scale == 3
    assert found.cosine == pytest.approx((1 + 4 + 9) / (14 * (1.25 + 4 + 25)) ** 0.5)
    assert found.agreement == pytest.approx(200 / 3)
    assert found.disagreeing == ("three.jpg",)


def test_labels_by_their_thresholds() -> None:
    one = np.array([[2.0, -2.0], [0.5, 0.5]], np.float32)
    other = np.array([[1.0, -1.0], [0.5, 0.3]], np.float32)
    alike = parity(("a", "b"), one, other, NAMES[:2], "multi_label")
    assert alike.agreement == 100
    # sigmoid(0.5) is 0.62, sigmoid(0.3) is 0.57
    apart = parity(("a", "b"), one, other, NAMES[:2], "multi_label", np.array([0.5, 0.6]))
    assert apart.agreement == 50
    assert apart.disagreeing == ("two.jpg",)


def test_answers_of_zero_have_a_cosine() -> None:
    zeros, ones = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert parity(("a", "b"), zeros, zeros, NAMES[:2], "single_label").cosine == 1
    assert parity(("a", "b"), zeros, ones, NAMES[:2], "single_label").cosine == 0


def test_a_photo_between_two_classes_makes_no_small_cosine() -> None:
    """Its logits are near zero, and rounding turns them about."""
    one = np.array([[4.0, -4.0], [0.01, -0.01], [-3.0, 3.0]], np.float32)
    other = one.copy()
    other[1] = -one[1]
    assert parity(("a", "b"), one, other, NAMES, "single_label").cosine > 0.9999


def test_a_network_in_two_runtimes(
    tiny: Bundle, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    small = pl.compress(
        tiny_onnx, method="onnx-static", out=tmp_path / "int8", data=photos, num_images=8
    )
    table = pl.compare([tiny, tiny_onnx, small], photos, out=tmp_path / "table")
    (pair,) = table.comparison.parity  # the INT8 file is another network
    assert set(pair.rows) == {r.name for r in table.rows if r.precision == "float32"}
    assert pair.num_photos == table.comparison.data["num_test"]
    assert pair.largest < 1e-4
    assert pair.agreement == 100
    assert "One network in several runtimes" in (tmp_path / "table/report.html").read_text()
