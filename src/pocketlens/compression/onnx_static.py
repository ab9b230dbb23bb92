"""Static INT8 of the ONNX file: ranges from calibration photos, weights per channel."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pocketlens.compression._onnx import quiet
from pocketlens.compression._static import StaticConfig, find_ranges, quantize
from pocketlens.compression._step import Context, finish
from pocketlens.core.bundle import Bundle
from pocketlens.extras import require

EXTRA = "onnx"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True


@dataclass(frozen=True)
class Config(StaticConfig):
    """How to quantize."""

    quant_format: Literal["qdq", "qoperator"] = "qdq"
    """qdq: pairs of quantize and dequantize nodes, which most runtimes read; qoperator: integer
    operators, a slightly smaller file."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize weights to symmetric INT8 and activations to asymmetric 8 bits.

    Raises:
        UserError: no calibration photos, or the network can't be quantized.
    """
    require("onnx", extra=EXTRA)
    calibration = context.calibration(config.num_images, config.seed)
    source = bundle.file("model.onnx")
    with tempfile.TemporaryDirectory() as folder, quiet():
        ranges = find_ranges(source, calibration, config, Path(folder))
        model = quantize(
            source,
            ranges,
            config,
            Path(folder),
            cpu_flags=context.cpu_flags,
            qoperator=config.quant_format == "qoperator",
        )
    return finish(
        bundle,
        context,
        "onnx-static",
        config,
        {"model.onnx": model.SerializeToString(deterministic=True)},
        runtime="onnx",
        precision="int8",
        facts={"num_calibrated": ranges.num_images},
    )
