"""Grad-CAM++: as Grad-CAM, for several things of one class (Chattopadhay et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pocketlens.core.bundle import Bundle
from pocketlens.core.session import Session, SessionOptions
from pocketlens.maps._cam import by_gradients
from pocketlens.maps._mapper import Mapper

EXTRA = "gradcam"
#: What a runtime must offer.
NEEDS: Final = "differentiable"


@dataclass(frozen=True)
class Config:
    """No options."""


def open(bundle: Bundle, session: Session, options: SessionOptions, config: Config) -> Mapper:
    """As Grad-CAM, weighted more where the gradient is positive and rises.

    Chattopadhay et al. (2018), "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks", equations 10 and 19.
    """
    return by_gradients("GradCAMPlusPlus", bundle, session, options)
