"""The section with every score of every model, and what was lost of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pocketlens.core.comparison import Comparison, Row
from pocketlens.reports._format import ordered

#: In this order; what a task hasn't got is left out.
_NAMES = (
    "map", "accuracy", "macro_f1", "macro_precision", "macro_recall", "micro_f1",
    "micro_precision", "micro_recall",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One score in percent, and what was lost of it, in points, with its 95 % interval."""

    score: float
    drop: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """Names of the scores, and a line a model that was scored."""

    names: tuple[str, ...]
    lines: tuple[tuple[Row, tuple[Cell, ...]], ...]


def scores(comparison: Comparison) -> Scores:
    """Every score that has an interval, in the order of the table."""
    rows = [row for row in ordered(comparison.rows) if row.intervals]
    names = tuple(name for name in _NAMES if any(name in row.intervals for row in rows))
    return Scores(names, tuple((row, tuple(_cell(row, name) for name in names)) for row in rows))


def _cell(row: Row, name: str) -> Cell:
    found = row.intervals.get(name, {})
    drop, low, high = (found.get(key, math.nan) for key in ("drop", "drop_low", "drop_high"))
    return Cell(row.metrics.get(name, math.nan), drop, low, high)
