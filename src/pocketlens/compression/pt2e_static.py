"""Static INT8 of the exported program (PT2E, torchao), by the rules of x86 or XNNPACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pocketlens import plugins
from pocketlens.compression._int8 import (
    calibrate,
    check_num_images,
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
class Config:
    """How to quantize."""

    quantizer: Literal["x86", "xnnpack"] = "x86"
    """Whose kernels it is for: torch's on x86, or XNNPACK's on phones (extra `executorch`)."""

    ranges: Literal["histogram", "minmax"] = "histogram"
    """How activation ranges follow from the calibration photos: where a histogram's error is
    least, or all that was seen."""

    num_images: int = 256
    """Calibration photos, class-balanced."""

    seed: int = 0
    """Of the choice of calibration photos."""

    def __post_init__(self) -> None:
        check_num_images(self.num_images, self.seed)


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
        facts=calibration.facts(num_used),
        split=calibration.split,
        packages=("torch", "torchao", "executorch", "timm"),
    )
