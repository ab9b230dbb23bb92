"""Scores are scikit-learn's; weights are the same as repeating samples."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from pocketlens.core import metrics as m
from pocketlens.core import scored as s
from pocketlens.core.errors import UserError

NEAR = {"rtol": 0, "atol": 1e-9}


def answers(
    n: int = 120, k: int = 5, seed: int = 0, *, classes: int | None = None
) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes or k, n)
    logits = rng.normal(size=(n, k)).astype(np.float32)
    logits[np.arange(n), truth] += 1
    return logits, truth


def single(**options: int) -> s.Scored:
    return s.from_logits("single_label", *answers(**options))


def taken(scored: s.Scored, rows: Any) -> s.Scored:
    """Some of the samples, also several times."""
    per_sample = {
        name: value[rows]
        for name, value in vars(scored).items()
        if isinstance(value, np.ndarray) and name != "thresholds_K"
    }
    return replace(scored, **per_sample)


def multi(n: int = 150, k: int = 6, seed: int = 0, *, ties: bool = True) -> s.Scored:
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, k)) < 0.3).astype(np.int64)
    truth[:, 3] = 0  # a class without positives
    logits = (rng.normal(size=(n, k)) + truth).astype(np.float32)
    if ties:
        logits = np.round(logits, 0)
    return s.from_logits("multi_label", logits, truth, np.linspace(0.3, 0.7, k))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [5, 3])  # 3: two classes have no sample in the scored data
def test_single_label(seed: int, classes: int) -> None:
    logits, truth = answers(seed=seed, classes=classes)
    scored, predicted = s.from_logits("single_label", logits, truth), logits.argmax(1)
    present = sorted(set(truth))
    values = m.summary(scored)
    options: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0}
    expected = {
        "accuracy": 100 * sk.accuracy_score(truth, predicted),
        "macro_f1": 100 * sk.f1_score(truth, predicted, **options),
        "macro_precision": 100 * sk.precision_score(truth, predicted, **options),
        "macro_recall": 100 * sk.recall_score(truth, predicted, **options),
        "loss": sk.log_loss(truth, s.softmax(logits), labels=range(5)),
        "num_classes_scored": classes,
    }
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-9), name
    for metric in ("accuracy", "macro_f1"):
        assert m.score(metric, scored)[0] == pytest.approx(expected[metric], abs=1e-9)


def test_per_class() -> None:
    scored = single(k=4)
    found = m.class_scores(scored, np.ones((1, len(scored))))
    expected = sk.precision_recall_fscore_support(
        scored.truth, scored.predicted, labels=range(4), zero_division=0
    )
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine[0], theirs, **NEAR)
    matrix = sk.confusion_matrix(scored.truth, scored.predicted, labels=range(4))
    np.testing.assert_array_equal(m.confusion_matrix(scored), matrix)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision(seed: int, ties: bool) -> None:
    scored = multi(seed=seed, ties=ties)
    ap, support = m.average_precision(scored, np.ones((1, len(scored))))
    present = [k for k in range(6) if scored.truth[:, k].any()]
    expected = [
        sk.average_precision_score(scored.truth[:, k], scored.logits_NK[:, k]) for k in present
    ]
    np.testing.assert_allclose(ap[0, present], expected, **NEAR)
    np.testing.assert_array_equal(support[0], scored.truth.sum(0))
    assert m.score("map", scored)[0] == pytest.approx(100 * np.mean(expected), abs=1e-9)


def test_multi_label_summary() -> None:
    scored = multi()
    given = s.sigmoid(scored.logits_NK) >= scored.thresholds_K
    values = m.summary(scored)
    present = [k for k in range(6) if scored.truth[:, k].any()]
    probs = s.sigmoid(scored.logits_NK)
    expected = {
        "accuracy": sk.accuracy_score(scored.truth, given),
        "macro_f1": sk.f1_score(
            scored.truth, given, labels=present, average="macro", zero_division=0
        ),
        "micro_f1": sk.f1_score(scored.truth, given, average="micro"),
        "micro_precision": sk.precision_score(scored.truth, given, average="micro"),
        "micro_recall": sk.recall_score(scored.truth, given, average="micro"),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(100 * value, abs=1e-9), name
    loss = np.mean([sk.log_loss(scored.truth[:, k], probs[:, k], labels=[0, 1]) for k in range(6)])
    assert values["loss"] == pytest.approx(loss, abs=1e-9)
    assert values["num_classes_scored"] == len(present) == 5


@pytest.mark.parametrize(
    "scored", [single(), multi(), multi(ties=False)], ids=["single", "ties", "multi"]
)
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "map"])
def test_weights_are_repetitions(scored: s.Scored, metric: Any) -> None:
    if metric == "map" and scored.task == "single_label":
        with pytest.raises(UserError):
            m.check_metric(metric, scored.task)
        return
    rng = np.random.default_rng(7)
    weights_BN = rng.integers(0, 4, (9, len(scored))).astype(np.float64)
    weights_BN[0] = 0
    weights_BN[0, :20] = 1  # classes may be missing from a resample
    for value, weights in zip(m.score(metric, scored, weights_BN), weights_BN, strict=True):
        rows = np.repeat(np.arange(len(scored)), weights.astype(int))
        repeated = taken(scored, rows)
        assert value == pytest.approx(m.score(metric, repeated)[0], abs=1e-9)


def test_blocks_are_joined_as_if_they_were_one(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, truth = answers(n=100, k=7)
    whole = s.from_logits("single_label", logits, truth)
    parts = (slice(0, 0), slice(0, 64), slice(64, 100))
    joined = s.join([s.from_logits("single_label", logits[p], truth[p]) for p in parts])
    labels = multi()
    monkeypatch.setattr(s, "_BLOCK_VALUES", 50)  # seven samples, or eight, at a time
    small = s.from_logits("single_label", logits, truth)
    assert whole.chosen_N is not None
    assert whole.chosen_N.dtype == small.chosen_N.dtype == joined.chosen_N.dtype == np.int64
    for other in (joined, small):
        for name in ("truth", "chosen_N", "confidence_N", "loss_N"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(other, name), name)
    again = s.from_logits("multi_label", labels.logits_NK, labels.truth, labels.thresholds_K)
    np.testing.assert_array_equal(again.predicted, multi().predicted)
    assert m.summary(again) == pytest.approx(m.summary(multi()), abs=1e-12)


def test_single_label_answers_do_not_grow_with_the_classes() -> None:
    few, many = (single(n=40, k=k) for k in (3, 3000))
    assert few.logits_NK is many.logits_NK is None
    sizes = [sum(getattr(v, "nbytes", 0) for v in vars(s).values()) for s in (few, many)]
    assert sizes[0] == sizes[1] == 40 * 5 * 8


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_no_wide_copy_of_the_logits(task: Any) -> None:
    logits = np.zeros((4000, 1000), np.float32)  # 16 MB
    truth = np.zeros(4000 if task == "single_label" else logits.shape, np.uint8).astype(
        np.int64 if task == "single_label" else np.uint8
    )
    tracemalloc.start()
    try:
        m.summary(s.from_logits(task, logits, truth))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of several labels also three boolean matrices of 4 MB.
    limit_mb = 30 if task == "single_label" else 50
    assert peak / 1e6 < limit_mb, "a float64 copy alone has 32 MB, and more of them were made"


def test_confidence_is_the_probability() -> None:
    logits, truth = answers()
    scored = s.from_logits("single_label", logits, truth)
    np.testing.assert_array_equal(scored.confidence_N, s.softmax(logits).max(axis=1))


def test_probabilities_survive_large_logits() -> None:
    logits = np.array([[1000, -1000, 0], [-1e30, 1e30, 5]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(s.softmax(logits), [[1, 0, 0], [0, 1, 0]], **NEAR)
        np.testing.assert_allclose(s.sigmoid(logits)[0], [1, 0, 0.5], **NEAR)
        assert m.loss(s.from_logits("single_label", logits, np.array([1, 1]))) == 1000
        truth = np.array([[1, 0, 1], [0, 1, 1]])
        assert np.isfinite(m.loss(s.from_logits("multi_label", logits, truth)))


def test_agreement() -> None:
    logits = np.eye(4, dtype=np.float32)
    a = s.from_logits("single_label", logits, np.arange(4))
    assert m.agreement(a, s.from_logits("single_label", np.roll(logits, 1, 0), np.arange(4))) == 0
    assert m.agreement(a, s.from_logits("single_label", logits * 9, np.zeros(4, int))) == 100
    one, other = multi(), multi()
    other.logits_NK[0, 0] = 50 if one.predicted[0, 0] == 0 else -50
    assert m.agreement(one, other) == pytest.approx(100 * 149 / 150)


def test_metric_names() -> None:
    assert m.check_metric("accuracy", "single_label") == "accuracy"
    assert m.check_metric("map", "multi_label") == "map"
    for metric, task in (("auc", "single_label"), ("accuracy", "multi_label")):
        with pytest.raises(UserError, match="use one of"):
            m.check_metric(metric, task)  # type: ignore[arg-type]
