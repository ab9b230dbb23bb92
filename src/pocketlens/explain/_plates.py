"""Where the labels of boxes go: beside their box, inside the picture, not over each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pocketlens.core.area import Area


def place(
    size: tuple[float, float],
    box: Area,
    taken: Sequence[Area],
    boxes: Sequence[Area],
    picture: tuple[int, int],
) -> Area | None:
    """A place for a label of this width and height at its box.

    Args:
        taken: labels that were placed already; none is covered.
        boxes: of all; what they show is covered as little as possible.
        picture: width and height; no label leaves it.

    Returns:
        None where every place beside or in the box would cover another label.
    """
    best, least = None, float("inf")
    for rank, area in enumerate(_places(size, box)):
        moved = _inside(area, picture)
        if any(moved.shared(other) > 0 for other in taken):
            continue
        # A label that had to move far from where it was wanted may be read as another box's.
        apart = abs(moved.left - area.left) + abs(moved.top - area.top)
        hidden = sum(moved.shared(other) for other in boxes) / max(1.0, size[0] * size[1])
        cost = hidden + 0.02 * rank + apart / max(1.0, sum(size))
        if cost < least:
            best, least = moved, cost
    return best


def _places(size: tuple[float, float], box: Area) -> Iterator[Area]:
    width, height = size
    for left, top in (
        (box.left, box.top - height),  # above
        (box.left, box.bottom),  # below
        (box.right - width, box.top - height),
        (box.right - width, box.bottom),
        (box.right, box.top),  # beside
        (box.left - width, box.top),
        (box.right, box.bottom - height),
        (box.left - width, box.bottom - height),
        (box.left, box.top),  # inside
        (box.left, box.bottom - height),
        (box.right - width, box.top),
    ):
        yield Area(left, top, left + width, top + height)


def _inside(area: Area, picture: tuple[int, int]) -> Area:
    width, height = area.right - area.left, area.bottom - area.top
    left = max(0.0, min(area.left, picture[0] - width))
    top = max(0.0, min(area.top, picture[1] - height))
    return Area(left, top, left + width, top + height)
