"""A rectangle on a picture."""

from __future__ import annotations

from typing import NamedTuple


class Area(NamedTuple):
    """A rectangle in pixels; right and bottom are outside."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Area) -> float:
        """Pixels that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def leaves(self, frame: Area) -> bool:
        """Whether a part lies outside the frame."""
        return (
            self.left < frame.left
            or self.top < frame.top
            or self.right > frame.right
            or self.bottom > frame.bottom
        )
