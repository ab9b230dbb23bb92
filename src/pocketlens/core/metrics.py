"""Scores over answers and labels: pure functions, in percent.

Every score takes `weights_BN`, one row of sample weights a bootstrap resample, and gives one
value a row; a single row of ones is the plain score. So the figure in the table and the figures
behind its interval come from the same lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Task
from pocketlens.core.errors import UserError
from pocketlens.core.scored import Floats, Ints, Scored, blocks, ranking

Metric = Literal["macro_f1", "accuracy", "map"]

DEFAULT_METRIC: Final[Mapping[Task, Metric]] = {"single_label": "macro_f1", "multi_label": "map"}


def check_metric(metric: str, task: Task) -> Metric:
    """The metric, if it exists for this task.

    Raises:
        UserError: it doesn't.
    """
    known: tuple[Metric, ...] = ("map", "macro_f1")
    if task == "single_label":
        known = ("macro_f1", "accuracy")
    for name in known:
        if name == metric:
            return name
    raise UserError(f"no metric {metric!r} for {task} data; use one of {', '.join(known)}")


def score(metric: Metric, scored: Scored, weights_BN: Floats | None = None) -> Floats:
    """The metric in percent, one value a row of weights (one row of ones by default)."""
    weights = np.ones((1, len(scored))) if weights_BN is None else weights_BN
    return _METRICS[metric](scored, weights) * 100


def accuracy(scored: Scored, weights_BN: Floats) -> Floats:
    """Share of samples whose (set of) labels is exactly right."""
    right = scored.predicted == scored.truth
    if right.ndim == 2:
        right = right.all(axis=1)
    result: Floats = weights_BN @ right.astype(np.float64) / weights_BN.sum(axis=1)
    return result


def class_scores(scored: Scored, weights_BN: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Precision, recall, F1 and support, each BK; 0 where a quotient has no meaning."""
    hits, given, support = _counts(scored, weights_BN)
    return _divide(hits, given), _divide(hits, support), _divide(2 * hits, given + support), support


def _counts(scored: Scored, weights_BN: Floats) -> tuple[Floats, Floats, Floats]:
    """Labels rightly given, given, and true; each BK."""
    predicted, truth = scored.predicted, scored.truth
    num_classes = scored.num_classes
    if scored.task == "multi_label":
        hits = _weighted_sum(weights_BN, predicted & (truth == 1))
        return hits, _weighted_sum(weights_BN, predicted), _weighted_sum(weights_BN, truth)
    shape = (len(weights_BN), num_classes)
    hits, given, support = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    right = predicted == truth
    for row, w in enumerate(weights_BN):
        hits[row] = np.bincount(truth[right], w[right], minlength=num_classes)
        given[row] = np.bincount(predicted, w, minlength=num_classes)
        support[row] = np.bincount(truth, w, minlength=num_classes)
    return hits, given, support


def all_scores(scored: Scored, weights_BN: Floats) -> dict[str, Floats]:
    """Every score by name, each B, in percent.

    `accuracy`, and precision, recall and F1 as a mean over the classes that have samples (macro);
    of several labels also `map`, and the three over all labels at once (micro).
    """
    hits, given, support = _counts(scored, weights_BN)
    triples = {
        "precision": _divide(hits, given),
        "recall": _divide(hits, support),
        "f1": _divide(2 * hits, given + support),
    }
    scores = {"accuracy": accuracy(scored, weights_BN)}
    scores |= {f"macro_{name}": _mean_over_present(v, support) for name, v in triples.items()}
    if scored.task == "multi_label":
        total_hits, total_given, total = (v.sum(axis=1) for v in (hits, given, support))
        scores |= {
            "map": mean_average_precision(scored, weights_BN),
            "micro_precision": _divide(total_hits, total_given),
            "micro_recall": _divide(total_hits, total),
            "micro_f1": _divide(2 * total_hits, total_given + total),
        }
    return {name: values * 100 for name, values in scores.items()}


def macro_f1(scored: Scored, weights_BN: Floats) -> Floats:
    """Mean F1 over the classes that have samples in the scored data."""
    _, _, f1, support = class_scores(scored, weights_BN)
    return _mean_over_present(f1, support)


def mean_average_precision(scored: Scored, weights_BN: Floats) -> Floats:
    """Mean over classes with positives of the area under precision-recall."""
    ap, support = average_precision(scored, weights_BN)
    return _mean_over_present(ap, support)


