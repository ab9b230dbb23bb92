"""Axes: ticks at round figures, on a straight or a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels, and its ticks as pairs of value and text."""

    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]


def linear(low: float, high: float, start: float, end: float, *, most: int = 7) -> Axis:
    """A straight scale over [low, high], drawn from pixel `start` to `end`."""
    if high <= low:
        low, high = low - 1, high + 1
    step = _round_step((high - low) / most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1))
    return Axis(lambda v: start + (v - low) / (high - low) * (end - start), ticks)


def logarithmic(low: float, high: float, start: float, end: float) -> Axis:
    """A logarithmic scale over [low, high], both above zero."""
    a, b = math.log10(low), math.log10(high)
    decades = range(math.floor(a), math.ceil(b) + 1)
    factors = (1, 2, 5) if b - a < 3 else (1,)
    values = [factor * 10.0**decade for decade in decades for factor in factors]
    ticks = tuple((v, f"{v:,.10g}") for v in values if low <= v <= high)
    if not ticks:  # all values lie between two round ones
        middle = math.sqrt(low * high)
        ticks = ((middle, f"{middle:,.3g}"),)
    return Axis(lambda v: start + (math.log10(v) - a) / (b - a) * (end - start), ticks)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= least * (1 - 1e-9))
