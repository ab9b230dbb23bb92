"""Occlusion: how much the answer loses when a part is covered (Zeiler & Fergus 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.session import Session, SessionOptions
from pocketlens.maps._mapper import Mapper, scaled

#: What a runtime must offer beside its session: nothing.
NEEDS: Final = ""
_BATCH: Final = 16


@dataclass(frozen=True)
class Config:
    """How parts are covered."""

    window: float = 0.25
    """Side of the covered square, as a share of the photo's side."""

    steps: int = 2
    """Squares a window's side; each pixel is covered by the square of this number."""

    def __post_init__(self) -> None:
        if not 0 < self.window <= 1 or self.steps < 1:
            raise UserError("--window must be above 0 and at most 1, --steps at least 1")


def open(bundle: Bundle, session: Session, options: SessionOptions, config: Config) -> Mapper:
    """Log-odds of the class that are lost when a pixel is covered, averaged over its squares.

    Squares have the colour that normalising makes 0. They are laid on pixels, before normalising,
    so files that normalise themselves are asked in the same way. Zeiler & Fergus (2014),
    "Visualizing and Understanding Convolutional Networks", section 4.2, look at the probability;
    log-odds say the same without being blind where it is near 1.
    """
    manifest = bundle.manifest
    spec, multi = manifest.preprocess, manifest.task == "multi_label"
    grey = np.clip(np.rint(np.multiply(spec.mean, 255)), 0, 255).astype(np.uint8)
    squares = _squares(spec.height, spec.width, config)

    def odds(images: list[NDArray[np.uint8]], index: int) -> NDArray[np.float64]:
        inputs = np.stack([manifest.input.of(image, spec) for image in images])
        logits_NK = session(inputs).astype(np.float64)
        return log_odds(logits_NK, index, multi=multi)

    def one(image_HWC: NDArray[np.uint8], index: int) -> NDArray[np.float32]:
        whole = odds([image_HWC], index)[0]
        lost_HW = np.zeros((spec.height, spec.width))
        times_HW = np.zeros_like(lost_HW)
        for start in range(0, len(squares), _BATCH):
            chosen = squares[start : start + _BATCH]
            covered = [image_HWC.copy() for _ in chosen]
            for image, (rows, columns) in zip(covered, chosen, strict=True):
                image[rows, columns] = grey
            for found, (rows, columns) in zip(odds(covered, index), chosen, strict=True):
                lost_HW[rows, columns] += whole - found
                times_HW[rows, columns] += 1
        return scaled(np.maximum(lost_HW / times_HW, 0), spec.height, spec.width)

    def make(images_NHWC: NDArray[np.uint8], classes: list[int]) -> NDArray[np.float32]:
        return np.stack([one(*pair) for pair in zip(images_NHWC, classes, strict=True)])

    high, wide = _sides(spec.height, spec.width, config)
    detail = f"squares of {wide}x{high} at {len(squares)} places"
    return Mapper(make, "", detail)


def log_odds(logits_NK: NDArray[np.float64], index: int, *, multi: bool) -> NDArray[np.float64]:
    """`log(p / (1 - p))` of a class: its logit where labels are independent, else less the rest."""
    own: NDArray[np.float64] = logits_NK[:, index]
    if multi or logits_NK.shape[1] == 1:
        return own
    rest = np.delete(logits_NK, index, axis=1)
    highest = rest.max(axis=1)
    others: NDArray[np.float64] = highest + np.log(np.exp(rest - highest[:, None]).sum(axis=1))
    return own - others


def _sides(height: int, width: int, config: Config) -> tuple[int, int]:
    high, wide = (max(1, round(side * config.window)) for side in (height, width))
    return high, wide


def _squares(height: int, width: int, config: Config) -> list[tuple[slice, slice]]:
    """Rows and columns of each square; those at the border hang over, so all pixels count alike."""
    high, wide = _sides(height, width, config)

    def along(side: int, window: int) -> list[slice]:
        step = max(1, window // config.steps)
        starts = range(step - window, side, step)
        return [slice(max(0, start), min(side, start + window)) for start in starts]

    return [(rows, columns) for rows in along(height, high) for columns in along(width, wide)]