def average_precision(scored: Scored, weights_BN: Floats) -> tuple[Floats, Floats]:
    """Average precision and positives, each BK.

    AP = sum over thresholds n of (R_n - R_{n-1}) P_n, equal scores being one threshold; the
    definition that scikit-learn's `average_precision_score` uses.
    """
    logits_NK, positives = ranking(scored), scored.truth == 1
    ap = np.zeros((len(weights_BN), scored.num_classes))
    # A row a sample, so that sorting samples moves whole rows: 2 ns a weight instead of 30.
    weights_NB = np.ascontiguousarray(weights_BN.T)
    for k in np.flatnonzero(positives.any(axis=0)):
        order = np.argsort(-logits_NK[:, k], kind="stable")
        falling = logits_NK[order, k]
        last_of_equal = np.append(np.flatnonzero(np.diff(falling)), len(order) - 1)
        # Recall grows at thresholds with a positive alone; the others add nothing to the area.
        at = np.flatnonzero(positives[order, k])
        ends, firsts = np.unique(
            last_of_equal[np.searchsorted(last_of_equal, at)], return_index=True
        )
        given_TB = _running_sum(weights_NB[order[: ends[-1] + 1]])[ends]
        gained_TB = weights_NB[order[at]]
        if len(firsts) < len(at):
            gained_TB = np.add.reduceat(gained_TB, firsts, axis=0)
        hits_TB = _running_sum(gained_TB.copy())
        last_B = hits_TB[-1].copy()
        precision_TB = np.divide(hits_TB, given_TB, out=hits_TB, where=given_TB > 0)
        ap[:, k] = _divide(np.einsum("tb,tb->b", gained_TB, precision_TB), last_B)
    return ap, _weighted_sum(weights_BN, positives)


_METRICS: Final[Mapping[Metric, Callable[[Scored, Floats], Floats]]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "map": mean_average_precision,
}


def loss(scored: Scored) -> float:
    """Mean cross entropy (single-label) or binary cross entropy (multi-label), in nats."""
    return float(np.mean(scored.loss_N))


def summary(scored: Scored) -> dict[str, float]:
    """Every score by name, in percent; `loss` in nats; how many classes have samples."""
    scores = all_scores(scored, np.ones((1, len(scored))))
    if scored.task == "multi_label":
        present = int((scored.truth == 1).any(axis=0).sum())
    else:
        present = len(np.unique(scored.truth))
    values = {name: float(found[0]) for name, found in scores.items()}
    return values | {"loss": loss(scored), "num_classes_scored": present}


def per_class(scored: Scored) -> dict[str, Floats]:
    """Figures K by name: `precision`, `recall`, `f1`, `num_samples`; in percent but for counts.

    Multi-label adds `average_precision`. A class without samples has zeros.
    """
    one = np.ones((1, len(scored)))
    precision, recall, f1, support = (values[0] for values in class_scores(scored, one))
    values = {"precision": precision * 100, "recall": recall * 100, "f1": f1 * 100}
    if scored.task == "multi_label":
        values["average_precision"] = average_precision(scored, one)[0][0] * 100
    return values | {"num_samples": support}


def confusion_matrix(scored: Scored) -> Ints:
    """Counts KK of single-label samples: rows are the truth, columns the prediction."""
    num_classes = scored.num_classes
    flat = scored.truth * num_classes + scored.predicted
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def agreement(a: Scored, b: Scored) -> float:
    """Percent of samples on which both give the same label (or the same set of labels)."""
    same = a.predicted == b.predicted
    return float(np.mean(same.all(axis=1) if same.ndim == 2 else same)) * 100


def largest_difference(a: Scored, b: Scored) -> float:
    """Of two networks' answers to a photo, as a share of the first's logits (or of 1, if more).

    Of single-label answers the lead of the chosen logit and the loss are compared, of multi-label
    ones each logit.
    """
    if a.logits_NK is not None and b.logits_NK is not None:
        largest = 0.0
        for rows in blocks(a.logits_NK):
            before, after = (ranking(x)[rows].astype(np.float64) for x in (a, b))
            share_NK = np.abs(after - before) / np.maximum(1, np.abs(before))
            largest = max(largest, float(share_NK.max(initial=0.0)))
        return largest
    assert a.margin_N is not None
    assert b.margin_N is not None
    scale_N = np.maximum(1, a.margin_N)
    margins_N = np.abs(a.margin_N - b.margin_N) / scale_N
    losses_N = np.abs(a.loss_N - b.loss_N) / np.maximum(scale_N, a.loss_N)
    return float(np.maximum(margins_N, losses_N).max(initial=0.0))


def _running_sum(rows_TB: Floats) -> Floats:
    """`np.cumsum(axis=0)` in place; numpy's own goes down each column, four times as slow."""
    if rows_TB.shape[1] < 32:
        return np.cumsum(rows_TB, axis=0, out=rows_TB)
    for above, row in itertools.pairwise(rows_TB):
        row += above
    return rows_TB


def _weighted_sum(weights_BN: Floats, values_NK: NDArray[Any]) -> Floats:
    """`weights_BN @ values_NK`, the values as float64 a block at a time."""
    total = np.zeros((len(weights_BN), values_NK.shape[1]))
    for rows in blocks(values_NK):
        total += weights_BN[:, rows] @ values_NK[rows].astype(np.float64)
    return total


def _divide(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _mean_over_present(values_BK: Floats, support_BK: Floats) -> Floats:
    present = support_BK > 0
    return _divide((values_BK * present).sum(axis=1), present.sum(axis=1).astype(np.float64))
