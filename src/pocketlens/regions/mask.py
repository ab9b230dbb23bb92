"""Masks from PNG files with the photos' names: what isn't black or transparent is the region."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.decode import MAX_PIXELS, decode_mask
from pocketlens.core.directory import expand
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.region import Finder, NoRegionError, Region, RegionContext, mask_region

KEEP: Final = "mask"
FRAMES: Final = False


@dataclass(frozen=True)
class Config:
    """Where the masks are."""

    masks: str = ""
    """Folder of PNG masks: `masks/a.png` (or `a.jpg.png`) for `photos/a.jpg`; with folders
    inside, `masks/light/a.png` for `photos/light/a.jpg`."""


def open(config: Config, context: RegionContext) -> Finder:
    """Masks by the names of the photos.

    Raises:
        UserError: there is no such folder.
    """
    if not config.masks:
        raise UserError("--region mask needs masks: name their folder by --region-masks")
    folder = expand(config.masks)
    if not folder.is_dir():
        raise UserError(f"--region-masks {folder} is no folder")

    @cache
    def times() -> Counter[str]:
        return Counter(_stem(name) for name in set(map(os.path.abspath, context.names())))

    def find(image_HWC: NDArray[np.uint8], name: str) -> Region:
        path, parents = _mask_of(folder, name)
        if path is None:
            raise NoRegionError(f"no mask is given for this image: {_stem(name)}.png")
        if not parents and times()[_stem(name)] > 1:
            raise ImageError(
                f"several photos are called {_stem(name)}: put the masks into folders that are "
                "called as the photos' are"
            )
        mask_HW = _read(path)
        if mask_HW.shape != image_HWC.shape[:2]:
            raise ImageError(
                f"its mask has {mask_HW.shape[1]}x{mask_HW.shape[0]} pixels, the upright photo "
                f"{image_HWC.shape[1]}x{image_HWC.shape[0]}"
            )
        if not mask_HW.any():
            raise NoRegionError("its mask is empty")
        return mask_region(mask_HW)

    return Finder(find, "masks from files")


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]


def _mask_of(folder: Path, name: str) -> tuple[Path | None, int]:
    """The mask whose path in the folder is the longest end of the photo's, and its folders.

    Nothing outside of the folder is looked for: an absolute path has no `..`.
    """
    parts = Path(os.path.abspath(name)).parts[1:]
    for num_folders in range(len(parts) - 1, -1, -1):
        parents = parts[len(parts) - 1 - num_folders : -1]
        for file in (f"{_stem(name)}.png", f"{parts[-1]}.png"):
            path = folder.joinpath(*parents, file)
            try:
                # Where masks lie among the photos, a photo is not its own mask.
                if path.is_file() and os.path.realpath(path) != os.path.realpath(name):
                    return path, num_folders
            except (OSError, ValueError):  # a name that no file can have
                continue
    return None, 0


def _read(path: Path) -> NDArray[np.bool_]:
    try:
        return decode_mask(path.read_bytes(), max_pixels=MAX_PIXELS)
    except OSError as error:
        raise ImageError(f"its mask can't be read: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(f"its mask can't be used: {error}") from error
