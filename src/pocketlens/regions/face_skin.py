"""Skin of faces by SegFormer face parsing, from an ONNX file, a local folder or a hub model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketlens.core.errors import UserError
from pocketlens.core.region import Finder, NoRegionError, Region, RegionContext, mask_region
from pocketlens.core.text import one_line
from pocketlens.regions._parser import Parser, open_parser

KEEP: Final = "mask-crop"
FRAMES: Final = True
#: Longer side of the mask that is computed; the network's own answers are far coarser.
_MAX_SIDE: Final = 2048


@dataclass(frozen=True)
class Config:
    """Which network, and what of a face."""

    model: str = ""
    """ONNX file, folder (config.json, preprocessor_config.json, model.safetensors or
    onnx/model.onnx), or hub model such as jonathandinu/face-parsing."""

    classes: tuple[str, ...] = ("skin", "nose")
    """Classes of the network that are kept."""

    min_share: float = 1.0
    """Percent of the photo that they must cover; below it there is no region."""

    onnx: str = ""
    """File to write the network to, as ONNX that needs neither torch nor transformers."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_share < 100 or not self.classes:
            raise UserError(
                "--region-min-share must be from 0 to below 100, and --region-classes name a class"
            )


def open(config: Config, context: RegionContext) -> Finder:
    """The classes' pixels, by the network's most probable class of each.

    Raises:
        UserError: the weights can't be had, with what to do; or a class is unknown to them.
        MissingExtraError: an export is needed, and what makes it isn't installed.
    """
    parser = open_parser(config.model, threads=context.threads, keep_at=config.onnx)
    unknown = [name for name in config.classes if name not in parser.labels]
    if unknown:
        raise UserError(
            f"--region-classes: the network has no {one_line(unknown[0])!r}; it has "
            f"{one_line(', '.join(parser.labels))}"
        )
    inside = [i for i, name in enumerate(parser.labels) if name in config.classes]
    named = one_line(" and ".join(config.classes))

    def find(image_HWC: NDArray[np.uint8], name: str) -> Region:
        mask_HW = skin_mask(parser, image_HWC, inside)
        share = 100 * float(mask_HW.mean())
        if not mask_HW.any() or share < config.min_share:
            raise NoRegionError(
                f"no {named} is found on it ({share:.2g} % of the photo, at least "
                f"{config.min_share:g} % are needed)"
            )
        return mask_region(mask_HW)

    return Finder(find, f"{named} by {parser.name}")


def skin_mask(parser: Parser, image_HWC: NDArray[np.uint8], inside: list[int]) -> NDArray[np.bool_]:
    """Where one of some classes is the most probable: `mask_HW`, bool.

    Logits are enlarged (bilinear) before they are compared, as SegFormer's own post-processing
    does; of photos above 2048 pixels a side, to that size. Only two planes are held at a time.
    """
    logits_KHW = parser.logits(image_HWC)
    height, width = image_HWC.shape[:2]
    ratio = min(1.0, _MAX_SIDE / max(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))

    def largest(classes: list[int]) -> NDArray[np.float32]:
        best_HW = np.full((size[1], size[0]), -np.inf, np.float32)
        for k in classes:
            plane = Image.fromarray(logits_KHW[k]).resize(size, Image.Resampling.BILINEAR)
            np.maximum(best_HW, np.asarray(plane), out=best_HW)
        return best_HW

    others = [k for k in range(len(logits_KHW)) if k not in inside]
    mask_HW: NDArray[np.bool_] = largest(inside) > largest(others)
    if ratio < 1:
        whole = Image.fromarray(mask_HW).resize((width, height), Image.Resampling.NEAREST)
        mask_HW = np.asarray(whole, dtype=bool)
    return mask_HW
