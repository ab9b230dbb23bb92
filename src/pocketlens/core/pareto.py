"""The Pareto front: variants that no other one beats in score, size and latency at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pocketlens.core.comparison import Row
from pocketlens.core.gate import UNJUDGED


def figures(row: Row) -> tuple[float, float, float] | None:
    """Minus the score, bytes and milliseconds: less is better.

    None where one is missing, or the row loses more than is allowed: it is no choice.
    """
    values = (row.score, row.size_bytes, row.latency_ms)
    missing = any(v is None or not math.isfinite(v) for v in values)
    if missing or row.verdict in (*UNJUDGED, "less_accurate"):
        return None
    score, size, latency = values
    assert score is not None
    assert size is not None
    assert latency is not None
    return -score, float(size), latency


def beaten_by(row: Row, rows: Sequence[Row]) -> Row | None:
    """Of the rows that are as good in all three and better in one, the one with the best score."""
    own = figures(row)
    if own is None:
        return None
    better = [
        other
        for other in rows
        if (found := figures(other)) is not None
        and found != own
        and all(a <= b for a, b in zip(found, own, strict=True))
    ]
    return max(better, key=lambda other: (other.score or 0.0, other.name), default=None)


def front(rows: Sequence[Row]) -> list[Row]:
    """Rows that none beats, the fastest first."""
    kept = [row for row in rows if figures(row) is not None and beaten_by(row, rows) is None]
    return sorted(kept, key=lambda row: (row.latency_ms or 0.0, row.name))
