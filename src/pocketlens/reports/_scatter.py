"""The picture size–accuracy–latency: where each mark, error bar and label goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pocketlens.core.area import Area
from pocketlens.core.comparison import Comparison, Row
from pocketlens.reports import _axis, _labels
from pocketlens.reports._columns import score_title
from pocketlens.reports._format import (
    VERDICTS,
    drop,
    is_rejected,
    megabytes,
    number,
    one_line,
    ordered,
    reference,
    significant,
)
from pocketlens.reports._shapes import reach, shape

#: Marks as large as the largest model; the others in proportion, but never too small to see.
_MOST_AREA, _LEAST_AREA = 900.0, 36.0

#: With more rows than this, only the foremost are named, the others numbered as in the table.
_NAMED = 20


class Size(NamedTuple):
    """A format of the picture, in units that are pixels when it is shown at full width."""

    width: int
    height: int
    font: float
    labels: int


WIDE: Final = Size(920, 470, 13, 28)
NARROW: Final = Size(400, 430, 12.5, 16)


@dataclass(frozen=True)
class Point:
    """One row's mark: shape and kind for its look, its error bar, what a pointer is shown."""

    number: int
    kind: str
    shape: str
    x: float
    y: float
    bar: tuple[float, float] | None
    below: bool
    title: str


@dataclass(frozen=True)
class Picture:
    """Everything the template draws, in pixels."""

    size: Size
    plot: Area
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    y_title: str
    logarithmic: bool
    limit: float | None
    limit_text: str
    points: tuple[Point, ...]
    labels: tuple[_labels.Label, ...]
    sizes: tuple[tuple[str, str], ...]
    title: str
    description: str


def kind(row: Row) -> str:
    """The look of a row: `best`, `ok`, `reference` or `rejected`."""
    return "rejected" if is_rejected(row) else row.verdict


def drawable(rows: Sequence[Row]) -> list[Row]:
    """The rows that have a place in the picture."""
    return [
        row
        for row in rows
        if row.score is not None
        and math.isfinite(row.score)
        and row.latency_ms is not None
        and math.isfinite(row.latency_ms)
        and row.latency_ms > 0
    ]


def scatter(comparison: Comparison, size: Size = WIDE) -> Picture | None:
    """Latency to the right, score upwards, area for size; None if there is nothing to draw."""
    numbers = {id(row): i for i, row in enumerate(ordered(comparison.rows), 1)}
    rows = drawable(ordered(comparison.rows))
    # The first have the first choice of a place for their names.
    rows.sort(key=lambda row: kind(row) not in ("best", "reference"))
    if not rows:
        return None
    base = reference(comparison)
    limit = comparison.limits.get("max_drop")
    line = None
    if base is not None and base in rows and limit is not None:
        assert base.score is not None
        line = base.score - float(limit)
    floor, ceiling = _range(rows, base, float(limit or 0.5), line)
    plot = Area(62 if size is WIDE else 50, 14, size.width - 14, size.height - 52)
    # Marks that lie below stand in a strip of their own, with an arrow.
    sunk = any(row.score < floor for row in rows if row.score is not None)
    ground = plot.bottom - (34 if sunk else 0)
    y_axis = _axis.linear(floor, ceiling, ground, plot.top, most=8)
    x_axis, logarithmic = _latency_axis(rows, plot)
    most = max((row.size_bytes or 0 for row in rows), default=0)
    points, marks, bars = [], [], []
    for row in rows:
        assert row.score is not None
        assert row.latency_ms is not None
        area = _area(row, most)
        below = row.score < floor
        x = x_axis.place(row.latency_ms)
        y = plot.bottom - 20 if below else y_axis.place(row.score)
        ends = _ends(row)
        bar = None
        if ends is not None and not below:
            bar = (y_axis.place(max(ends[0], floor)), y_axis.place(min(ends[1], ceiling)))
            bars.append(Area(x - 3, bar[1], x + 3, bar[0]))
        path = shape(kind(row), x, y, area)
        points.append(Point(numbers[id(row)], kind(row), path, x, y, bar, below, _tell(row)))
        name = one_line(row.name, size.labels)
        suffix = f" ({number(row.score, 1)} %)" if below else ""
        texts: tuple[str, ...] = (name + suffix, f"#{numbers[id(row)]}{suffix}")
        if len(rows) > _NAMED and kind(row) in ("ok", "rejected") and numbers[id(row)] > 4:
            texts = texts[1:]
        marks.append(_labels.Mark(x, y, reach(kind(row), area), texts))
    if line is not None:
        y = y_axis.place(line)
        bars.append(Area(plot.left, y - 1, plot.right, y + 1))
    labels = _labels.place(marks, bars, plot, size.font)
    order = {"rejected": 0, "ok": 1, "reference": 2, "best": 3}
    return Picture(
        size=size,
        plot=plot,
        x_ticks=tuple((x_axis.place(v), text) for v, text in x_axis.ticks),
        y_ticks=tuple((y_axis.place(v), text) for v, text in y_axis.ticks),
        y_title=score_title(rows),
        logarithmic=logarithmic,
        limit=None if line is None else y_axis.place(line),
        limit_text="" if limit is None else f"limit: {float(limit):g} below the float model",
        points=tuple(sorted(points, key=lambda point: order.get(point.kind, 1))),
        labels=tuple(label for label in labels if label is not None),
        sizes=_size_legend(most),
        title=f"{score_title(rows)} against latency in ms, area for size",
        description=_describe(rows),
    )


