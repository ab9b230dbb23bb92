"""Contact sheets: the most telling rows of a run, a picture and two lines each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from pocketlens.core.judged import Judged
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import (
    COLOURS,
    INK,
    SOFT,
    Colour,
    Line,
    panel,
    sign,
    words,
    wrapped,
)

#: Of one picture, in pixels.
SIDE: Final = 176
COLUMNS: Final = 6
PER_PAGE: Final = 36
_LETTERS: Final = 13
_GAP: Final = 10
_LINE: Final = 18
#: Lines below a picture: answer, truth and file name, and one more where a truth is long.
_LINES: Final = 3


def contact_sheet(
    title: str,
    rows: Sequence[tuple[Judged, Image.Image | None]],
    fonts: Fonts,
    shown: dict[str, str] | None = None,
) -> Image.Image:
    """A page of up to `PER_PAGE` rows with their small pictures; None for one that can't be read.

    Args:
        shown: class -> what it is called.
    """
    assert 0 < len(rows) <= PER_PAGE
    columns = min(COLUMNS, len(rows))
    wide = max(columns, 3) * (SIDE + _GAP) + _GAP
    captions = [_caption(row, fonts, shown) for row, _ in rows]
    below = max(_LINES, *map(len, captions)) * _LINE + 3
    high = -(-len(rows) // columns) * (SIDE + below + _GAP) + 44
    page = panel(Image.new("RGB", (wide, 1), (245, 246, 248)), high)
    draw = ImageDraw.Draw(page)
    Line(fonts, title, 18, wide - 2 * _GAP).draw(draw, _GAP, 24, INK)
    for i, ((row, image), caption) in enumerate(zip(rows, captions, strict=True)):
        x = _GAP + (i % columns) * (SIDE + _GAP)
        y = 44 + (i // columns) * (SIDE + below + _GAP)
        draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), (225, 228, 233))
        if image is not None:
            times = SIDE // max(image.size)
            if times > 1:  # of 32 pixels nothing could be seen
                image = image.resize(
                    (image.width * times, image.height * times), Image.Resampling.NEAREST
                )
            page.paste(image, (x + (SIDE - image.width) // 2, y + (SIDE - image.height) // 2))
        square = 18
        draw.rectangle((x, y, x + square, y + square), COLOURS[row.state], (255, 255, 255))
        sign(draw, x + 2, y + 2, square - 4, row.state)
        for j, (line, colour) in enumerate(caption):
            line.draw(draw, x, y + SIDE + 11 + _LINE * j, colour)
    return page


def _caption(row: Judged, fonts: Fonts, shown: dict[str, str] | None) -> list[tuple[Line, Colour]]:
    """Lines below a picture; the truth is what a mistake is looked at for, so it gets two."""
    first, second = words(row, shown)
    truth = wrapped(fonts, second, _LETTERS, SIDE) if second else []
    name = Line(fonts, os.path.basename(row.prediction.filename), _LETTERS, SIDE)
    answer = Line(fonts, first, _LETTERS, SIDE)
    return [(answer, INK), *((line, INK) for line in truth), (name, SOFT)]
