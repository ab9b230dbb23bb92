"""EigenCAM: the main pattern of the last spatial layer, of no class (Muhammad & Yeasin 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.session import Session, SessionOptions
from pocketlens.maps._mapper import Mapper, scaled

#: What a runtime must offer.
NEEDS: Final = "activations"


@dataclass(frozen=True)
class Config:
    """No options."""


def open(bundle: Bundle, session: Session, options: SessionOptions, config: Config) -> Mapper:
    """Activations projected on their first right singular vector; one formula for all runtimes."""
    runtime: Any = plugins.load("runtimes", bundle.manifest.runtime)
    activations = runtime.activations(bundle, options)
    manifest = bundle.manifest
    spec = manifest.preprocess

    def make(images_NHWC: NDArray[np.uint8], classes: list[int]) -> NDArray[np.float32]:
        inputs = np.stack([manifest.input.of(image, spec) for image in images_NHWC])
        given_NCHW = activations.run(inputs)
        return np.stack([scaled(first_component(a), spec.height, spec.width) for a in given_NCHW])

    # What a file's layer leaves of a photo is known for certain only from an answer.
    grey = np.full((spec.height, spec.width, 3), 128, np.uint8)
    high, wide = activations.run(np.stack([manifest.input.of(grey, spec)])).shape[2:]
    detail = f"{high}x{wide} cells, the same for every class"
    return Mapper(make, activations.layer, detail, of_class=False, cells=(high, wide))


def first_component(activations_CHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """`map_HW`: each place's activations projected on their first right singular vector, above 0.

    Muhammad & Yeasin (2020), "Eigen-CAM: Class Activation Map using Principal Components", section
    III. As there, nothing is subtracted before; the library grad-cam subtracts the mean, after
    which either sign is as good and half of the maps are negatives of themselves. The sign, which
    a singular vector doesn't have, is the one with which strong places are high.
    """
    channels, height, width = activations_CHW.shape
    places_PC = np.nan_to_num(activations_CHW.reshape(channels, -1).T.astype(np.float64))
    _, _, vectors = np.linalg.svd(places_PC, full_matrices=False)
    map_P = places_PC @ vectors[0]
    if map_P @ np.linalg.norm(places_PC, axis=1) < 0:
        map_P = -map_P
    map_HW: NDArray[np.float32] = np.maximum(map_P, 0).reshape(height, width).astype(np.float32)
    return map_HW
