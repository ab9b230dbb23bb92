"""Static INT8 of the exported program (PT2E, torchao), by the rules of x86 or XNNPACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pocketlens.compression import _pt2e
from pocketlens.compression._int8 import Observed, calibrate, finish_int8
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle

EXTRA = "torchao"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch-int8", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True


@dataclass(frozen=True)
class Config(_pt2e.ForKernels, Observed):
    """How to quantize."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Export, observe the calibration photos, convert: weights per channel, activations in 8 bits.

    Raises:
        UserError: no calibration photos, or a network that PyTorch can't export.
        MissingExtraError: torchao, or executorch for `xnnpack`, isn't installed.
    """
    network, way, calibration, quantization = _pt2e.prepare(bundle, config, context, train=False)
    num_used = calibrate(network, calibration)
    return finish_int8(
        bundle,
        context,
        "pt2e-static",
        config,
        way.convert(network),
        quantization=quantization,
        calibration=calibration,
        facts={"num_calibrated": num_used},
        packages=_pt2e.PACKAGES,
    )
