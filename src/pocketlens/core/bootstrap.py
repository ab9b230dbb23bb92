"""A 95 % interval of the difference between two models, by a paired bootstrap.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", percentile interval. Both models
are scored on the same resample, so what is common to them cancels out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.metrics import Metric, score
from pocketlens.core.scored import Scored, ranking

NUM_RESAMPLES = 2000
_CHUNK_WEIGHTS = 4_000_000  # float64 weights held at a time: 32 MB


class Drop(NamedTuple):
    """Float score minus the other's, in points; `low` and `high` bound a 95 % interval."""

    drop: float
    low: float
    high: float


def paired_drop(
    metric: Metric,
    reference: Scored,
    other: Scored,
    *,
    units: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Drop:
    """Drop of `other` against `reference` with its interval.

    Args:
        units: what is drawn, one entry a sample: crops of one photo are not independent, so
            they are drawn together. Each sample by itself when None.
        seed: of the draws.
    """
    assert len(reference) == len(other)
    plain = float(score(metric, reference)[0] - score(metric, other)[0])
    if np.array_equal(reference.predicted, other.predicted) and (
        metric != "map" or np.array_equal(ranking(reference), ranking(other))
    ):
        return Drop(plain, 0.0, 0.0)  # every resample would say the same
    unit_N = _unit_indices(units, len(reference))
    num_units = int(unit_N.max()) + 1
    rng = np.random.default_rng(seed)
    drops: list[float] = []
    chunk = max(1, _CHUNK_WEIGHTS // max(1, len(reference)))
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        drawn = rng.integers(0, num_units, size=(rows, num_units))
        counts = np.stack([np.bincount(row, minlength=num_units) for row in drawn])
        weights_BN = counts[:, unit_N].astype(np.float64)
        drops.extend(score(metric, reference, weights_BN) - score(metric, other, weights_BN))
    low, high = np.percentile(drops, [2.5, 97.5])
    return Drop(plain, float(low), float(high))


def _unit_indices(units: Sequence[Hashable] | None, num_samples: int) -> NDArray[np.int64]:
    if units is None:
        return np.arange(num_samples)
    assert len(units) == num_samples
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(unit, len(numbers)) for unit in units])
