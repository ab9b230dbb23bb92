"""One tensor's quantization as it is trained, and how it is read from an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketlens.core.errors import UserError


@dataclass
class Quantizer:
    """One tensor's quantization.

    Attributes:
        step: name of the initializer that holds it; tensors that share it learn it together.
        low, high: the levels, inclusive.
        zero_point: the level of 0.
        axis: along which each channel has its own step; None for one step.
        on: whether it does anything.
    """

    step: str
    low: int
    high: int
    zero_point: int
    axis: int | None = None
    on: bool = True

    def __call__(self, values: Tensor, step: Tensor) -> Tensor:
        """Values moved to the nearest level's; gradients reach values and step."""
        if not self.on:
            return values
        # Of one photo's features, or of the weights of a channel.
        num = values[:1].numel() if self.axis is None else values.numel() // step.numel()
        factor = 1.0 / math.sqrt(num * max(self.high, 1))
        zero = torch.full_like(step, self.zero_point)
        if self.axis is None:
            return torch._fake_quantize_learnable_per_tensor_affine(
                values, step.reshape(1), zero.reshape(1), self.low, self.high, factor
            )
        return torch._fake_quantize_learnable_per_channel_affine(
            values.contiguous(), step, zero, self.axis, self.low, self.high, factor
        )


def quantizer_of(
    inputs: Sequence[str], values: Mapping[str, NDArray[Any]], axis: int | None
) -> Quantizer:
    """By the nodes' scale and zero point."""
    zero = values[inputs[2]] if len(inputs) > 2 else np.zeros((), np.uint8)
    if np.any(zero != zero.flat[0]):
        raise UserError("weights with a zero point for each channel can't be trained")
    limits = np.iinfo(zero.dtype)
    low, high = int(limits.min), int(limits.max)
    if inputs[0] in values:  # weights: symmetric, so that no level is the one without a partner
        low = -high
    return Quantizer(inputs[1], low, high, int(zero.flat[0]), axis)


def dequantized(whole: NDArray[Any], step: NDArray[Any], axis: int | None) -> NDArray[np.float32]:
    """The values of integer levels."""
    shape = [1] * whole.ndim
    if axis is not None:
        shape[axis] = -1
    found: NDArray[np.float32] = (whole * step.reshape(shape)).astype(np.float32)
    return found


def plain(value: Any) -> Any:
    """An attribute's value with text as text."""
    return value.decode() if isinstance(value, bytes) else value
