"""Grad-CAM: where the last spatial layer speaks for a class (Selvaraju et al. 2017)."""

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
    """Activations, each channel weighted by its mean gradient of the class's logit, above 0.

    Selvaraju et al. (2017), "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", equations 1 and 2.
    """
    return by_gradients("GradCAM", bundle, session, options)
