"""Batch norm over the parts of a batch that several processes hold.

torch's own SyncBatchNorm is for graphics cards only and replaces layers; this stands in for the
function that all batch norms call, for as long as it is entered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import all_reduce
from torch.overrides import TorchFunctionMode


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        all_reduce(total)
        return total


class SyncedBatchNorm(TorchFunctionMode):
    """`with SyncedBatchNorm(): net(part)` gives what `net(whole)[part]` would.

    Without running figures it is left alone: so some networks normalise weights, not photos.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every call of a torch function comes through here."""
        if func is torch.nn.functional.batch_norm:
            given = _arguments(*args, **(kwargs or {}))
            if given["training"] and given["running_mean"] is not None:
                return _batch_norm(**given)
        return func(*args, **(kwargs or {}))


def _arguments(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> dict[str, Any]:
    return locals()


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    axes = [0, *range(2, input.ndim)]
    shape = [1, -1, *([1] * (input.ndim - 2))]
    values = input.float()
    num_own = values.numel() // values.shape[1]
    own_mean = values.sum(axes) / max(1, num_own)
    own_spread = ((values - own_mean.view(shape)) ** 2).sum(axes)
    # Between the parts in float64: a difference of squares loses what float32 has.
    mean_C, spread_C = own_mean.double(), own_spread.double()
    sums = torch.cat([num_own * mean_C, spread_C + num_own * mean_C**2])
    num = torch.tensor([num_own], dtype=torch.float64, device=input.device)
    total: Tensor = _Sum.apply(torch.cat([sums, num]))
    num_all = total[-1].detach().clamp(min=1)
    first, second = (total[:-1] / num_all).chunk(2)
    variance = (second - first**2).clamp(min=0)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            unbiased = variance * (num_all / (num_all - 1).clamp(min=1))
            running_mean.lerp_(first.to(running_mean.dtype), momentum)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    mean, scale = first.float(), torch.rsqrt(variance + eps).float()
    if weight is not None:
        scale = scale * weight
    offset = -mean * scale if bias is None else bias - mean * scale
    result = values * scale.view(shape) + offset.view(shape)
    normalised: Tensor = result.to(input.dtype)
    return normalised
