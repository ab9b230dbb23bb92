"""What a network said of many samples, beside the truth: as little as the scores need.

Of single-label answers three figures a sample are kept, so that memory does not grow with the
number of classes; a ranking (mAP) needs all logits of multi-label ones, which are gone through a
block of rows at a time: a float64 copy of them would be twice their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Task

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

#: Values that are worked on as float64 at a time: 8 MB.
_BLOCK_VALUES: Final = 1_000_000


def softmax(logits_NK: NDArray[Any]) -> Floats:
    """Probabilities that add up to 1 along the last axis."""
    shifted = logits_NK.astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits_NK: NDArray[Any]) -> Floats:
    """One independent probability a class."""
    x = logits_NK.astype(np.float64)
    # exp of the negative magnitude can't overflow, whichever the sign.
    small = np.exp(-np.abs(x))
    result: Floats = np.where(x >= 0, 1, small) / (1 + small)
    return result


def probabilities(logits_NK: NDArray[Any], task: Task) -> Floats:
    """Softmax for one label a photo, sigmoid for many."""
    return softmax(logits_NK) if task == "single_label" else sigmoid(logits_NK)


@dataclass(frozen=True)
class Scored:
    """What a network said of N samples, beside the truth; `from_logits` makes it.

    Attributes:
        task: decides how logits are read.
        num_classes: K.
        truth: class indices N (single-label) or a 0/1 matrix NK (multi-label).
        loss_N: cross entropy, or binary cross entropy as a mean over the classes; in nats.
        chosen_N: the most probable class (single-label).
        confidence_N: its probability, 0 to 1 (single-label).
        margin_N: its logit's lead over the next (single-label; 0 where there is but one class).
        logits_NK: float32 (multi-label).
        thresholds_K: above which probability a label is given (multi-label).
    """

    task: Task
    num_classes: int
    truth: NDArray[Any]
    loss_N: Floats
    chosen_N: Ints | None = None
    confidence_N: Floats | None = None
    margin_N: Floats | None = None
    logits_NK: NDArray[np.float32] | None = None
    thresholds_K: Floats | None = None

    def __len__(self) -> int:
        return len(self.loss_N)

    @property
    def predicted(self) -> NDArray[Any]:
        """Class indices N, or the 0/1 matrix NK of labels given."""
        if self.chosen_N is not None:
            return self.chosen_N
        logits_NK = ranking(self)
        thresholds = 0.5 if self.thresholds_K is None else self.thresholds_K
        given: Bools = np.empty(logits_NK.shape, dtype=np.bool_)
        for rows in blocks(logits_NK):
            given[rows] = sigmoid(logits_NK[rows]) >= thresholds
        return given


def from_logits(
    task: Task,
    logits_NK: NDArray[np.float32],
    truth: NDArray[Any],
    thresholds_K: Floats | None = None,
) -> Scored:
    """Read logits as answers.

    Args:
        truth: class indices N (single-label) or a 0/1 matrix NK (multi-label).
        thresholds_K: of multi-label answers; 0.5 when None.
    """
    num_samples, num_classes = logits_NK.shape
    assert len(truth) == num_samples
    loss_N = np.empty(num_samples)
    if task == "multi_label":
        for rows in blocks(logits_NK):
            loss_N[rows] = _binary_loss(logits_NK[rows], truth[rows])
        return Scored(
            task, num_classes, truth, loss_N, logits_NK=logits_NK, thresholds_K=thresholds_K
        )
    chosen_N = np.empty(num_samples, dtype=np.int64)
    confidence_N = np.empty(num_samples)
    margin_N = np.zeros(num_samples)
    for rows in blocks(logits_NK):
        x = logits_NK[rows].astype(np.float64)
        chosen_N[rows] = x.argmax(axis=1)
        top = x.max(axis=1)
        total = np.exp(x - top[:, None]).sum(axis=1)
        confidence_N[rows] = 1 / total
        if num_classes > 1:
            margin_N[rows] = top - np.partition(x, -2, axis=1)[:, -2]
        loss_N[rows] = np.log(total) + top - x[np.arange(len(x)), truth[rows]]
    return Scored(task, num_classes, truth, loss_N, chosen_N, confidence_N, margin_N)


def join(parts: Sequence[Scored]) -> Scored:
    """Single-label answers of several blocks as one, in this order."""
    assert parts
    assert all(part.task == "single_label" for part in parts)
    columns = ((p.truth, p.loss_N, p.chosen_N, p.confidence_N, p.margin_N) for p in parts)
    return Scored(
        "single_label", parts[0].num_classes, *map(np.concatenate, zip(*columns, strict=True))
    )


def ranking(scored: Scored) -> NDArray[np.float32]:
    """`logits_NK` of multi-label answers."""
    assert scored.logits_NK is not None, "single-label answers keep no logits"
    return scored.logits_NK


def blocks(values_NK: NDArray[Any]) -> Iterator[slice]:
    """Slices of so many rows that a float64 copy stays small."""
    size = max(1, _BLOCK_VALUES // values_NK.shape[1])
    for start in range(0, len(values_NK), size):
        yield slice(start, start + size)


def _binary_loss(logits_NK: NDArray[np.float32], truth_NK: NDArray[Any]) -> Floats:
    x = logits_NK.astype(np.float64)
    result: Floats = np.mean(np.maximum(x, 0) - x * truth_NK + np.log1p(np.exp(-np.abs(x))), axis=1)
    return result
