"""What all methods share: what they give, and how a coarse map becomes one of the input's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: `images_NHWC` uint8 at the network's size and a class index each -> `maps_NHW` float32, 0 to 1.
Make = Callable[[NDArray[np.uint8], list[int]], NDArray[np.float32]]


@dataclass(frozen=True)
class Mapper:
    """A method on an opened network.

    Attributes:
        make: the maps of a batch; a map in which nothing counts for the class is 0 everywhere.
        layer: where maps are taken; empty if they are taken from answers alone.
        detail: with what settings, for people.
        of_class: whether a map tells of one class; else it is the same for all.
        cells: of the layer, high and wide; None where maps aren't taken from one.
    """

    make: Make
    layer: str = ""
    detail: str = ""
    of_class: bool = True
    cells: tuple[int, int] | None = None


def scaled(map_HW: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """A map enlarged between the centres of its cells (bilinear), then from 0 to 1.

    Where all cells are alike there is no map: 0 everywhere.
    """
    image = Image.fromarray(np.ascontiguousarray(map_HW, dtype=np.float32))
    large = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    low, high = float(large.min()), float(large.max())
    if not high - low > 1e-7 * max(abs(high), abs(low), 1e-30):
        return np.zeros((height, width), np.float32)
    unit_HW: NDArray[np.float32] = ((large - low) / (high - low)).astype(np.float32)
    return unit_HW
