"""Augmentation policies: `image_HWC` of the network's size -> another of the same size, uint8.

A policy comes after the geometric step of `Preprocess` and changes nothing else. Its randomness
comes from a generator that is a function of seed, epoch and sample, so a run can be repeated and
resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageEnhance, ImageFilter

from pocketlens.core.preprocess import Preprocess
from pocketlens.training._operations import OPERATIONS, WIDE, apply, fill_of

Image = NDArray[np.uint8]
Policy = Callable[[Image, Preprocess, np.random.Generator], Image]

#: Operations one after another, and their strength of 0 to 1, in `randaugment`.
_NUM_OPERATIONS: Final = 2
_STRENGTH: Final = 0.3


def v0(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """None: what evaluation does."""
    return image_HWC


def v1(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """Geometric: flips and quarter turns, which lose no pixel."""
    flip_rows, flip_columns, transpose = rng.integers(0, 2, size=3)
    if flip_rows:
        image_HWC = image_HWC[::-1]
    if flip_columns:
        image_HWC = image_HWC[:, ::-1]
    if transpose and preprocess.height == preprocess.width:
        image_HWC = image_HWC.transpose(1, 0, 2)
    return image_HWC


def v2(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """v1 and colour: hue, saturation, brightness and contrast."""
    image = Pil.fromarray(np.ascontiguousarray(v1(image_HWC, preprocess, rng)))
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for kind, factor in zip(kinds, rng.uniform((0.7, 0.7, 0.6), (1.3, 1.3, 1.4)), strict=True):
        image = kind(image).enhance(float(factor))
    return _turned_hue(image, int(rng.integers(-9, 10)))


def v3(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """v2, blur and noise, each for every third photo."""
    image = v2(image_HWC, preprocess, rng)
    blurred, noisy = rng.random(2) < 1 / 3
    if blurred:
        radius = float(rng.uniform(0.1, preprocess.height / 100))
        image = np.asarray(Pil.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if noisy:
        noise = rng.normal(0, rng.uniform(1, 12), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def trivial(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """One random operation of a random strength, after a random flip.

    Müller & Hutter (2021), "TrivialAugment", the wide ranges.
    """
    image = Pil.fromarray(_flipped(image_HWC, rng))
    name = OPERATIONS[rng.integers(len(OPERATIONS))]
    return np.asarray(apply(name, image, float(rng.random()), rng, WIDE, fill_of(preprocess)))


def randaugment(image_HWC: Image, preprocess: Preprocess, rng: np.random.Generator) -> Image:
    """Two random operations of a fixed strength, after a random flip.

    Cubuk et al. (2020), "RandAugment", N = 2, M = 9 of 30.
    """
    image = Pil.fromarray(_flipped(image_HWC, rng))
    for index in rng.integers(len(OPERATIONS), size=_NUM_OPERATIONS):
        image = apply(OPERATIONS[index], image, _STRENGTH, rng, fill=fill_of(preprocess))
    return np.asarray(image)


POLICIES: Final[Mapping[str, Policy]] = {
    "v0": v0,
    "v1": v1,
    "v2": v2,
    "v3": v3,
    "trivial": trivial,
    "randaugment": randaugment,
}


def generator(seed: int, epoch: int, identity: str, occurrence: int = 0) -> np.random.Generator:
    """The randomness of one sample in one epoch, anew each time a sampler repeats it."""
    repeated = [] if not occurrence else [0, occurrence]
    return np.random.default_rng([seed, epoch, *identity.encode(), *repeated])


def _flipped(image_HWC: Image, rng: np.random.Generator) -> Image:
    return np.ascontiguousarray(image_HWC[:, ::-1] if rng.integers(2) else image_HWC)


def _turned_hue(image: Pil.Image, by: int) -> Image:
    """Hue moved round its circle of 256 steps."""
    hue, saturation, value = image.convert("HSV").split()
    turned = Pil.fromarray(np.asarray(hue) + np.uint8(by % 256))
    return np.asarray(Pil.merge("HSV", (turned, saturation, value)).convert("RGB"))
