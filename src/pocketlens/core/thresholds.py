"""From which probability on a label is given: found on validation photos, never on test photos.

A class's threshold is the one of highest F1 on the validation photos ("SCut" in Yang 2001, "A
study of thresholding strategies for text categorization"). Tuned on a handful of positives it
follows their chance, and may come out as giving the label to all or to none (Lipton, Elkan &
Naryanaswamy 2014, "Optimal thresholding of classifiers to maximize F1 measure", who call it the
winner's curse; Fan & Lin 2007, "A study on threshold selection for multi-label classification").
So a class of fewer than `MIN_POSITIVES` validation positives takes the global threshold: the one
of highest micro F1, all classes and photos pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.scored import Bools, Floats, sigmoid

MIN_POSITIVES: Final = 5

#: Where there is nothing to find one by.
DEFAULT: Final = 0.5


@dataclass(frozen=True)
class Thresholds:
    """Probabilities from which on a label is given.

    Attributes:
        per_class_K: what each class uses.
        everywhere: the global one.
        global_K: classes that take the global one.
    """

    per_class_K: Floats
    everywhere: float
    global_K: Bools


def find_thresholds(
    logits_NK: NDArray[np.float32], truth_NK: NDArray[Any], *, min_positives: int = MIN_POSITIVES
) -> Thresholds:
    """Thresholds by F1 on these photos, which must not be the test photos.

    Args:
        truth_NK: 0 or 1.
        min_positives: a class with fewer takes the global threshold.
    """
    assert logits_NK.shape == truth_NK.shape
    positive_NK = truth_NK == 1
    everywhere = _of_highest_f1(logits_NK.ravel(), positive_NK.ravel())
    few_K: Bools = positive_NK.sum(axis=0) < max(1, min_positives)
    found = [
        everywhere if few else _of_highest_f1(logits_NK[:, k], positive_NK[:, k])
        for k, few in enumerate(few_K)
    ]
    return Thresholds(np.array(found, dtype=np.float64), everywhere, few_K)


def _of_highest_f1(logits_N: NDArray[np.float32], positive_N: Bools) -> float:
    """Halfway between the last answer to be given and the next, as logits.

    Halfway, so that a small change of an answer (another runtime's rounding) changes no label.
    Of equally good thresholds the highest is taken, which gives the fewest labels.
    """
    total = int(positive_N.sum())
    if not total:
        return DEFAULT
    # Only an answer that is right can be the best to stop at: a wrong one more lowers F1. So the
    # ranks of the right ones suffice, and of many classes and photos no wide copy is made.
    rising = np.sort(logits_N)
    right = np.sort(logits_N[positive_N])
    values = np.unique(right)[::-1]
    # Equal answers are given together or not at all.
    num_given = len(rising) - np.searchsorted(rising, values)
    hits = total - np.searchsorted(right, values)
    best = int(np.argmax(2 * hits / (num_given + total)))
    last = values[best].astype(np.float64)
    if num_given[best] == len(rising):  # to all: there is no next
        return float(sigmoid(last)) / 2
    following = rising[len(rising) - num_given[best] - 1].astype(np.float64)
    return float(sigmoid((last + following) / 2))
