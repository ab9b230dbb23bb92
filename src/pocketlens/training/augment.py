"""Augmentation policies: `image_HWC` of any size -> `image_HWC` of the network's size, uint8.

A policy replaces the geometric step of `Preprocess` and nothing else. Its randomness comes from
a generator that is a function of seed, epoch and sample, so a run can be repeated and resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.preprocess import Preprocess

Image = NDArray[np.uint8]
Policy = Callable[[Image, Preprocess, np.random.Generator], Image]

#: Smallest share of each side that a random crop keeps.
_SMALLEST_CROP = 0.85


def v0(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """None: what evaluation does."""
    return preprocess.fit(image_HWC)


def v1(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """Geometric: flips and quarter turns, which lose no pixel."""
    fitted = preprocess.fit(image_HWC)
    flip_rows, flip_columns, transpose = rng.integers(0, 2, size=3)
    if flip_rows:
        fitted = fitted[::-1]
    if flip_columns:
        fitted = fitted[:, ::-1]
    if transpose and preprocess.height == preprocess.width:
        fitted = fitted.transpose(1, 0, 2)
    return fitted


POLICIES: Final[Mapping[str, Policy]] = {"v0": v0, "v1": v1}


def generator(seed: int, epoch: int, identity: str) -> np.random.Generator:
    """The randomness of one sample in one epoch."""
    return np.random.default_rng([seed, epoch, *identity.encode()])
