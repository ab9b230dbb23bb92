"""A photo with what the network said of it: boxes, answers and, where it is known, the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from pocketlens.core.area import Area
from pocketlens.core.dataset import Box
from pocketlens.core.judged import Judged
from pocketlens.explain._plates import place
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import (
    COLOURS,
    INK,
    SOFT,
    WHITE,
    Line,
    outline,
    panel,
    sign,
    words,
)

#: Longer side in pixels: larger photos are made smaller, those too small for text are enlarged.
MAX_SIDE: Final = 1600
MIN_SIDE: Final = 480
#: Boxes that get a label on the photo; more are numbered, and told below it.
_MOST_PLATES: Final = 24
_MOST_LINES: Final = 200
#: Letters that a line needs at least; a narrower photo gets its answers below it.
_NARROW: Final = 20


def draw_overlay(
    image: Image.Image,
    rows: Sequence[Judged],
    fonts: Fonts,
    shown: dict[str, str] | None = None,
    *,
    left_out: int = 0,
) -> Image.Image:
    """Draw all rows of one photo on it.

    A row with a box gets a frame and a label beside it; where labels would cover each other, the
    boxes have numbers, and the answers stand below the photo. What is said of the whole photo
    stands below it, so that nothing of it is hidden.

    Args:
        image: the whole upright RGB photo.
        shown: class -> what it is called.
        left_out: further rows, of which only the number is told.
    """
    scale = min(1.0, MAX_SIDE / max(image.size))
    if max(image.size) < MIN_SIDE:
        scale = MIN_SIDE / max(image.size)
    if scale != 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        smooth = Image.Resampling.NEAREST if scale >= 4 else Image.Resampling.LANCZOS
        image = image.resize(size, smooth, reducing_gap=2.0 if scale < 1 else None)
    letters = max(14, round(max(image.size) / 64))
    boxed = [row for row in rows if row.prediction.box is not None]
    whole = [row for row in rows if row.prediction.box is None]
    numbered = _draw_boxes(image, boxed, scale, letters, fonts, shown)
    lines = [(row, f"{number}  ") for number, row in numbered] + [(row, "") for row in whole]
    return _tell_below(image, lines, letters, fonts, shown, left_out)


def _draw_boxes(
    image: Image.Image,
    rows: Sequence[Judged],
    scale: float,
    letters: int,
    fonts: Fonts,
    shown: dict[str, str] | None,
) -> list[tuple[int, Judged]]:
    """Frames and labels; returns the rows that are only numbered."""
    draw = ImageDraw.Draw(image)
    areas = [_area(row.prediction.box, scale, image.size) for row in rows]
    width = max(2, letters // 7)
    for row, area in zip(rows, areas, strict=True):
        if area is not None:
            outline(draw, area, row.state, width)
    visible = [area for area in areas if area is not None]
    plates = _plates(image, rows, areas, visible, letters, fonts, shown)
    if plates is not None:
        for row, (plate, lines) in zip(rows, plates, strict=True):
            _draw_plate(draw, plate, lines, row, letters)
        # A box that lies outside of the photo has no place on it.
        return [(i, row) for i, row in enumerate(rows, 1) if areas[i - 1] is None]
    taken: list[Area] = []
    for number, (row, area) in enumerate(zip(rows, areas, strict=True), 1):
        if area is None:
            continue
        line = Line(fonts, str(number), letters)
        size = (line.width + letters, 1.3 * letters)
        found = place(size, area, taken, (), image.size) or Area(
            area.left, area.top, area.left + size[0], area.top + size[1]
        )
        taken.append(found)
        draw.rectangle(tuple(found), COLOURS[row.state], WHITE)
        line.draw(draw, found.left + letters / 2, (found.top + found.bottom) / 2, WHITE)
    return list(enumerate(rows, 1))


def _plates(
    image: Image.Image,
    rows: Sequence[Judged],
    areas: Sequence[Area | None],
    visible: Sequence[Area],
    letters: int,
    fonts: Fonts,
    shown: dict[str, str] | None,
) -> list[tuple[Area, list[Line]]] | None:
    """A label for each box, or None where they would cover each other."""
    if len(rows) > _MOST_PLATES or image.width < _NARROW * letters:
        return None
    found: list[tuple[Area, list[Line]]] = []
    grown = [_grown(area, letters // 7 + 2) for area in visible]
    for row, area in zip(rows, areas, strict=True):
        texts = [text for text in words(row, shown) if text]
        lines = [Line(fonts, text, letters, 0.45 * image.width) for text in texts]
        size = (max(line.width for line in lines) + 2.2 * letters, 1.35 * letters * len(lines))
        if area is None:
            found.append((Area(0, 0, 0, 0), []))
            continue
        around = _grown(area, letters // 7 + 2)
        others = [other for other in grown if other != around]
        where = place(size, around, [taken for taken, _ in found], others, image.size)
        if where is None:
            return None
        found.append((where, lines))
    return found


def _draw_plate(
    draw: ImageDraw.ImageDraw, plate: Area, lines: Sequence[Line], row: Judged, letters: int
) -> None:
    if not lines:
        return
    draw.rectangle(tuple(plate), COLOURS[row.state], WHITE)
    side = 1.0 * letters
    sign(draw, plate.left + 0.35 * letters, plate.top + 0.17 * letters, side, row.state)
    for i, line in enumerate(lines):
        middle = plate.top + (i + 0.5) * 1.35 * letters
        line.draw(draw, plate.left + 1.7 * letters, middle, WHITE)


def _tell_below(
    image: Image.Image,
    lines: Sequence[tuple[Judged, str]],
    letters: int,
    fonts: Fonts,
    shown: dict[str, str] | None,
    left_out: int,
) -> Image.Image:
    """Answers below the photo, in as many columns as it is wide enough for."""
    if not lines and not left_out:
        return image
    rest = max(0, len(lines) - _MOST_LINES) + left_out
    lines = lines[:_MOST_LINES]
    wide = max(image.width, _NARROW * letters)
    columns = max(1, min(len(lines), wide // (26 * letters)))
    column = wide / columns
    high = 1.5 * letters
    cells = []
    for row, before in lines:
        first, second = words(row, shown)
        room = column - 3.2 * letters
        cells.append(
            (row, Line(fonts, before + first, letters, room), Line(fonts, second, letters, room))
        )
    num_rows = math.ceil(len(cells) / columns)
    heights = [
        max(high * (2 if cell[2].text else 1) for cell in cells[i * columns : (i + 1) * columns])
        for i in range(num_rows)
    ]
    below = round(sum(heights) + 0.8 * letters + (high if rest else 0))
    canvas = panel(image, below, wide)
    draw = ImageDraw.Draw(canvas)
    y = image.height + 0.4 * letters
    for i, height in enumerate(heights):
        for j, (row, first_line, second_line) in enumerate(cells[i * columns : (i + 1) * columns]):
            x = j * column + 0.5 * letters
            square = 1.15 * letters
            top = y + (high - square) / 2
            draw.rectangle((x, top, x + square, top + square), COLOURS[row.state])
            sign(draw, x + 0.1 * square, top + 0.1 * square, 0.8 * square, row.state)
            first_line.draw(draw, x + 1.7 * letters, y + high / 2, INK)
            if second_line.text:
                second_line.draw(draw, x + 1.7 * letters, y + 1.5 * high, SOFT)
        y += height
    if rest:
        Line(fonts, f"and {rest} more", letters).draw(draw, 0.5 * letters, y + high / 2, SOFT)
    return canvas


def _area(box: Box | None, scale: float, size: tuple[int, int]) -> Area | None:
    """A box in the picture's pixels, cut to it; None where nothing of it is inside."""
    assert box is not None
    if not all(map(math.isfinite, box)) or box.width <= 0 or box.height <= 0:
        return None
    left, top = max(0.0, box.x * scale), max(0.0, box.y * scale)
    right = min(size[0] - 1.0, (box.x + box.width) * scale)
    bottom = min(size[1] - 1.0, (box.y + box.height) * scale)
    return Area(left, top, right, bottom) if left < right and top < bottom else None


def _grown(area: Area, by: float) -> Area:
    return Area(area.left - by, area.top - by, area.right + by, area.bottom + by)
