"""A 95 % interval of the difference between two models, by a paired bootstrap.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", percentile interval. Both models
are scored on the same resample, so what is common to them cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.metrics import Metric, all_scores, score
from pocketlens.core.scored import Floats, Scored, ranking

NUM_RESAMPLES = 2000
_CHUNK_WEIGHTS = 4_000_000  # float64 weights held at a time: 32 MB


class Drop(NamedTuple):
    """Float score minus the other's, in points; `low` and `high` bound a 95 % interval.

    Resampling photos of which none got worse can't tell that some would: `unseen` is how much
    may be lost all the same, 3 of n by the rule of three (Hanley & Lippman-Hand 1983, "If
    nothing goes wrong, is everything all right?"); 0 where a photo did get worse.
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
    """Drop of `other` against `reference` in one metric; see `paired_drops`."""
    return paired_drops(
        reference, other, units=units, seed=seed, num_resamples=num_resamples, only=metric
    )[metric]


def paired_drops(
    reference: Scored,
    other: Scored,
    *,
    units: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    only: Metric | None = None,
) -> dict[str, Drop]:
    """Drops of `other` against `reference` with their intervals, from the same resamples.

    Args:
        units: what is drawn, one entry a sample: crops of one photo are not independent, so
            they are drawn together. Each sample by itself when None.
        seed: of the draws.
        only: one metric instead of all.
    """
    assert len(reference) == len(other)
    unit_N = _unit_indices(units, len(reference))
    num_units = int(unit_N.max()) + 1

    def lost(weights_BN: Floats) -> dict[str, Floats]:
        if only is not None:
            before, after = (score(only, scored, weights_BN) for scored in (reference, other))
            return {only: before - after}
        before_by, after_by = (all_scores(scored, weights_BN) for scored in (reference, other))
        return {name: before_by[name] - after_by[name] for name in before_by}

    plain = {name: float(value[0]) for name, value in lost(np.ones((1, len(reference)))).items()}
    unseen = _unseen(reference, other, num_units)
    if np.array_equal(reference.predicted, other.predicted) and (
        reference.logits_NK is None or np.array_equal(ranking(reference), ranking(other))
    ):  # every resample would say the same
        return {name: Drop(value, 0.0, 0.0, unseen) for name, value in plain.items()}
    drops = {}
    for name, values in _resamples(lost, unit_N, seed, num_resamples).items():
        low, high = np.percentile(values, [2.5, 97.5])
        # A ranking moves without any label being another, so only a width of 0 is blind there.
        blind = name != "map" or low == high
        drops[name] = Drop(plain[name], float(low), float(high), unseen if blind else 0.0)
    return drops


class Interval(NamedTuple):
    """The ends of a 95 % interval, in percent."""

    low: float
    high: float


def score_interval(
    metric: Metric,
    scored: Scored,
    *,
    units: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """How far one model's score would move with other photos of the same kind.

    Two models' intervals may overlap although one is better: their difference is `paired_drop`'s.
    Where no resample moves the score, all being right or all wrong, 3 of n photos may still turn
    out otherwise (the rule of three, see `Drop`).

    Args:
        units: what is drawn, one entry a sample; see `paired_drops`.
    """
    unit_N = _unit_indices(units, len(scored))
    drawn = _resamples(
        lambda weights_BN: {metric: score(metric, scored, weights_BN)}, unit_N, seed, num_resamples
    )
    low, high = np.percentile(drawn[metric], [2.5, 97.5])
    if low == high:
        unseen = 300 / (int(unit_N.max()) + 1)
        low, high = max(0.0, low - unseen), min(100.0, high + unseen)
    return Interval(float(low), float(high))


def _resamples(
    of: Callable[[Floats], Mapping[str, Floats]],
    unit_N: NDArray[np.int64],
    seed: int,
    num_resamples: int,
) -> dict[str, Floats]:
    """What `of` makes of each resample's weights BN, by name."""
    rng = np.random.default_rng(seed)
    num_units = int(unit_N.max()) + 1
    drawn_by: dict[str, list[Floats]] = {}
    chunk = max(1, _CHUNK_WEIGHTS // len(unit_N))
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        drawn = rng.integers(0, num_units, size=(rows, num_units))
        counts = np.stack([np.bincount(row, minlength=num_units) for row in drawn])
        for name, values in of(counts[:, unit_N].astype(np.float64)).items():
            drawn_by.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in drawn_by.items()}


def _unseen(reference: Scored, other: Scored, num_units: int) -> float:
    was_right, is_right = (scored.predicted == scored.truth for scored in (reference, other))
    return 0.0 if (was_right & ~is_right).any() else min(100.0, 300 / num_units)


def _unit_indices(units: Sequence[Hashable] | None, num_samples: int) -> NDArray[np.int64]:
    if units is None:
        return np.arange(num_samples)
    assert len(units) == num_samples
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(unit, len(numbers)) for unit in units])


class Mean(NamedTuple):
    """A mean; `low` and `high` bound a 95 % interval."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float],
    *,
    units: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Mean:
    """A mean with its percentile interval; what it is of differences says whether they are real.

    Args:
        units: what is drawn, one entry a value: values of one photo are drawn together.
    """
    given_N = np.asarray(values, dtype=np.float64)
    assert len(given_N)
    unit_N = _unit_indices(units, len(given_N))
    num_units = int(unit_N.max()) + 1
    sums_U = np.bincount(unit_N, given_N, num_units)
    counts_U = np.bincount(unit_N, minlength=num_units)
    drawn = np.random.default_rng(seed).integers(0, num_units, size=(num_resamples, num_units))
    means = sums_U[drawn].sum(axis=1) / counts_U[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(float(given_N.mean()), float(low), float(high))
