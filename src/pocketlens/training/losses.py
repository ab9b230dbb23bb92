"""Losses of `logits_NK`, each against its published formula; one number, the mean over samples.

With several labels a photo a loss is a mean over the classes too, so that its size does not
depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Task
from pocketlens.core.errors import UserError
from pocketlens.training.config import TrainConfig

if TYPE_CHECKING:
    import torch

Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]

#: Task -> losses that exist for it, its default first.
FOR_TASK: Final[dict[Task, tuple[str, ...]]] = {
    "single_label": ("cross_entropy", "focal"),
    "multi_label": ("bce", "focal", "asymmetric"),
}
#: Share by which a further sample of a class is new (Cui et al. 2019 tried 0.9 to 0.9999).
BETA: Final = 0.999


def make_loss(config: TrainConfig, task: Task, class_counts: Sequence[int]) -> Loss:
    """The loss asked for: `loss(logits_NK, truth)`, truth being class indices N (single-label) or
    a 0/1 matrix NK (multi-label).

    Args:
        class_counts: training samples of each class, for the weights.

    Raises:
        UserError: the loss is not one for this task.
    """
    import torch

    name = config.loss or FOR_TASK[task][0]
    if name not in FOR_TASK[task]:
        raise UserError(
            f"--loss {name} is not for {task} data; use one of {', '.join(FOR_TASK[task])}"
        )
    weights = class_weights(config.class_weights, class_counts)
    weights_K = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    gamma = 2.0 if config.focal_gamma is None else config.focal_gamma
    if task == "single_label":
        return lambda logits_NK, truth_N: cross_entropy(
            logits_NK,
            truth_N,
            weights_K=weights_K,
            label_smoothing=config.label_smoothing,
            gamma=gamma if name == "focal" else 0.0,
        )
    if name == "asymmetric":
        return lambda logits_NK, truth_NK: asymmetric(logits_NK, truth_NK, weights_K=weights_K)
    return lambda logits_NK, truth_NK: binary(
        logits_NK, truth_NK, weights_K=weights_K, gamma=gamma if name == "focal" else 0.0
    )


def cross_entropy(
    logits_NK: torch.Tensor,
    truth_N: torch.Tensor,
    *,
    weights_K: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
) -> torch.Tensor:
    """Softmax cross entropy; with `gamma` the focal loss, (1 - p)^gamma times it.

    Lin et al. (2017), "Focal Loss for Dense Object Detection", eq. 4, over the classes of a
    softmax. Weighted, it is the weighted mean, as torch's own.
    """
    from torch.nn import functional

    if not gamma:
        return functional.cross_entropy(
            logits_NK,
            truth_N,
            weight=None if weights_K is None else weights_K.to(logits_NK),
            label_smoothing=label_smoothing,
        )
    loss_N = functional.cross_entropy(
        logits_NK, truth_N, label_smoothing=label_smoothing, reduction="none"
    )
    p_N = logits_NK.softmax(1).gather(1, truth_N[:, None])[:, 0]
    loss_N = (1 - p_N) ** gamma * loss_N
    if weights_K is None:
        return loss_N.mean()
    weights_N = weights_K.to(logits_NK)[truth_N]
    return (weights_N * loss_N).sum() / weights_N.sum()


def binary(
    logits_NK: torch.Tensor,
    truth_NK: torch.Tensor,
    *,
    weights_K: torch.Tensor | None = None,
    gamma: float = 0.0,
) -> torch.Tensor:
    """Binary cross entropy of each class; with `gamma` the focal loss (Lin et al. 2017, eq. 4).

    Weights apply to a class's positives and negatives alike.
    """
    from torch.nn import functional

    truth_NK = truth_NK.to(logits_NK.dtype)
    loss_NK = functional.binary_cross_entropy_with_logits(logits_NK, truth_NK, reduction="none")
    if gamma:
        p_NK = logits_NK.sigmoid()
        right_NK = p_NK * truth_NK + (1 - p_NK) * (1 - truth_NK)
        loss_NK = (1 - right_NK) ** gamma * loss_NK
    return _weighted_mean(loss_NK, weights_K)


def asymmetric(
    logits_NK: torch.Tensor,
    truth_NK: torch.Tensor,
    *,
    weights_K: torch.Tensor | None = None,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> torch.Tensor:
    """Asymmetric loss for few positives among many labels.

    Ridnik et al. (2021), "Asymmetric Loss For Multi-Label Classification", eq. 7: negatives are
    focused by `gamma_negative` and left out where their probability is below `margin`.
    """
    truth_NK = truth_NK.to(logits_NK.dtype)
    p_NK = logits_NK.sigmoid()
    shifted_NK = (p_NK - margin).clamp(min=0)
    tiny = 1e-8
    positive_NK = (1 - p_NK) ** gamma_positive * p_NK.clamp(min=tiny).log()
    negative_NK = shifted_NK**gamma_negative * (1 - shifted_NK).clamp(min=tiny).log()
    return _weighted_mean(-(truth_NK * positive_NK + (1 - truth_NK) * negative_NK), weights_K)


def class_weights(kind: str, counts: Sequence[int]) -> NDArray[np.float64] | None:
    """Weights K with mean 1, larger for rarer classes; None for `none`.

    `inverse`: 1 / count. `balanced`: 1 / effective number of samples, (1 - BETA^n) / (1 - BETA),
    Cui et al. (2019), "Class-Balanced Loss Based on Effective Number of Samples", eq. 2. A class
    without samples counts as one with one.
    """
    if kind == "none":
        return None
    numbers = np.maximum(np.asarray(counts, dtype=np.float64), 1)
    if kind == "balanced":
        numbers = (1 - BETA**numbers) / (1 - BETA)
    weights: NDArray[np.float64] = 1 / numbers
    weights /= weights.mean()
    return weights


def _weighted_mean(loss_NK: torch.Tensor, weights_K: torch.Tensor | None) -> torch.Tensor:
    if weights_K is None:
        return loss_NK.mean()
    return (loss_NK * weights_K.to(loss_NK)).mean()
