"""Places for labels in a picture, so that none covers another or a mark."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pocketlens.core.area import Area


class Mark(NamedTuple):
    """What a label belongs to: its centre, its radius, and texts from the best to the shortest."""

    x: float
    y: float
    radius: float
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """A text with its left end and baseline, and a line to its mark where it stands apart."""

    text: str
    x: float
    y: float
    leader: tuple[float, float, float, float] | None = None


#: Degrees, the best first: right, left, above, below, then between.
_ANGLES = (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)
_GAPS = (5, 14, 26, 42, 60)


def text_width(text: str, size: float) -> float:
    """About how wide a text will be: nobody knows the reader's font."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return size * (0.6 * (len(text) - wide) + 1.05 * wide)


def place(
    marks: Sequence[Mark], obstacles: Sequence[Area], frame: Area, size: float
) -> list[Label | None]:
    """A label for each mark, the first ones first; None where even the shortest has no room."""
    taken = list(obstacles)
    for mark in marks:
        r = mark.radius
        taken.append(Area(mark.x - r, mark.y - r, mark.x + r, mark.y + r))
    labels: list[Label | None] = []
    for mark in marks:
        found = None
        for text in mark.texts:
            found = _free(mark, text, taken, frame, size)
            if found is not None:
                break
        labels.append(None if found is None else found[0])
        if found is not None:
            taken.append(found[1])
    return labels


def _free(
    mark: Mark, text: str, taken: Sequence[Area], frame: Area, size: float
) -> tuple[Label, Area] | None:
    width = text_width(text, size)
    for gap in _GAPS:
        for angle in _ANGLES:
            cos, sin = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
            reach = mark.radius + gap
            x, y = mark.x + reach * cos, mark.y + reach * sin
            # The text's nearest side, or the middle of its top or bottom, touches (x, y).
            left = x if cos > 0.1 else (x - width if cos < -0.1 else x - width / 2)
            middle = y + (0 if abs(sin) < 0.1 else math.copysign(size * 0.5, sin))
            area = Area(left - 2, middle - size * 0.6, left + width + 2, middle + size * 0.6)
            if area.leaves(frame) or any(area.shared(other) > 0 for other in taken):
                continue
            edge = (mark.x + mark.radius * cos, mark.y + mark.radius * sin)
            leader = (*edge, x - 1.5 * cos, y - 1.5 * sin) if gap > _GAPS[1] else None
            return Label(text, left, middle + size * 0.35, leader), area
    return None
