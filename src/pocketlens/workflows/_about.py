"""What a bundle remembers of its photos and of how sure its test score is, for its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core import metrics
from pocketlens.core.bootstrap import Interval, score_interval
from pocketlens.core.card_words import FEW
from pocketlens.core.dataset import Part
from pocketlens.core.examples import Examples
from pocketlens.measures.score import Outcome


def about(parts: Mapping[Part, Examples]) -> dict[str, Any]:
    """The data's name, the class with the fewest test photos, and whether groups are known."""
    tested = parts["test"]
    dataset, counts_K = tested.dataset, _counts(tested)
    fewest = int(np.argmin(counts_K))
    known = any(sample.group is not None for sample in dataset.samples)
    return {
        "name": dataset.root.name,
        "num_classes_few_test": int(np.count_nonzero(counts_K < FEW)),
        "fewest_test": {"label": tested.classes[fewest], "num": int(counts_K[fewest])},
        "groups": (dataset.split_groups or "across") if known else False,
    }


def interval_of_test(outcome: Outcome, metric: str) -> dict[str, list[float]]:
    """The 95 % interval of the score that a model is judged by, by its name."""
    scored = outcome.scored
    if not len(scored):
        return {}
    name = metrics.check_metric(metric, scored.task)
    return {name: list(interval_of(outcome, name))}


def interval_of(outcome: Outcome, metric: metrics.Metric) -> Interval:
    """The 95 % interval of a score; crops of one photo, and photos of one group, hang together."""
    examples = outcome.examples
    units: list[tuple[str, str]] = [("photo", unit) for unit in examples.units]
    if examples.dataset.split_groups != "inside":  # else it is to know these very groups
        for i, sample in enumerate(examples.samples):
            if sample.group is not None:
                units[i] = ("group", sample.group)
    return score_interval(metric, outcome.scored, units=units)


def _counts(examples: Examples) -> NDArray[np.int64]:
    if examples.truth.ndim == 2:
        counts_K: NDArray[np.int64] = examples.truth.sum(axis=0).astype(np.int64)
        return counts_K
    return np.bincount(examples.truth.astype(np.int64), minlength=len(examples.classes))
