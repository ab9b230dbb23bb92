"""Number format, memory layout and compilation of the steps, chosen by timing a few real ones.

Which is fastest depends on the processor: bfloat16 halves the time of a step on one and doubles it
on another. So `auto` measures; what it chose is kept with the run, and resuming changes nothing.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocketlens.core.errors import UserError
from pocketlens.progress import say

if TYPE_CHECKING:
    import torch

_WARM_UP: Final = 1
_TIMED: Final = 3
#: Another way must be this many times as fast as the plain one, or noise would choose.
_WORTH: Final = 1.1
#: Compiling takes minutes, so it is tried only where the steps would take longer than this.
_LONG_S: Final = 3600.0


@dataclass(frozen=True)
class Precision:
    """How a step computes.

    Attributes:
        dtype: `float32`, or `bfloat16` or `float16` (autocast; weights stay float32).
        channels_last: memory layout of images and convolutions.
        compiled: whether torch.compile makes one program of the network.
    """

    dtype: str = "float32"
    channels_last: bool = True
    compiled: bool = False

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

    def scaler(
        self, device: torch.device, state: dict[str, Any] | None = None
    ) -> torch.amp.GradScaler:
        """Keeps float16's gradients from vanishing; does nothing for other formats.

        Args:
            state: of an earlier one, to go on from.
        """
        import torch

        scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == "float16")
        if state:
            scaler.load_state_dict(state)
        return scaler

    def ready(self, module: torch.nn.Module) -> torch.nn.Module:
        """What to call for forward passes of a module."""
        import torch

        if not self.compiled:
            return module
        compiled: torch.nn.Module = torch.compile(module, dynamic=False)  # type: ignore[assignment]
        return compiled

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "channels first"
        return f"{self.dtype}, {layout}{', compiled' if self.compiled else ''}"


#: What is tried; the plain one first.
CANDIDATES: Final = (Precision(), Precision(channels_last=False), Precision("bfloat16"))
#: On graphics cards too.
ON_CUDA: Final = (Precision("float16"),)


def refuse(precision: str, device: torch.device) -> None:
    """Formats that train nothing here.

    Raises:
        UserError: float16 without a graphics card.
    """
    if precision == "float16" and device.type != "cuda":
        raise UserError("--precision float16 needs a CUDA graphics card; use bfloat16 or auto")


def choose(
    module: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, Precision], torch.Tensor],
    device: torch.device,
    num_steps: int = 0,
) -> Precision:
    """The fastest that trains: a few forward and backward passes of a copy of the network.

    Args:
        loss_of: the loss of a network on a real batch.
        num_steps: of the whole run, which says whether compiling can pay.
    """
    plain, *others = CANDIDATES + (ON_CUDA if device.type == "cuda" else ())
    usual = _seconds(module, loss_of, plain, device)
    best, fastest = plain, usual
    for candidate in others:
        seconds = _seconds(module, loss_of, candidate, device)
        if seconds * _WORTH < usual and seconds < fastest:
            best, fastest = candidate, seconds
    if fastest * num_steps > _LONG_S:
        compiled = replace(best, compiled=True)
        began = time.perf_counter()
        seconds = _seconds(module, loss_of, compiled, device)
        cost = time.perf_counter() - began
        if seconds * _WORTH < fastest and cost < (fastest - seconds) * num_steps:
            best, fastest = compiled, seconds
    say(f"steps in {best}: {usual / fastest:.2f} times as fast as in {plain}")
    return best


def _seconds(
    module: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, Precision], torch.Tensor],
    precision: Precision,
    device: torch.device,
) -> float:
    """Median time of a step; infinite where it fails, or a loss or gradient is no number."""
    import torch

    trial = copy.deepcopy(module)
    trial.to(device, memory_format=precision.layout)  # type: ignore[call-overload]
    trial.train()
    ready = precision.ready(trial)
    times = []
    for number in range(_WARM_UP + _TIMED):
        begin = time.perf_counter()
        try:
            loss = loss_of(ready, precision)
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError:
            if precision == CANDIDATES[0]:  # what nothing else could replace
                raise
            return math.inf
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= _WARM_UP:
            times.append(time.perf_counter() - begin)
        gradients = [p.grad for p in trial.parameters() if p.grad is not None]
        if not math.isfinite(loss.item()) or not all(torch.isfinite(g).all() for g in gradients):
            return math.inf
        trial.zero_grad(set_to_none=True)
    return float(np.median(times))
