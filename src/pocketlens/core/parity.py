"""Does one network answer alike in two runtimes? Differences of logits on the same photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.comparison import Parity
from pocketlens.core.dataset import Task
from pocketlens.core.scored import Floats, sigmoid

#: Photos that disagree and are named.
_NAMED = 20


def parity(
    rows: tuple[str, str],
    one_NK: NDArray[np.float32],
    other_NK: NDArray[np.float32],
    names: Sequence[str],
    task: Task,
    thresholds_K: Floats | None = None,
) -> Parity:
    """Compare the logits that two rows gave for the same N photos.

    Args:
        thresholds_K: of multi-label answers, as probabilities; 0.5 when None.
    """
    assert one_NK.shape == other_NK.shape
    assert len(names) == len(one_NK) > 0
    a, b = one_NK.astype(np.float64), other_NK.astype(np.float64)
    difference = np.abs(a - b)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # Two vectors of zeros are alike; a vector of zeros is like no other.
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    cosine = np.where(both_zero, 1.0, (a * b).sum(axis=1) / np.maximum(lengths, 1e-30))
    differs = _answers(a, task, thresholds_K) != _answers(b, task, thresholds_K)
    if differs.ndim == 2:
        differs = differs.any(axis=1)
    where = np.flatnonzero(differs)
    return Parity(
        rows,
        len(a),
        float(difference.max()),
        float(difference.mean()),
        float(np.abs(a).max()),
        float(cosine.min()),
        float(100 * (1 - differs.mean())),
        tuple(names[i] for i in where[:_NAMED]),
    )


def _answers(logits_NK: Floats, task: Task, thresholds_K: Floats | None) -> NDArray[np.generic]:
    if task == "single_label":
        return np.asarray(logits_NK.argmax(axis=1))
    return np.asarray(sigmoid(logits_NK) >= (0.5 if thresholds_K is None else thresholds_K))
