"""Answers of two models with different classes, made to speak of the same photos and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.scored import Scored
from pocketlens.measures.score import Outcome


@dataclass(frozen=True)
class Pair:
    """Two models' answers to the same samples, in one order, with one numbering of classes."""

    current: Outcome
    new: Outcome


def pair(current: Outcome, new: Outcome) -> Pair:
    """Match by class name, and leave out photos that either could not be asked about.

    The new model knows every class of the current one. Of one label a photo, its numbering is
    taken for both, so that an answer which only it can give counts as what it is: another one.
    Several labels a photo are independent, so those that both know are kept.
    """
    ours = {key: i for i, key in enumerate(_keys(current))}
    theirs = {key: i for i, key in enumerate(_keys(new))}
    both = [key for key in ours if key in theirs]
    one = _take(current.scored, [ours[key] for key in both])
    other = _take(new.scored, [theirs[key] for key in both])
    old_classes, classes = current.examples.classes, new.examples.classes
    number = {name: i for i, name in enumerate(classes)}
    to_new_K = np.array([number[name] for name in old_classes], dtype=np.int64)
    if one.task == "single_label":
        assert one.chosen_N is not None
        one = replace(
            one, num_classes=len(classes), truth=other.truth, chosen_N=to_new_K[one.chosen_N]
        )
        examples = new.examples.take([theirs[key] for key in both])
    else:
        assert other.logits_NK is not None
        thresholds = other.thresholds_K
        other = replace(
            other,
            num_classes=len(old_classes),
            truth=one.truth,
            logits_NK=other.logits_NK[:, to_new_K],
            thresholds_K=None if thresholds is None else thresholds[to_new_K],
        )
        examples = current.examples.take([ours[key] for key in both])
    errors = {**current.errors, **new.errors}
    return Pair(Outcome(examples, one, errors), Outcome(examples, other, errors))


def _keys(outcome: Outcome) -> list[tuple[str, str]]:
    """What a sample is, and where: copies of a photo are two samples."""
    examples = outcome.examples
    return [
        (key, sample.path)
        for key, sample in zip(examples.identities, examples.samples, strict=True)
    ]


def _take(scored: Scored, rows: Sequence[int]) -> Scored:
    at = np.asarray(rows, dtype=np.int64)

    def taken(values: NDArray[Any] | None) -> Any:
        return None if values is None else values[at]

    return replace(
        scored,
        truth=scored.truth[at],
        loss_N=scored.loss_N[at],
        chosen_N=taken(scored.chosen_N),
        confidence_N=taken(scored.confidence_N),
        margin_N=taken(scored.margin_N),
        logits_NK=taken(scored.logits_NK),
    )
