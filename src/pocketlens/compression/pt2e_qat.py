"""INT8 of the exported program (PT2E, torchao), trained with fake quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pocketlens.compression import _pt2e
from pocketlens.compression._int8 import (
    QuantizedTuning,
    calibrate_for_training,
    finish_int8,
    train_quantized,
)
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle

EXTRA = "torchao"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch-int8", "int8")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = True


@dataclass(frozen=True)
class Config(_pt2e.ForKernels, QuantizedTuning):
    """How to quantize and train on."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Export, calibrate, train with rounding in the forward pass, convert; never below its start.

    Raises:
        UserError: no photos, or a network that PyTorch can't export.
        MissingExtraError: torchao, or executorch for `xnnpack`, isn't installed.
    """
    network, way, calibration, quantization = _pt2e.prepare(bundle, config, context, train=True)
    num_used = calibrate_for_training(network, calibration, way.moving_average)
    converted, facts = train_quantized(network, config, context, way)
    return finish_int8(
        bundle,
        context,
        "pt2e-qat",
        config,
        converted,
        quantization=quantization,
        calibration=calibration,
        facts={"num_calibrated": num_used, **facts},
        packages=_pt2e.PACKAGES,
    )
