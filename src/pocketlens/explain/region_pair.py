"""The whole photo and its region side by side, each with what the network said of it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from pocketlens.core.judged import Judged
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import COLOURS, GROUND, INK, SOFT, WHITE, Line, sign, words

#: Longer side of each of the two photos in pixels, and the least width of a text.
SIDE: Final = 640
_NARROW: Final = 260
_DIM: Final = 0.3


def draw_pair(
    image: Image.Image,
    row: Judged,
    fonts: Fonts,
    shown: dict[str, str] | None = None,
    side: int = SIDE,
) -> Image.Image:
    """Left the whole photo, right the same with all but the region darkened.

    Args:
        image: the whole upright RGB photo.
        row: with both answers; where no region was found, the reason stands below the right one.
        shown: class -> what it is called.
        side: longer side of each photo in pixels.
    """
    assert row.regional is not None
    plain = row.regional.plain
    ratio = side / max(image.size)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    smooth = Image.Resampling.NEAREST if ratio >= 4 else Image.Resampling.LANCZOS
    photo = image.resize(size, smooth, reducing_gap=2.0 if ratio < 1 else None)
    region = row.regional.region
    if region is None:
        lit = _darkened(photo)
        about = "no region"
    else:
        lit = _lit(photo, region.shown_HW)
        detail = f", {region.detail}" if region.detail else ""
        about = f"region, {_percent(region.share)} of the photo{detail}"
    letters = max(13, side // 36)
    high, gap = round(1.45 * letters), round(0.8 * letters)
    column = max(photo.width, min(_NARROW, side))
    texts = [("whole photo", plain), (about, row)]
    # A truth that is told twice tells nothing twice: it stands where an answer isn't it.
    second = any(words(found, shown)[1] for _, found in texts)
    below = gap + high * (3 if second else 2) + gap
    canvas = Image.new("RGB", (2 * column + 3 * gap, photo.height + gap + below), GROUND)
    draw = ImageDraw.Draw(canvas)
    for i, ((title, found), picture) in enumerate(zip(texts, (photo, lit), strict=True)):
        x = gap + i * (column + gap)
        canvas.paste(picture, (x + (column - picture.width) // 2, gap))
        y = 2 * gap + picture.height
        square = 1.15 * letters
        draw.rectangle((x, y, x + square, y + square), COLOURS[found.state], WHITE)
        sign(draw, x + 0.1 * square, y + 0.1 * square, 0.8 * square, found.state)
        answer, truth = words(found, shown)
        left = x + 1.6 * letters
        room = column - 1.6 * letters
        Line(fonts, answer, letters, room).draw(draw, left, y + square / 2, INK)
        if truth:
            Line(fonts, truth, letters, room).draw(draw, left, y + square / 2 + high, INK)
        middle = y + square / 2 + high * (2 if second else 1)
        Line(fonts, title, letters - 2, column).draw(draw, x, middle, SOFT)
    return canvas


def _lit(photo: Image.Image, shown_HW: NDArray[np.bool_]) -> Image.Image:
    """The region as it is, the rest darkened, and a light line with dark sides between them."""
    soft = Image.fromarray(np.where(shown_HW, 255, 0).astype(np.uint8))
    mask = soft.resize(photo.size, Image.Resampling.BILINEAR).point(lambda v: 255 * (v >= 128))
    drawn = _darkened(photo)
    drawn.paste(photo, mask=mask)
    wide = 2 * max(1, max(photo.size) // 400) + 1
    inner, outer = (
        mask.filter(ImageFilter.MinFilter(wide)),
        mask.filter(ImageFilter.MaxFilter(wide)),
    )
    drawn.paste(INK, mask=Image.fromarray(np.asarray(outer) - np.asarray(mask)))
    drawn.paste(WHITE, mask=Image.fromarray(np.asarray(mask) - np.asarray(inner)))
    return drawn


def _darkened(photo: Image.Image) -> Image.Image:
    return photo.point(lambda value: _DIM * value)


def _percent(share: float) -> str:
    return "below 1 %" if share < 1 else f"{share:.0f} %"
