"""Maps over photos: colours, the outline of the strongest part, and panels side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import Line

#: Seventeen points of matplotlib's `inferno` (CC0): evenly brighter from low to high, so that it
#: reads the same in grey and to people of any colour vision.
_INFERNO: Final = np.array(
    [
        (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110),
        (138, 34, 106), (163, 44, 97), (188, 55, 84), (210, 70, 68), (228, 90, 49),
        (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53), (242, 234, 105),
        (252, 255, 164),
    ],
    dtype=np.float64,
)  # fmt: skip
#: Share of the area that the outline encloses.
TOP_SHARE: Final = 0.2
_GROUND: Final = (245, 246, 248)
_INK, _SOFT = (22, 32, 43), (86, 98, 112)
_GAP: Final = 10
_LINE: Final = 20


class Panel(NamedTuple):
    """A picture with up to two lines below: what it shows, and how it was made."""

    image: Image.Image
    title: str
    detail: str = ""


def coloured(map_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`image_HWC` of a map from 0 to 1."""
    at = np.clip(map_HW, 0, 1) * (len(_INFERNO) - 1)
    points = np.arange(len(_INFERNO))
    channels = [np.interp(at, points, _INFERNO[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def overlay(
    image_HWC: NDArray[np.uint8], map_HW: NDArray[np.float32], side: int = 320
) -> Image.Image:
    """A photo with its map over it, and the strongest fifth of its area outlined.

    The photo is grey below, so that every colour is the map's.

    Args:
        side: the longer side of the result in pixels.
    """
    photo = enlarged(image_HWC, side)
    grey = np.asarray(photo.convert("L"), dtype=np.float32)[..., None]
    large = np.asarray(
        Image.fromarray(map_HW).resize(photo.size, Image.Resampling.BILINEAR), dtype=np.float32
    )
    share = 0.3 + 0.35 * large[..., None]
    mixed = (1 - share) * grey + share * coloured(large)
    drawn = Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
    strongest = Image.fromarray(np.where(strong(large), 255, 0).astype(np.uint8))
    inner = strongest.filter(ImageFilter.MinFilter(5))
    edge = np.asarray(strongest) != np.asarray(inner)
    drawn.paste((255, 255, 255), mask=Image.fromarray(np.where(edge, 230, 0).astype(np.uint8)))
    return drawn


def strong(map_HW: NDArray[np.float32], share: float = TOP_SHARE) -> NDArray[np.bool_]:
    """Which pixels are the strongest `share` of a map's area; none where the map is flat.

    Of equals at the border of that share all are taken, unless they are 0.
    """
    if not map_HW.any() or float(map_HW.min()) == float(map_HW.max()):
        return np.zeros(map_HW.shape, dtype=bool)
    limit = np.quantile(map_HW, 1 - share)
    chosen: NDArray[np.bool_] = (map_HW >= limit) & (map_HW > 0)
    return chosen


def enlarged(image_HWC: NDArray[np.uint8], side: int) -> Image.Image:
    """A photo with this longer side."""
    image = Image.fromarray(np.ascontiguousarray(image_HWC))
    ratio = side / max(image.size)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    return image.resize(size, Image.Resampling.BICUBIC)


def side_by_side(panels: Sequence[Panel], fonts: Fonts) -> Image.Image:
    """Panels in a row on a light ground, their texts below, cut where they are too long."""
    lines = 2 if any(panel.detail for panel in panels) else 1
    high = max(panel.image.height for panel in panels)
    wide = sum(panel.image.width + _GAP for panel in panels) + _GAP
    canvas = Image.new("RGB", (wide, high + 2 * _GAP + lines * _LINE + 2), _GROUND)
    draw = ImageDraw.Draw(canvas)
    x = _GAP
    for panel in panels:
        canvas.paste(panel.image, (x, _GAP + high - panel.image.height))
        y = high + _GAP + 4
        for text, size, middle, colour in (
            (panel.title, 15, y + 0.4 * _LINE, _INK),
            (panel.detail, 12, y + 1.4 * _LINE, _SOFT),
        ):
            Line(fonts, text, size, panel.image.width).draw(draw, x, middle, colour)
        x += panel.image.width + _GAP
    return canvas
