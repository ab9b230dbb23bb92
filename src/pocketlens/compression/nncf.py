"""Static INT8 by NNCF, with fast or full bias correction, of an ONNX file or for OpenVINO."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.compression._onnx import load_model, quiet
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.compression._tuning import check_num_images
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import DataError
from pocketlens.extras import require

EXTRA = "openvino"
TAKES: Final = ("onnx", "float32")
#: Or ("openvino", "int8"), by `backend`.
GIVES: Final = ("onnx", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True

#: Inputs are kept in memory up to this; else they are prepared anew at each pass over them.
_KEPT_BYTES: Final = 512 * 2**20


@dataclass(frozen=True)
class Config:
    """How to quantize."""

    backend: Literal["onnx", "openvino"] = "onnx"
    """What comes out: an ONNX file, which OpenVINO reads too, or OpenVINO's own form."""

    bias_correction: Literal["fast", "full", "none"] = "fast"
    """Shift each layer's answers back to the float network's mean; full: layer after layer, each
    with the ones before it quantized, which takes longer."""

    preset: Literal["mixed", "performance"] = "mixed"
    """Activations asymmetric (mixed) or symmetric (performance)."""

    equalize: bool = False
    """Cross-layer equalisation of channels first, where NNCF finds pairs it is exact for."""

    num_images: int = 256
    """Calibration photos, class-balanced."""

    seed: int = 0
    """Of the choice of calibration photos."""

    def __post_init__(self) -> None:
        check_num_images(self.num_images, self.seed)


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize weights per channel to INT8 and activations to 8 bits.

    Raises:
        UserError: no calibration photos, or a network that NNCF can't quantize.
        MissingExtraError: nncf isn't installed.
    """
    require("onnx", extra="onnx")
    calibration = context.calibration(config.num_images, config.seed)
    photos = _Photos(calibration)
    if not photos.num_images:
        raise DataError(f"none of {calibration.num_images} calibration photos can be read")
    source = bundle.file("model.onnx")
    with tempfile.TemporaryDirectory() as folder:
        with _silent(), quiet():
            require("nncf", extra=EXTRA)
            settings = _settings(config, photos.num_images)
            if config.backend == "onnx":
                files = _onnx(source, settings, photos)
            else:
                files = _openvino(source, settings, photos, Path(folder))
        return finish(
            bundle,
            context,
            "nncf",
            config,
            files,
            runtime=config.backend,
            precision="int8",
            facts={"num_calibrated": photos.num_images},
            packages=("nncf", "onnx", "openvino"),
        )


class _Photos:
    """Inputs one photo at a time, as often as they are asked for; kept where they are few."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._kept: list[NDArray[np.float32]] = []
        self.num_images = 0
        for photo in self._fresh():
            self.num_images += 1
            if len(self._kept) * photo.nbytes <= _KEPT_BYTES:
                self._kept.append(photo)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self._kept) if len(self._kept) == self.num_images else self._fresh()

    def _fresh(self) -> Iterator[NDArray[np.float32]]:
        for batch in self._calibration.batches():
            yield from (batch[i : i + 1] for i in range(len(batch)))


def _onnx(source: Path, settings: dict[str, Any], photos: Any) -> dict[str, Path | bytes]:
    import nncf

    model = load_model(source)
    name = model.graph.input[0].name
    made = nncf.quantize(model, nncf.Dataset(photos, lambda x: {name: x}), **settings)
    return {"model.onnx": made.SerializeToString(deterministic=True)}


def _openvino(
    source: Path, settings: dict[str, Any], photos: Any, folder: Path
) -> dict[str, Path | bytes]:
    import nncf
    import openvino as ov

    model = ov.Core().read_model(str(source))
    made = nncf.quantize(model, nncf.Dataset(photos), **settings)
    ov.save_model(made, str(folder / "model.xml"), compress_to_fp16=False)
    return {name: folder / name for name in ("model.xml", "model.bin")}


def _settings(config: Config, num_images: int) -> dict[str, Any]:
    import nncf

    return {
        "preset": nncf.QuantizationPreset(config.preset),
        "target_device": nncf.TargetDevice.CPU,
        "subset_size": num_images,
        "fast_bias_correction": config.bias_correction != "full",
        "advanced_parameters": nncf.AdvancedQuantizationParameters(
            disable_bias_correction=config.bias_correction == "none",
            disable_channel_alignment=not config.equalize,
        ),
    }


@contextmanager
def _silent() -> Iterator[None]:
    """Neither reports to its makers, nor notices about itself."""
    os.environ.setdefault("NNCF_CI", "1")  # read when it is imported; else it sends statistics
    logger = logging.getLogger("nncf")
    level, disabled = logger.level, logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
        logger.setLevel(level)
