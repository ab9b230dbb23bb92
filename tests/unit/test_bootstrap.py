"""The interval of a drop: right as often as it says, and tighter for being paired."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pocketlens.core.bootstrap import Drop, paired_drop, paired_drops, score_interval
from pocketlens.core.dataset import Task
from pocketlens.core.metrics import Metric, score, summary
from pocketlens.core.scored import Scored, from_logits


def scored(right: np.ndarray, *, scale: float = 1.0) -> Scored:
    """Two classes, the truth always 0; right where asked."""
    logits = np.where(right, 1, -1)[:, None] * np.array([[1, -1]]) * scale
    return from_logits("single_label", logits.astype(np.float32), np.zeros(len(right), np.int64))


def from_answers(truth: np.ndarray, answers: np.ndarray) -> Scored:
    """Two classes, with these answers."""
    logits = np.eye(2, dtype=np.float32)[answers]
    return from_logits("single_label", logits, truth.astype(np.int64))


def simulate(
    rng: np.random.Generator, n: int, p_float: float, p_break: float
) -> tuple[Scored, Scored]:
    """A float model right with `p_float`; the variant breaks a share of what it got right."""
    right = rng.random(n) < p_float
    return scored(right), scored(right & (rng.random(n) >= p_break), scale=0.9)


def test_coverage() -> None:
    rng = np.random.default_rng(1)
    true_drop = 100 * 0.9 * 0.1
    covered = 0
    for trial in range(200):
        drop = paired_drop("accuracy", *simulate(rng, 300, 0.9, 0.1), seed=trial, num_resamples=500)
        assert drop.low <= drop.drop <= drop.high
        covered += drop.low <= true_drop <= drop.high
    assert 180 <= covered <= 199  # 95 % of 200, give or take three standard errors


def test_paired_is_narrower_than_unpaired() -> None:
    rng = np.random.default_rng(2)
    reference, other = simulate(rng, 400, 0.8, 0.03)
    paired = paired_drop("accuracy", reference, other)
    apart = []
    for model in (reference, other):
        weights = rng.multinomial(400, np.full(400, 1 / 400), size=2000).astype(float)
        apart.append(score("accuracy", model, weights))
    low, high = np.percentile(apart[0] - apart[1], [2.5, 97.5])
    assert paired.high - paired.low < 0.5 * (high - low)


def test_units_are_drawn_together() -> None:
    """40 photos of 10 crops that stand or fall together carry the news of 40, not of 400."""
    rng = np.random.default_rng(3)
    right = rng.random(40) < 0.85
    broken = right & (rng.random(40) >= 0.15)
    reference, other = scored(np.repeat(right, 10)), scored(np.repeat(broken, 10))
    alone = paired_drop("accuracy", reference, other)
    together = paired_drop("accuracy", reference, other, units=[i // 10 for i in range(400)])
    small = paired_drop("accuracy", scored(right), scored(broken))
    assert together.drop == alone.drop == small.drop
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.high == pytest.approx(small.high, abs=1.5)


def test_same_seed_same_interval_and_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = simulate(np.random.default_rng(4), 200, 0.9, 0.05)
    first = paired_drop("macro_f1", *pair, seed=5)
    assert paired_drop("macro_f1", *pair, seed=5) == first
    assert paired_drop("macro_f1", *pair, seed=6) != first
    monkeypatch.setattr("pocketlens.core.bootstrap._CHUNK_WEIGHTS", 4096)
    chunked = paired_drop("macro_f1", *pair, seed=5)
    assert chunked == pytest.approx(first, abs=0.3)


def test_the_same_answers_have_no_drop() -> None:
    right = np.random.default_rng(0).random(50) < 0.5
    assert paired_drop("accuracy", scored(right), scored(right))[:3] == (0, 0, 0)
    assert paired_drop("accuracy", scored(right), scored(right, scale=0.5))[:3] == (0, 0, 0)


def test_other_thresholds_are_a_difference() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 3)) < 0.5).astype(np.int64)
    logits = (rng.normal(size=(200, 3)) + 2 * truth - 1).astype(np.float32)
    a = from_logits("multi_label", logits, truth, np.full(3, 0.5))
    b = from_logits("multi_label", logits, truth, np.full(3, 0.9))
    drop = paired_drop("macro_f1", a, b, num_resamples=300)
    assert drop.drop > 1
    assert drop.low < drop.drop < drop.high
    assert paired_drop("map", a, b)[:3] == (0, 0, 0)


@pytest.mark.slow
def test_many_classes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((5000, 80)) < 0.036).astype(np.uint8)
    logits = (rng.normal(size=truth.shape) + 2 * truth).astype(np.float32)
    moved = (logits + 0.1 * rng.normal(size=truth.shape)).astype(np.float32)
    started = time.process_time()
    drop = paired_drop(
        "map", from_logits("multi_label", logits, truth), from_logits("multi_label", moved, truth)
    )
    assert time.process_time() - started < 20  # 4 s on an idle core; a minute when done by samples
    assert drop.low < drop.drop < drop.high


def test_a_better_variant_has_a_negative_drop() -> None:
    reference, other = simulate(np.random.default_rng(0), 300, 0.9, 0.2)
    drop = paired_drop("accuracy", other, reference)
    assert drop.high < 0


def same_right(num: int, *, confidence: float = 2.0, worse: int = 0) -> tuple[Scored, Scored]:
    """Two networks that answer alike, but for `worse` photos, and not equally surely."""
    truth = np.arange(num) % 2
    logits = np.eye(2, dtype=np.float32)[truth] * 4
    moved = logits / confidence
    moved[:worse] *= -1
    return from_logits("single_label", logits, truth), from_logits("single_label", moved, truth)


def test_few_photos_can_hide_a_loss() -> None:
    for num, unseen in ((4, 75.0), (600, 0.5), (1, 100.0)):
        drop = paired_drop("macro_f1", *same_right(num))
        assert drop == Drop(0, 0, 0, unseen)
    # One photo twice is one photo: crops of it stand and fall together.
    assert paired_drop("accuracy", *same_right(4), units=["a", "a", "b", "b"]).unseen == 100


def test_where_a_photo_got_worse_the_interval_tells() -> None:
    drop = paired_drop("accuracy", *same_right(50, worse=1))
    assert drop.unseen == 0
    assert drop.high > 2


def test_sure_networks_can_hide_a_loss_too() -> None:
    """However small the loss of each photo: a network that is sure says nothing of unseen ones."""
    truth = np.arange(3) % 2
    sure = np.eye(2, dtype=np.float32)[truth] * 20
    a, b = (from_logits("single_label", logits, truth) for logits in (sure, sure / 2))
    assert paired_drop("accuracy", a, b).unseen == 100


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_all_metrics_come_from_the_same_resamples(task: Task) -> None:
    rng = np.random.default_rng(0)
    if task == "single_label":
        truth = rng.integers(0, 3, 200)
        logits = rng.normal(size=(200, 3)) + 2 * np.eye(3)[truth]
    else:
        truth = (rng.random((200, 3)) < 0.3).astype(np.uint8)
        logits = rng.normal(size=(200, 3)) + 2 * truth - 1
    moved = logits + rng.normal(0, 0.7, logits.shape)
    a, b = (from_logits(task, x.astype(np.float32), truth) for x in (logits, moved))
    drops = paired_drops(a, b, num_resamples=200)
    for metric in ("macro_f1", "accuracy", "map"):
        if metric in drops:
            assert drops[metric] == pytest.approx(paired_drop(metric, a, b, num_resamples=200))
    assert set(drops) == set(summary(a)) - {"loss", "num_classes_scored"}
    for name, drop in drops.items():
        assert drop.drop == pytest.approx(summary(a)[name] - summary(b)[name])
        assert drop.low < drop.drop < drop.high


def test_interval_of_a_score() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 400)
    answers = np.where(rng.random(400) < 0.8, truth, 1 - truth)
    scored = from_answers(truth, answers)
    right = 100 * float(np.mean(truth == answers))
    found = score_interval("accuracy", scored)
    half = 1.96 * np.sqrt(right * (100 - right) / 400)  # of a binomial
    assert found.low == pytest.approx(right - half, abs=0.6)
    assert found.high == pytest.approx(right + half, abs=0.6)
    assert score_interval("accuracy", scored) == found
    # Two crops of each photo say no more than one.
    twice = from_answers(np.repeat(truth, 2), np.repeat(answers, 2))
    wide = score_interval("accuracy", twice, units=[i // 2 for i in range(800)])
    assert wide.high - wide.low == pytest.approx(found.high - found.low, rel=0.1)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_all_right_is_not_certain_to_stay_so(metric: Metric) -> None:
    truth = np.array([0, 1] * 15)
    assert score_interval(metric, from_answers(truth, truth)) == (90.0, 100.0)
    assert score_interval("accuracy", from_answers(truth, 1 - truth)) == (0.0, 10.0)
