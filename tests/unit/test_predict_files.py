"""`predictions.csv`: probabilities as text."""

from __future__ import annotations

import numpy as np
import pytest

from pocketlens.core.predictor import Prediction
from pocketlens.workflows._predict_files import csv_row


def _written(probabilities: list[float]) -> list[float]:
    classes = tuple(f"c{i}" for i in range(len(probabilities)))
    probs_K = np.array(probabilities)
    found = Prediction("a.jpg", classes, "c0", float(probs_K[0]), probabilities_K=probs_K)
    cells = csv_row(found, False, len(classes)).decode().rstrip("\r\n").split(",")
    assert cells[:4] == ["a.jpg", "0", "c0", f"{probabilities[0]:.9g}"]
    return [float(cell) for cell in cells[4 : 4 + len(classes)]]


def test_nine_digits_of_each_probability() -> None:
    logits_K = np.random.default_rng(0).normal(0, 30, 1000)
    probs_K = np.exp(logits_K - logits_K.max())
    probs_K /= probs_K.sum()
    expected = [float(f"{p:.9g}") for p in probs_K]
    assert _written(probs_K.tolist()) == pytest.approx(expected, rel=1e-15, abs=0)


@pytest.mark.parametrize("edge", [0.0, 1.0, 0.999999999, 1e-9, 1e-100])
def test_edges_are_written_as_they_are(edge: float) -> None:
    assert _written([edge, 0.25]) == [edge, 0.25]


def test_the_smallest_is_not_lost_nor_made_no_number() -> None:
    written = _written([5e-324, 1e-295, 1e-305])
    assert written == [5e-324, 1e-295, 1e-305]
