"""Boxes from annotations: COCO, AI-Hub, VOC, YOLO or a JSON; several of a photo count as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.region import Finder, NoRegionError, Region, RegionContext, around

#: What becomes of the photo where nothing else is asked for.
KEEP: Final = "crop"
#: Whether a video's frames, which have no file of their own, can have regions.
FRAMES: Final = False


@dataclass(frozen=True)
class Config:
    """Where the boxes are."""

    boxes: str = ""
    """Annotations: a file or a folder."""

    several: Literal["around", "largest"] = "around"
    """Of several boxes of a photo: the smallest one around them all, or the largest one."""


def open(config: Config, context: RegionContext) -> Finder:
    """Boxes by the names of the photos.

    Raises:
        UserError: no boxes are named, they can't be read, or are for other photos.
    """
    if not config.boxes:
        raise UserError("--region box needs boxes: name a file or folder by --region-boxes")
    by_name = context.read_boxes(config.boxes)

    def find(image_HWC: NDArray[np.uint8], name: str) -> Region:
        boxes = by_name.get(name, ())
        if not boxes:
            raise NoRegionError("no box is given for this image")
        if config.several == "around":
            chosen = around(boxes)
        else:
            chosen = max(boxes, key=lambda box: box.width * box.height)
        return Region(chosen, None, f"{len(boxes)} boxes" if len(boxes) > 1 else "")

    how = "" if config.several == "around" else ", the largest of each photo"
    return Finder(find, f"boxes from annotations{how}")
