"""The Pareto front as a picture: score against latency and against size, as an SVG file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from xml.sax.saxutils import escape

from pocketlens.core.comparison import Comparison, Row
from pocketlens.core.pareto import figures, front
from pocketlens.reports import _axis
from pocketlens.reports import _format as f
from pocketlens.reports._headline import headline

EXTRA = ""

_WIDTH, _HEIGHT = 980, 445
_LEFT, _TOP, _BOTTOM, _GAP = 60, 40, 95, 70
_PANEL: Final = (_WIDTH - _LEFT - _GAP - 20) // 2
#: Scores further below the best than this share of all are drawn at the panel's lower edge.
_SHOWN: Final = 12.0

_BEST, _FRONT, _BEATEN, _REJECTED = "#0063a6", "#2a6f4e", "#777", "#b23b3b"
_COLOURS: Final = {
    _BEST: "best",
    _FRONT: "none beats it",
    _BEATEN: "another one beats it",
    _REJECTED: "rejected",
}


@dataclass(frozen=True)
class Config:
    """No options."""


def render(comparison: Comparison, config: Config | None = None) -> str:
    """The text of an SVG file: two panels, the front's variants joined by a line and named."""
    rows = [row for row in comparison.rows if figures(replace(row, verdict="ok")) is not None]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f"<desc>{escape(f.one_line(headline(comparison).sentence))}</desc>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    if rows:
        best = front(rows)
        for panel, (title, of) in enumerate(
            (
                ("time of one photo, ms", lambda row: row.latency_ms or 0.0),
                ("size, MB", lambda row: (row.size_bytes or 0) / 1e6),
            )
        ):
            parts += _panel(_LEFT + panel * (_PANEL + _GAP), title, of, rows, best)
        parts += _legend(rows, best)
    else:
        parts.append(f'<text x="{_LEFT}" y="{_TOP}">nothing could be measured</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    left: int, title: str, of: Callable[[Row], float], rows: list[Row], best: list[Row]
) -> list[str]:
    scores = [row.score or 0.0 for row in rows]
    high = max(scores)
    low = max(min(scores), high - _SHOWN)
    margin = max(0.1 * (high - low), 0.5)
    bottom = _HEIGHT - _BOTTOM
    y = _axis.linear(low - margin, high + margin, bottom, _TOP)
    values = [of(row) for row in rows]
    x = _axis.logarithmic(0.8 * min(values), 1.25 * max(values), left, left + _PANEL)
    parts = []
    for value, text in y.ticks:
        at = round(y.place(value), 1)
        parts.append(f'<path d="M{left} {at}h{_PANEL}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{at + 4}" text-anchor="end">{text}</text>')
    for value, text in x.ticks:
        at = round(x.place(value), 1)
        parts.append(f'<path d="M{at} {_TOP}V{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<text x="{left}" y="{bottom + 44}">{title} (logarithmic)</text>')
    parts.append(f'<text x="{left}" y="{_TOP - 16}">{f.metric(rows[0].metric)}, %</text>')

    def place(row: Row) -> tuple[float, float]:
        return round(x.place(of(row)), 1), round(y.place(max(row.score or 0.0, low)), 1)

    # Of the front over all three, what is best in this panel's two.
    line, top = "", -float("inf")
    for row in sorted(best, key=lambda row: (of(row), -(row.score or 0.0))):
        if (row.score or 0.0) > top:
            top = row.score or 0.0
            a, b = place(row)
            line += f"{a},{b} "
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2a6f4e" stroke-width="1.5"/>')
    taken: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: row in best):
        a, b = place(row)
        sunk = ", below the picture" if (row.score or 0.0) < low else ""
        if sunk:
            parts.append(f'<path d="M{a} {b + 9}v10m-4 -5l4 5l4 -5" fill="none" stroke="#555"/>')
        name = f.one_line(row.name, 60)
        told = escape(f"{name}: {f.number(row.score)} %, {of(row):.3g} {title}{sunk}")
        radius = 8 if row.verdict == "best" else 5
        parts.append(
            f'<circle cx="{a}" cy="{b}" r="{radius}" fill="{_colour(row, best)}">'
            f"<title>{told}</title></circle>"
        )
        if row in best or row.verdict == "best":
            below = any(abs(a - other) < 110 and abs(b - 9 - at) < 14 for other, at in taken)
            at = b + 18 if below else b - 9
            taken.append((a, at))
            anchor = "end" if a > left + 0.6 * _PANEL else "start"
            parts.append(f'<text x="{a}" y="{at}" text-anchor="{anchor}">{escape(name)}</text>')
    return parts


def _colour(row: Row, best: list[Row]) -> str:
    if f.is_rejected(row):
        return _REJECTED
    if row.verdict == "best":
        return _BEST
    return _FRONT if row in best else _BEATEN


def _legend(rows: list[Row], best: list[Row]) -> list[str]:
    """What the colours say, and the arrow where there is one; nothing that isn't drawn."""
    used = {_colour(row, best) for row in rows}
    found = [(colour, text) for colour, text in _COLOURS.items() if colour in used]
    parts, at = [], _LEFT + 6
    for colour, text in found:
        parts.append(f'<circle cx="{at}" cy="{_HEIGHT - 8}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{at + 10}" y="{_HEIGHT - 4}">{text}</text>')
        at += 34 + 6 * len(text)
    scores = [row.score or 0.0 for row in rows]
    if min(scores) < max(scores) - _SHOWN:
        parts.append(f'<text x="{at}" y="{_HEIGHT - 4}">↓ score below the picture</text>')
    return parts
