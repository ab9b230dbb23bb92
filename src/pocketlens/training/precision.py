"""Number format and memory layout of the training steps, chosen by timing a few real ones.

Which is fastest depends on the processor: bfloat16 halves the time of a step on one and doubles it
on another. So `auto` measures; what it chose is kept with the run, and resuming changes nothing.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocketlens.progress import say

if TYPE_CHECKING:
    import torch

_WARM_UP: Final = 1
_TIMED: Final = 3
#: Another way must be this many times as fast as the plain one, or noise would choose.
_WORTH: Final = 1.1


@dataclass(frozen=True)
class Precision:
    """How a step computes.

    Attributes:
        dtype: `float32` or `bfloat16` (autocast; weights stay float32).
        channels_last: memory layout of images and convolutions.
    """

    dtype: str = "float32"
    channels_last: bool = True

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context that forward passes run in."""
        import torch

        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=getattr(torch, self.dtype))

    @property
    def layout(self) -> torch.memory_format:
        """Of images and convolutions."""
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format


#: What is tried; the plain one first.
CANDIDATES: Final = (Precision(), Precision(channels_last=False), Precision("bfloat16"))


def choose(
    module: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, Precision], torch.Tensor],
    device: torch.device,
) -> Precision:
    """The fastest that trains: a few forward and backward passes of a copy of the network.

    Args:
        loss_of: the loss of a network on a real batch.
    """
    plain, *others = CANDIDATES
    usual = _seconds(module, loss_of, plain, device)
    best, fastest = plain, usual
    for candidate in others:
        seconds = _seconds(module, loss_of, candidate, device)
        if seconds * _WORTH < usual and seconds < fastest:
            best, fastest = candidate, seconds
    layout = "channels_last" if best.channels_last else "channels first"
    say(
        f"steps in {best.dtype}, {layout}: {usual / fastest:.2f} times as fast as in float32, "
        "channels_last"
    )
    return best


def _seconds(
    module: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, Precision], torch.Tensor],
    precision: Precision,
    device: torch.device,
) -> float:
    """Median time of a step; infinite where the loss or a gradient is no number."""
    import torch

    trial = copy.deepcopy(module)
    trial.to(device, memory_format=precision.layout)  # type: ignore[call-overload]
    trial.train()
    times = []
    for number in range(_WARM_UP + _TIMED):
        begin = time.perf_counter()
        loss = loss_of(trial, precision)
        loss.backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= _WARM_UP:
            times.append(time.perf_counter() - begin)
        gradients = [p.grad for p in trial.parameters() if p.grad is not None]
        if not math.isfinite(loss.item()) or not all(torch.isfinite(g).all() for g in gradients):
            return math.inf
        trial.zero_grad(set_to_none=True)
    return float(np.median(times))
