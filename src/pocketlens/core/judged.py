"""A prediction beside what is true, as far as that is known, and whether it is sure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from pocketlens.core.dataset import LABEL_SEPARATOR
from pocketlens.core.predictor import ImageSource, Prediction
from pocketlens.core.region import Regioned

State = Literal["wrong", "unsure", "right", "sure", "error"]


def unsure_limit(num_classes: int) -> float:
    """Below it one label counts as unsure: half-way from guessing, 1 / number of classes, to 1.

    In whole percent. With many classes that is a little above one half; with two it is 0.75, as
    the likelier of two is never below one half.
    """
    return round((1 + 1 / num_classes) / 2, 2)


class Regional(NamedTuple):
    """What stands beside the answer to a photo's region.

    Attributes:
        plain: the row as it is of the whole photo.
        region: None where there is none; `missing`: because none was found on the photo.
    """

    plain: Judged
    region: Regioned | None = None
    missing: bool = False


class Judged(NamedTuple):
    """One row of a run.

    Attributes:
        source: what was looked at: a path, or a frame's pixels.
        truth: the labels that the data gives it; None where it gives none.
        unsure: the network gave too small a probability to be relied on.
        regional: where only a region was classified, what else is known of the photo.
    """

    prediction: Prediction
    source: ImageSource
    truth: tuple[str, ...] | None = None
    unsure: bool = False
    regional: Regional | None = None

    @property
    def state(self) -> State:
        """`unsure` goes before `right` and `wrong`: such an answer would be looked at anyway."""
        if self.prediction.error is not None:
            return "error"
        if self.unsure:
            return "unsure"
        if self.right is None:
            return "sure"
        return "right" if self.right else "wrong"

    @property
    def right(self) -> bool | None:
        """Whether all labels are the true ones; None where truth isn't known."""
        if self.truth is None or self.prediction.error is not None:
            return None
        return set(self.labels) == set(self.truth)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the network named: one label, or those above their thresholds."""
        label = self.prediction.label
        return self.prediction.labels if label is None else (label,)

    @property
    def changed(self) -> bool | None:
        """Whether the region has other labels than the whole photo; None without both answers."""
        if self.regional is None or "error" in (self.state, self.regional.plain.state):
            return None
        return set(self.regional.plain.labels) != set(self.labels)

    @property
    def certainty(self) -> float:
        """0 to 1: of one label its probability, of several that of the least probable one."""
        found = self.prediction
        if found.probabilities_K is None or found.label is not None or not found.labels:
            return found.confidence or 0.0
        return self.probability(found.labels[-1])

    def probability(self, label: str) -> float:
        """What the network gave a class, 0 to 1."""
        assert self.prediction.probabilities_K is not None
        return float(self.prediction.probabilities_K[self.prediction.classes.index(label)])


def judge(
    prediction: Prediction,
    source: ImageSource,
    truth: tuple[str, ...] | None,
    unsure_below: float | None,
    known: Collection[str],
) -> Judged:
    """Put a prediction beside its truth.

    Args:
        unsure_below: 0 to 1; None: `unsure_limit` where there is one label. Of several labels
            each has a threshold of its own already, so that only what is asked for here makes
            them unsure.
        known: the network's classes; of one label, a truth that is none of them is no truth to
            it; of several, those labels are left out of the truth.
    """
    multi = prediction.label is None
    if truth is not None and prediction.error is None:
        inside = tuple(name for name in truth if name in known)
        truth = (inside if inside or multi else None) if len(inside) < len(truth) else truth
    judged = Judged(prediction, source, truth)
    if prediction.error is not None:
        return judged
    by_itself = None if multi else unsure_limit(len(prediction.classes))
    limit = by_itself if unsure_below is None else unsure_below
    if limit is None or (multi and not prediction.labels):
        return judged
    return judged._replace(unsure=judged.certainty < limit)


def joined(labels: tuple[str, ...]) -> str:
    """Labels as tables write them."""
    return LABEL_SEPARATOR.join(labels)
