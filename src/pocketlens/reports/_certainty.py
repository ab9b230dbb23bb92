"""How sure a network was: rows by probability, stacked by what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pocketlens.core.judged import State
from pocketlens.core.tally import NUM_BINS, Tally
from pocketlens.reports import _format
from pocketlens.reports._axis import linear

#: From the bottom of a bar to its top.
STATES: Final[tuple[State, ...]] = ("right", "sure", "wrong", "unsure")


@dataclass(frozen=True)
class Size:
    """Of a picture, in pixels of its own."""

    width: int
    height: int


WIDE: Final = Size(920, 300)
NARROW: Final = Size(420, 300)
_LEFT, _BOTTOM, _TOP, _RIGHT = 58, 44, 14, 10


@dataclass(frozen=True)
class Part:
    """A piece of a bar: rows of one state in one range of probability."""

    state: State
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """A picture of the certainty of all rows; positions are in its own pixels."""

    size: Size
    parts: tuple[Part, ...]
    levels: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    limit: float | None
    left: float
    right: float
    bottom: float
    description: str


def histogram(tally: Tally, size: Size, unsure_below: float | None) -> Histogram | None:
    """The picture, or None where there is no answer."""
    totals = [sum(bins[i] for bins in tally.bins.values()) for i in range(NUM_BINS)]
    if not any(totals):
        return None
    right, bottom = size.width - _RIGHT, size.height - _BOTTOM
    across = linear(0, 1, _LEFT, right)
    up = linear(0, max(totals), bottom, _TOP, most=5)
    parts = []
    step = (right - _LEFT) / NUM_BINS
    for i in range(NUM_BINS):
        below = 0
        for state in STATES:
            number = tally.bins.get(state, [0] * NUM_BINS)[i]
            if not number:
                continue
            top, foot = up.place(below + number), up.place(below)
            place = f"{100 * i // NUM_BINS} to {100 * (i + 1) // NUM_BINS} %"
            parts.append(
                Part(
                    state,
                    round(_LEFT + i * step + 1, 1),
                    round(top, 1),
                    round(step - 2, 1),
                    round(max(0.5, foot - top), 1),
                    f"{place}: {_format.number(number, 0)} {state}",
                )
            )
            below += number
    return Histogram(
        size,
        tuple(parts),
        tuple((round(up.place(v), 1), text) for v, text in up.ticks if v == int(v)),
        tuple((round(across.place(v / 10), 1), f"{10 * v} %") for v in range(0, 11, 2)),
        None if not unsure_below else round(across.place(unsure_below), 1),
        _LEFT,
        right,
        bottom,
        _words(tally, totals),
    )


def _words(tally: Tally, totals: list[int]) -> str:
    number = sum(totals)
    high = sum(totals[int(0.9 * NUM_BINS) :])
    text = (
        f"{_format.number(100 * high / number, 0)} % of {number:,} answers have a probability of "
        "90 % or more."
    )
    if tally.number("wrong"):
        wrong = sum(tally.bins.get("wrong", [0] * NUM_BINS)[int(0.9 * NUM_BINS) :])
        text += f" {wrong:,} of these are wrong."
    return text
