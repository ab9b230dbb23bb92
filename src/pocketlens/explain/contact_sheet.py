"""Contact sheets: the most telling rows of a run, a picture and two lines each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from pocketlens.core.judged import Judged
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import COLOURS, INK, SOFT, Line, panel, sign, words

#: Of one picture, in pixels.
SIDE: Final = 176
COLUMNS: Final = 6
PER_PAGE: Final = 36
_LETTERS: Final = 13
_GAP: Final = 10
_CAPTION: Final = 3 * 19


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
    high = -(-len(rows) // columns) * (SIDE + _CAPTION + _GAP) + 44
    page = panel(Image.new("RGB", (wide, 1), (245, 246, 248)), high)
    draw = ImageDraw.Draw(page)
    Line(fonts, title, 18, wide - 2 * _GAP).draw(draw, _GAP, 24, INK)
    for i, (row, image) in enumerate(rows):
        x = _GAP + (i % columns) * (SIDE + _GAP)
        y = 44 + (i // columns) * (SIDE + _CAPTION + _GAP)
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
        first, second = words(row, shown)
        name = os.path.basename(row.prediction.filename)
        texts = [(first, INK), *([(second, INK)] if second else []), (name, SOFT)]
        for j, (text, colour) in enumerate(texts):
            line = Line(fonts, text, _LETTERS, SIDE)
            line.draw(draw, x, y + SIDE + 11 + 18 * j, colour)
    return page
