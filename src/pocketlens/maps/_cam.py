"""Grad-CAM and its kin, by the library grad-cam."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.session import Session, SessionOptions
from pocketlens.extras import require
from pocketlens.maps._mapper import Mapper


def by_gradients(kind: str, bundle: Bundle, _: Session, options: SessionOptions) -> Mapper:
    """A method of the library, on the last layer that has places.

    Args:
        kind: the name of its class in `pytorch_grad_cam`.

    Raises:
        MissingExtraError: grad-cam isn't installed.
        UserError: the network has no such layer.
    """
    library, targets = _library()
    torch = require("torch", extra="train")
    runtime: Any = plugins.load("runtimes", bundle.manifest.runtime)
    network, target = runtime.differentiable(bundle, options)
    cam = getattr(library, kind)(network, [target.layer], reshape_transform=target.to_NCHW)
    spec = bundle.manifest.preprocess

    def make(images_NHWC: NDArray[np.uint8], classes: list[int]) -> NDArray[np.float32]:
        input_NCHW = torch.from_numpy(np.stack([spec.normalize(image) for image in images_NHWC]))
        with torch.enable_grad():
            wanted = [targets.ClassifierOutputTarget(index) for index in classes]
            maps_NHW: NDArray[np.float32] = cam(input_tensor=input_NCHW, targets=wanted)
        return np.clip(maps_NHW, 0, 1).astype(np.float32)

    cells = target.height, target.width
    return Mapper(make, target.name, "{}x{} cells".format(*cells), cells=cells)


def _library() -> tuple[Any, Any]:
    try:
        return (
            require("pytorch_grad_cam", extra="gradcam"),
            require("pytorch_grad_cam.utils.model_targets", extra="gradcam"),
        )
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        # grad-cam asks for opencv-python-headless, over which another package may have installed
        # an OpenCV with windows, which servers have no libraries for.
        reason = str(error).splitlines()[0]
        raise UserError(
            f"grad-cam can't be loaded ({reason}); if OpenCV misses a library: pip uninstall "
            "opencv-python, then pip install --force-reinstall opencv-python-headless"
        ) from error
