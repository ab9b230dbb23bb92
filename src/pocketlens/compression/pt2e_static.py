"""Static INT8 of the exported program (PT2E, torchao), by the rules of x86 or XNNPACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pocketlens import plugins
from pocketlens.compression._int8 import (
    Observed,
    calibrate,
    finish_int8,
    needs_reduced_range,
)
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle

EXTRA = "torchao"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch-int8", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True


@dataclass(frozen=True)
class Config(Observed):
    """How to quantize."""

    quantizer: Literal["x86", "xnnpack"] = "x86"
    """Whose kernels it is for: torch's on x86, or XNNPACK's on phones (extra `executorch`)."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Export, observe the calibration photos, convert: weights per channel, activations in 8 bits.

    Raises:
        UserError: no calibration photos, or a network that PyTorch can't export.
        MissingExtraError: torchao, or executorch for `xnnpack`, isn't installed.
    """
    way = plugins.load("runtimes", "torch-int8").flow("pt2e")
    way.require_for(config.quantizer)
    reduce_range = config.quantizer == "x86" and needs_reduced_range(context.cpu_flags)
    side = bundle.manifest.preprocess
    calibration = context.calibration(config.num_images, config.seed)
    prepared = way.prepare(
        plugins.load("runtimes", "torch").restore(bundle),
        (side.height, side.width),
        quantizer=config.quantizer,
        ranges=config.ranges,
        reduce_range=reduce_range,
    )
    num_used = calibrate(prepared, calibration)
    return finish_int8(
        bundle,
        context,
        "pt2e-static",
        config,
        way.convert(prepared),
        quantization=way.description(config.quantizer, reduce_range=reduce_range, train=False),
        calibration=calibration,
        facts={"num_calibrated": num_used},
        packages=("torch", "torchao", "executorch", "timm"),
    )
