"""A 95 % interval of the difference between two models, by a paired bootstrap.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", percentile interval. Both models
are scored on the same resample, so what is common to them cancels out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.metrics import Metric, largest_difference, score
from pocketlens.core.scored import Scored, ranking

NUM_RESAMPLES = 2000

#: Losses of a sample, in nats, that two runtimes may give for one network: rounding is far below.
SAME_NETWORK: Final = 0.01
_CHUNK_WEIGHTS = 4_000_000  # float64 weights held at a time: 32 MB


class Drop(NamedTuple):
    """Float score minus the other's, in points; `low` and `high` bound a 95 % interval.

    Resampling photos of which none got worse can't tell that some would: `unseen` is how much
    may be lost all the same, 3 of n by the rule of three (Hanley & Lippman-Hand 1983, "If
    nothing goes wrong, is everything all right?"); 0 where a photo did get worse, and where
    both are one network.
    """

    drop: float
    low: float
    high: float
    unseen: float = 0.0


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
    unit_N = _unit_indices(units, len(reference))
    num_units = int(unit_N.max()) + 1
    plain = float(score(metric, reference)[0] - score(metric, other)[0])
    if np.array_equal(reference.predicted, other.predicted) and (
        metric != "map" or np.array_equal(ranking(reference), ranking(other))
    ):  # every resample would say the same
        return Drop(plain, 0.0, 0.0, _unseen(reference, other, num_units))
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
    # A ranking moves without any label being another, so only a width of 0 says nothing there.
    blind = metric != "map" or low == high
    unseen = _unseen(reference, other, num_units) if blind else 0.0
    return Drop(plain, float(low), float(high), unseen)


def _unseen(reference: Scored, other: Scored, num_units: int) -> float:
    if largest_difference(reference, other) <= SAME_NETWORK:
        return 0.0
    was_right, is_right = (scored.predicted == scored.truth for scored in (reference, other))
    return 0.0 if (was_right & ~is_right).any() else min(100.0, 300 / num_units)


def _unit_indices(units: Sequence[Hashable] | None, num_samples: int) -> NDArray[np.int64]:
    if units is None:
        return np.arange(num_samples)
    assert len(units) == num_samples
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(unit, len(numbers)) for unit in units])
