"""Each loss against its published formula, computed by hand, and against libraries that have it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from pocketlens.core.errors import UserError
from pocketlens.training.config import TrainConfig
from pocketlens.training.losses import (
    BETA,
    asymmetric,
    binary,
    class_weights,
    cross_entropy,
    make_loss,
)

RNG = np.random.default_rng(0)
LOGITS = torch.from_numpy(RNG.normal(0, 2, (12, 5)).astype(np.float32))
TRUTH = torch.from_numpy(RNG.integers(0, 5, 12))
LABELS = torch.from_numpy((RNG.random((12, 5)) < 0.3).astype(np.uint8))
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5, 0.3])


def near(a: Any, b: Any) -> bool:
    return math.isclose(float(a), float(b), rel_tol=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(weights: Any, smoothing: float) -> None:
    expected = functional.cross_entropy(LOGITS, TRUTH, weights, label_smoothing=smoothing)
    found = cross_entropy(LOGITS, TRUTH, weights_K=weights, label_smoothing=smoothing)
    assert near(found, expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_softmax_focal_by_hand(weights: Any) -> None:
    total, share = 0.0, 0.0
    for logits, k in zip(LOGITS.double(), TRUTH, strict=True):
        p = float(logits.softmax(0)[k])
        w = 1.0 if weights is None else float(weights[k])
        total += w * -((1 - p) ** 2) * math.log(p)
        share += w
    assert near(cross_entropy(LOGITS, TRUTH, weights_K=weights, gamma=2), total / share)


def test_focal_without_focus_is_cross_entropy() -> None:
    tiny = 1e-9
    assert near(cross_entropy(LOGITS, TRUTH, gamma=tiny), cross_entropy(LOGITS, TRUTH))


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_sigmoid_focal_is_torchvisions(gamma: float) -> None:
    labels = LABELS.float()
    expected = sigmoid_focal_loss(LOGITS, labels, alpha=-1, gamma=gamma, reduction="mean")
    assert near(binary(LOGITS, LABELS, gamma=gamma), expected)


def test_binary_with_weights() -> None:
    loss = functional.binary_cross_entropy_with_logits(LOGITS, LABELS.float(), reduction="none")
    assert near(binary(LOGITS, LABELS, weights_K=WEIGHTS), (loss * WEIGHTS).mean())


def test_asymmetric_by_hand() -> None:
    total = 0.0
    for x, y in zip(LOGITS.double().flatten(), LABELS.flatten(), strict=True):
        p = 1 / (1 + math.exp(-float(x)))
        shifted = max(p - 0.05, 0)
        total -= math.log(p) if y else shifted**4 * math.log(1 - shifted)
    assert near(asymmetric(LOGITS, LABELS), total / LOGITS.numel())


def test_asymmetric_without_asymmetry_is_binary() -> None:
    found = asymmetric(LOGITS, LABELS, gamma_negative=0, margin=0)
    assert near(found, binary(LOGITS, LABELS))


def test_asymmetric_is_finite_and_has_gradients_at_the_ends() -> None:
    logits = torch.tensor([[100.0, -100.0]], requires_grad=True)
    loss = asymmetric(logits, torch.tensor([[0, 1]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_weights_of_classes() -> None:
    assert class_weights("none", [1, 2]) is None
    inverse = class_weights("inverse", [100, 10, 0])
    assert inverse is not None
    assert np.isclose(inverse[1] / inverse[0], 10)
    assert np.isclose(inverse.mean(), 1)
    assert inverse[2] == 10 * inverse[1]
    balanced = class_weights("balanced", [1000, 10])
    assert balanced is not None
    assert np.isclose(balanced[1] / balanced[0], (1 - BETA**1000) / (1 - BETA**10))


@pytest.mark.parametrize(
    ("task", "loss"), [("single_label", "bce"), ("single_label", "asymmetric"),
                       ("multi_label", "cross_entropy")]
)  # fmt: skip
def test_a_loss_of_the_other_task_is_refused(task: Any, loss: Any) -> None:
    with pytest.raises(UserError, match=f"--loss {loss} is not for"):
        make_loss(TrainConfig(loss=loss), task, [1, 1])


@pytest.mark.parametrize("kind", ["none", "inverse", "balanced"])
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_every_loss_falls_when_followed(task: Any, kind: Any) -> None:
    from pocketlens.training.losses import FOR_TASK

    truth = TRUTH if task == "single_label" else LABELS
    for name in FOR_TASK[task]:
        config = TrainConfig(loss=name, class_weights=kind, label_smoothing=0)  # type: ignore[arg-type]
        loss_of = make_loss(config, task, [7, 2, 30, 1, 4])
        logits = LOGITS.clone().requires_grad_()
        before = loss_of(logits, truth)
        before.backward()
        assert logits.grad is not None
        assert loss_of(logits - 0.5 * logits.grad, truth) < before
