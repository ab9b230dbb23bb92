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
    # Two vectors of zeros are alike; a vector of zeros is like no other.
    both_zero = not a.any() and not b.any()
    lengths = max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)
    cosine = 1.0 if both_zero else float((a * b).sum()) / lengths
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
        cosine,
        float(100 * (1 - differs.mean())),
        tuple(names[i] for i in where[:_NAMED]),
    )


def _answers(logits_NK: Floats, task: Task, thresholds_K: Floats | None) -> NDArray[np.generic]:
    if task == "single_label":
        return np.asarray(logits_NK.argmax(axis=1))
    return np.asarray(sigmoid(logits_NK) >= (0.5 if thresholds_K is None else thresholds_K))
