"""INT8 by PyTorch's eager mode, trained with fake quantization, for compact/*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pocketlens import plugins
from pocketlens.compression._eager import refuse_others
from pocketlens.compression._int8 import (
    QuantizedTuning,
    calibrate_for_training,
    finish_int8,
    needs_reduced_range,
    train_quantized,
)
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle
from pocketlens.extras import require

EXTRA = "train"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch-int8", "int8")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = True
#: A network that this method is for; most are not.
SUITS: Final = "compact/resnet18"


@dataclass(frozen=True)
class Config(QuantizedTuning):
    """How to quantize and train on."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Fuse, calibrate, train with rounding in the forward pass, convert; never below its start.

    Raises:
        UserError: no photos, or a network without quantization stubs.
    """
    require("torch", extra=EXTRA)
    way = plugins.load("runtimes", "torch-int8").flow("eager")
    refuse_others(bundle, way, "eager-qat")
    reduce_range = needs_reduced_range(context.cpu_flags)
    calibration = context.calibration(config.num_images, config.seed)
    prepared = way.prepare(
        plugins.load("runtimes", "torch").restore(bundle),
        bundle.manifest.model,
        ranges=config.ranges,
        reduce_range=reduce_range,
        train=True,
    )
    num_used = calibrate_for_training(prepared, calibration, way.moving_average)
    converted, facts = train_quantized(prepared, config, context, way)
    return finish_int8(
        bundle,
        context,
        "eager-qat",
        config,
        converted,
        quantization=way.description(reduce_range=reduce_range),
        calibration=calibration,
        facts={"num_calibrated": num_used, **facts},
    )