def _range(
    rows: Sequence[Row], base: Row | None, limit: float, line: float | None
) -> tuple[float, float]:
    """The scores to show. A variant that fell far below must not flatten all others."""
    scores = [row.score for row in rows if row.score is not None]
    top = base.score if base in rows and base is not None else max(scores)
    assert top is not None
    threshold = top - max(10 * limit, 5.0)
    if sum(score < threshold for score in scores) * 2 > len(scores):
        threshold = -math.inf
    shown = [score for score in scores if score >= threshold]
    for row in rows:
        ends = _ends(row)
        if ends is not None and row.score is not None and row.score >= threshold:
            shown += [max(ends[0], threshold), ends[1]]
    shown += [] if line is None else [line]
    low, high = min(shown), max(shown)
    margin = max((high - low) * 0.08, 0.2)
    return low - margin, high + margin


def _ends(row: Row) -> tuple[float, float] | None:
    """The interval of the drop, as scores: the float model's score less either end."""
    values = (row.score, row.drop, row.drop_low, row.drop_high)
    if any(v is None or not math.isfinite(v) for v in values):
        return None
    assert row.score is not None
    assert row.drop is not None
    assert row.drop_low is not None
    assert row.drop_high is not None
    top = row.score + row.drop
    return None if row.drop_low == row.drop_high else (top - row.drop_high, top - row.drop_low)


def _latency_axis(rows: Sequence[Row], plot: Area) -> tuple[_axis.Axis, bool]:
    times = [row.latency_ms for row in rows if row.latency_ms is not None]
    low, high = min(times), max(times)
    if high / low > 8:
        return _axis.logarithmic(low / 1.4, high * 1.4, plot.left, plot.right), True
    most = 7 if plot.right > 600 else 5
    return _axis.linear(0, high * 1.12, plot.left, plot.right, most=most), False


def _area(row: Row, most: float) -> float:
    if not row.size_bytes or not most:
        return _LEAST_AREA
    return max(_LEAST_AREA, _MOST_AREA * row.size_bytes / most)


def _size_legend(most: float) -> tuple[tuple[str, str], ...]:
    """Two discs with what they stand for, each drawn in a box 36 wide."""
    if not most:
        return ()
    return tuple(
        (shape("ok", 18, 18, _MOST_AREA * share), megabytes(most * share)) for share in (0.25, 1)
    )


def _tell(row: Row) -> str:
    return (
        f"{one_line(row.name, 80)}: {VERDICTS[row.verdict]}, score {number(row.score)} %, "
        f"drop {drop(row)}, {significant(row.latency_ms, noisy=row.noisy)} ms, "
        f"{megabytes(row.size_bytes)}"
    )


def _describe(rows: Sequence[Row]) -> str:
    told = ". ".join(_tell(row) for row in rows[:12])
    rest = len(rows) - 12
    return told + (f". And {rest} more; the table has them all." if rest > 0 else ".")
