"""Made-up pictures: coloured noise of any grain, where no photo is at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def coloured_noise(
    rng: np.random.Generator, cells: int, height: int, width: int
) -> NDArray[np.uint8]:
    """`image_HWC` of `cells` times `cells` fields, each of one colour."""
    coarse = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    rows, columns = (np.arange(side) * cells // side for side in (height, width))
    return coarse[rows][:, columns]
