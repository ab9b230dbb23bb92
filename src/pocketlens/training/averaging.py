"""An exponential moving average of the weights, which is what is validated and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def make_average(module: torch.nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """A copy that follows the module: `update_parameters(module)` after each step.

    average <- d average + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) after n steps
    (as TensorFlow's ExponentialMovingAverage), so that a short run doesn't keep its start. Batch
    norm's running figures are averaged alike.
    """
    from torch.optim.swa_utils import AveragedModel

    def follow(averaged: Any, current: Any, num_averaged: Any) -> None:
        n = int(num_averaged)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), share)
            else:
                mean.copy_(value)

    return AveragedModel(module, multi_avg_fn=follow, use_buffers=True)
