"""Photos on the page: made smaller, with the box on them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from pocketlens.core.decode import decode_image
from pocketlens.core.errors import ImageError

#: Endings of files that a reader may choose; the service looks at the content.
TYPES: Final = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif"]
#: Pixels of a photo that the page decodes itself; larger ones are sent, but not shown.
_MAX_PIXELS: Final = 50_000_000
_SIDE: Final = 1000
_FRAME: Final = ((255, 255, 255), (11, 110, 117))


def shown(data: bytes, box: Sequence[float] | None = None) -> tuple[bytes, tuple[int, int]] | None:
    """A photo as the page shows it: upright, at most 1000 pixels a side, a frame around `box`.

    Args:
        data: the file's bytes.
        box: x, y, width, height in pixels of the upright photo.

    Returns:
        JPEG bytes and the photo's own width and height in pixels; None where it can't be read.
    """
    try:
        image = decode_image(data, max_pixels=_MAX_PIXELS)
    except ImageError:
        return None
    full = image.size
    scale = min(1.0, _SIDE / max(full))
    image = image.resize((max(1, round(full[0] * scale)), max(1, round(full[1] * scale))))
    if box is not None:
        _frame(image, [value * scale for value in box])
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue(), full


def _frame(image: Image.Image, box: Sequence[float]) -> None:
    """Two colours, so that it is seen on any ground."""
    x, y, width, height = box
    draw = ImageDraw.Draw(image)
    thick = max(2, round(max(image.size) / 200))
    for grow, colour in ((thick, _FRAME[0]), (0, _FRAME[1])):
        left, top = max(0.0, x - grow), max(0.0, y - grow)
        right = min(image.width - 1.0, x + width + grow)
        bottom = min(image.height - 1.0, y + height + grow)
        if right > left and bottom > top:
            draw.rectangle((left, top, right, bottom), outline=colour, width=thick)
