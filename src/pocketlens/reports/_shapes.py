"""Marks whose area says something: a shape each, so that no colour has to be told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence


def shape(kind: str, x: float, y: float, area: float) -> str:
    """A mark of this area as an SVG path: star, disc, square or diamond."""
    if kind == "best":
        # A star of 10 corners with the inner radius 0.55 of the outer has this area.
        outer = math.sqrt(area / (5 * 0.55 * math.sin(math.pi / 5)))
        corners = [
            (outer * (0.55 if i % 2 else 1), math.pi * i / 5 - math.pi / 2) for i in range(10)
        ]
        return _polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in corners])
    if kind == "reference":
        half = math.sqrt(area) / 2
        return _polygon(
            [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
        )
    if kind == "rejected":
        half = math.sqrt(area / 2)
        return _polygon([(x, y - half), (x + half, y), (x, y + half), (x - half, y)])
    # Exactly twice the radius, or two arcs would not make a circle.
    r = round(math.sqrt(area / math.pi), 1)
    return (
        f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0"
        f"a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0Z"
    )


def reach(kind: str, area: float) -> float:
    """How far a mark of this area reaches from its centre."""
    if kind == "best":
        return math.sqrt(area / (5 * 0.55 * math.sin(math.pi / 5)))
    return math.sqrt(area / {"reference": 2, "rejected": 2}.get(kind, math.pi))


def _polygon(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"
