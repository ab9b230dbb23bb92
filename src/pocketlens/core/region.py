"""The part of a photo that is classified: a box, or a mask, and how the rest is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketlens.core.dataset import Box
from pocketlens.core.errors import ImageError
from pocketlens.core.preprocess import Preprocess

#: What becomes of a photo: the rest is coloured, cut off, or both.
Keep = Literal["mask", "crop", "mask-crop"]
#: The colour of the rest: black, or the one that normalising makes 0.
Fill = Literal["mean", "black"]
#: Longer side in pixels of the mask that is kept of a row, to be drawn.
_SHOWN: Final = 640


class NoRegionError(ImageError):
    """The photo can be read, but what is to be classified isn't on it."""


@dataclass(frozen=True)
class Region:
    """A part of a photo, in pixels of the upright photo.

    Attributes:
        mask_HW: bool, of the photo's size; None: all of `box`.
        box: given, or the smallest around the mask.
        detail: what was found, for people; may be empty.
    """

    box: Box
    mask_HW: NDArray[np.bool_] | None = None
    detail: str = ""


#: `image_HWC` (the whole upright RGB photo, uint8) and the name of its file -> its region.
#: Raises `NoRegionError` where there is none; another `ImageError` where it can't be said.
Find = Callable[[NDArray[np.uint8], str], Region]


@dataclass(frozen=True)
class Finder:
    """An opened way to find regions; `find` may be called in several threads at a time.

    Attributes:
        words: what is looked for and how, in a line.
    """

    find: Find
    words: str


@dataclass(frozen=True)
class RegionContext:
    """What a way to find regions is told by the one who asks.

    Attributes:
        names: files of the photos to come, as `Find` gets them.
        read_boxes: path of annotations -> boxes by the name of their photo, one list for each of
            `names`; raises `UserError` where it can't be read or is for other photos.
        threads: of the processor, for each call.
    """

    names: Callable[[], Sequence[str]]
    read_boxes: Callable[[str], Mapping[str, Sequence[Box]]]
    threads: int


@dataclass(frozen=True)
class Regioned:
    """What is kept of a photo's region.

    Attributes:
        box: as of `Region`; `share` the region's percent of the photo's area.
        shown_HW: the region, bool, on a photo that was made small.
        seen_HWC: what the network saw, uint8.
    """

    box: Box
    share: float
    detail: str
    shown_HW: NDArray[np.bool_]
    seen_HWC: NDArray[np.uint8]


def mask_region(mask_HW: NDArray[np.bool_], detail: str = "") -> Region:
    """The region of a mask that isn't empty."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    assert rows.size
    left, top = int(columns[0]), int(rows[0])
    box = Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)
    return Region(box, mask_HW, detail)


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all."""
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right = max(box.x + box.width for box in boxes)
    bottom = max(box.y + box.height for box in boxes)
    return Box(left, top, right - left, bottom - top)


def cut(
    image_HWC: NDArray[np.uint8], region: Region, keep: Keep, fill: Fill, spec: Preprocess
) -> NDArray[np.uint8]:
    """The photo with the rest coloured, cut off, or both.

    Args:
        spec: of the network; a box grows by its `box_margin`, and `mean` is its mean.

    Raises:
        ImageError: the box has no area inside of the photo.
    """
    if keep == "crop" or (keep == "mask-crop" and region.mask_HW is None):
        return spec.crop(image_HWC, region.box)
    value = np.clip(np.rint(np.multiply(spec.mean, 255)), 0, 255) if fill == "mean" else 0
    masked_HWC = np.empty_like(image_HWC)
    masked_HWC[...] = value
    if region.mask_HW is None:
        spec.crop(masked_HWC, region.box)[...] = spec.crop(image_HWC, region.box)
        return masked_HWC
    masked_HWC[region.mask_HW] = image_HWC[region.mask_HW]
    return masked_HWC if keep == "mask" else spec.crop(masked_HWC, region.box)


def summarize(
    image_HWC: NDArray[np.uint8], region: Region, spec: Preprocess, seen_HWC: NDArray[np.uint8]
) -> Regioned:
    """What is kept of a region while its photo is let go."""
    mask_HW = region.mask_HW
    if mask_HW is None:
        inside_HW1 = np.zeros((*image_HWC.shape[:2], 1), dtype=np.uint8)
        spec.crop(inside_HW1, region.box)[...] = 1
        mask_HW = inside_HW1[..., 0] > 0
    share = 100 * float(mask_HW.mean())
    height, width = mask_HW.shape
    ratio = min(1.0, _SHOWN / max(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    small = Image.fromarray(mask_HW).resize(size, Image.Resampling.NEAREST)
    shown_HW = np.asarray(small, dtype=bool)
    return Regioned(region.box, share, region.detail, shown_HW, seen_HWC)
