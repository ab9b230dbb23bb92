"""Static INT8 by PyTorch's eager mode, for networks made for it (compact/*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pocketlens import plugins
from pocketlens.compression._eager import refuse_others
from pocketlens.compression._int8 import (
    Observed,
    calibrate,
    finish_int8,
    needs_reduced_range,
)
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle
from pocketlens.extras import require

EXTRA = "train"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch-int8", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True
#: A network that this method is for; most are not.
SUITS: Final = "compact/resnet18"


@dataclass(frozen=True)
class Config(Observed):
    """How to quantize."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Fuse, observe the calibration photos, convert: weights per channel, activations in 8 bits.

    Raises:
        UserError: no calibration photos, or a network without quantization stubs.
    """
    require("torch", extra=EXTRA)
    way = plugins.load("runtimes", "torch-int8").flow("eager")
    refuse_others(bundle, way, "eager-static")
    reduce_range = needs_reduced_range(context.cpu_flags)
    calibration = context.calibration(config.num_images, config.seed)
    module = plugins.load("runtimes", "torch").restore(bundle)
    prepared = way.prepare(
        module, bundle.manifest.model, ranges=config.ranges, reduce_range=reduce_range
    )
    num_used = calibrate(prepared, calibration)
    return finish_int8(
        bundle,
        context,
        "eager-static",
        config,
        way.convert(prepared),
        quantization=way.description(reduce_range=reduce_range),
        calibration=calibration,
        facts={"num_calibrated": num_used},
    )
