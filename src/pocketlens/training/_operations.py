"""What `trivial` and `randaugment` choose from: Pillow's operations with a strength of 0 to 1."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from PIL import Image as Pil
from PIL import ImageEnhance, ImageOps

from pocketlens.core.preprocess import Preprocess


class Ranges(NamedTuple):
    """Largest values: shear as a slope, shift as a share of the side, turn in degrees, factor of
    brightness and the like around 1, bits that posterize leaves, level that solarize starts at.
    """

    shear: float
    shift: float
    turn: float
    factor: float
    bits: int
    level: int


#: Cubuk et al. (2020), as torchvision has them.
USUAL: Final = Ranges(0.3, 0.45, 30, 0.9, 4, 0)
#: Müller & Hutter (2021), table 5; a shift of 32 of their 224 pixels would leave the photo alone.
WIDE: Final = Ranges(0.99, 0.45, 135, 0.99, 2, 0)

OPERATIONS: Final = (
    "identity", "shear_x", "shear_y", "shift_x", "shift_y", "turn", "brightness", "colour",
    "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
_ENHANCERS: Final = {
    "brightness": ImageEnhance.Brightness,
    "colour": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}

Colour = tuple[int, int, int]


def apply(
    name: str,
    image: Pil.Image,
    strength: float,
    rng: np.random.Generator,
    ranges: Ranges = USUAL,
    fill: Colour = (0, 0, 0),
) -> Pil.Image:
    """One operation on an RGB image of the network's size.

    Args:
        strength: 0 to 1, share of the range; the direction is random.
        fill: what comes in from outside.
    """
    signed = strength if rng.integers(2) else -strength
    if name in _ENHANCERS:
        return _ENHANCERS[name](image).enhance(1 + signed * ranges.factor)
    if name.startswith(("shear", "shift")):
        return _moved(name, image, signed, ranges, fill)
    if name == "turn":
        return image.rotate(signed * ranges.turn, Pil.Resampling.BILINEAR, fillcolor=fill)
    if name == "posterize":
        return ImageOps.posterize(image, round(8 - strength * (8 - ranges.bits)))
    if name == "solarize":
        return ImageOps.solarize(image, round(256 - strength * (256 - ranges.level)))
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    assert name == "identity", name
    return image


def fill_of(preprocess: Preprocess) -> Colour:
    """The colour that normalises to zero."""
    red, green, blue = (round(255 * value) for value in preprocess.mean)
    return red, green, blue


def _moved(name: str, image: Pil.Image, signed: float, ranges: Ranges, fill: Colour) -> Pil.Image:
    kind, axis = name.split("_")
    along_x = axis == "x"
    middle = (image.height if along_x else image.width) / 2
    if kind == "shear":
        slope = signed * ranges.shear
        offset = -slope * middle  # the middle of the photo stays where it is
    else:
        slope = 0.0
        offset = signed * ranges.shift * (image.width if along_x else image.height)
    row = (1, slope, offset, 0, 1, 0) if along_x else (1, 0, 0, slope, 1, offset)
    return image.transform(
        image.size, Pil.Transform.AFFINE, row, Pil.Resampling.BILINEAR, fillcolor=fill
    )
