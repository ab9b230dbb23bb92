"""Thresholds: of the highest F1, and of nobody's chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pocketlens.core.scored import sigmoid
from pocketlens.core.thresholds import DEFAULT, MIN_POSITIVES, find_thresholds


def made_up(
    n: int = 120, k: int = 5, seed: int = 0, *, ties: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, k)) < np.linspace(0.1, 0.6, k)).astype(np.uint8)
    logits = (rng.normal(size=(n, k)) + 1.5 * truth - 1).astype(np.float32)
    return (np.round(logits, 1) if ties else logits), truth


def f1(logits: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    return float(f1_score(truth, sigmoid(logits) >= threshold, zero_division=0))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_higher_f1(seed: int, ties: bool) -> None:
    logits, truth = made_up(seed=seed, ties=ties)
    found = find_thresholds(logits, truth)
    assert not found.global_K.any()
    for k, threshold in enumerate(found.per_class_K):
        tried = [f1(logits[:, k], truth[:, k], t) for t in sigmoid(np.unique(logits[:, k]))]
        assert f1(logits[:, k], truth[:, k], threshold) == pytest.approx(max(tried))
    tried = [f1(logits.ravel(), truth.ravel(), t) for t in sigmoid(np.unique(logits))]
    assert f1(logits.ravel(), truth.ravel(), found.everywhere) == pytest.approx(max(tried))


def test_rare_classes_take_the_global_threshold() -> None:
    logits, truth = made_up(k=4)
    for k, positives in enumerate((0, MIN_POSITIVES - 1, MIN_POSITIVES)):
        truth[:, k] = 0
        truth[:positives, k] = 1
    found = find_thresholds(logits, truth)
    np.testing.assert_array_equal(found.global_K, [True, True, False, False])
    np.testing.assert_array_equal(found.per_class_K[:2], found.everywhere)
    assert len({found.everywhere, *found.per_class_K[2:]}) == 3


def test_halfway_between_answers() -> None:
    logits = np.array([[3], [1], [-2], [-4]], np.float32)
    truth = np.array([[1], [1], [0], [0]])
    found = find_thresholds(logits, truth, min_positives=1).per_class_K
    np.testing.assert_allclose(found, sigmoid(np.array([-0.5])))


def test_a_label_of_every_photo_is_given_to_every_photo() -> None:
    logits = np.linspace(-6, 2, 30, dtype=np.float32)[:, None]
    found = find_thresholds(logits, np.ones((30, 1)))
    assert 0 < found.per_class_K[0] < sigmoid(logits).min()


def test_of_equal_f1_the_higher_threshold() -> None:
    # One given and right, or all four given and two right: F1 is 2/3 both times.
    logits = np.array([[4], [3], [2], [1]], np.float32)
    truth = np.array([[1], [0], [0], [1]])
    found = find_thresholds(logits, truth, min_positives=1)
    np.testing.assert_allclose(found.per_class_K, sigmoid(np.array([3.5])))


def test_nothing_to_find_one_by() -> None:
    logits, truth = made_up()
    for found in (
        find_thresholds(logits, np.zeros_like(truth)),
        find_thresholds(logits[:0], truth[:0]),
    ):
        np.testing.assert_array_equal(found.per_class_K, DEFAULT)
        assert found.everywhere == DEFAULT


def test_far_logits_stay_probabilities() -> None:
    logits = np.array([[300], [200], [-200], [-300]], np.float32)
    found = find_thresholds(logits, np.array([[1], [1], [0], [0]]), min_positives=1)
    assert 0 < found.per_class_K[0] <= 1
