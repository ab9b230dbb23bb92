"""Dynamic INT8 of the ONNX file: small, but slow for convolutions; here to show its price."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketlens.compression._onnx import load_model, quiet
from pocketlens.compression._step import Context, finish
from pocketlens.core.bundle import Bundle
from pocketlens.extras import require

EXTRA = "onnx"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8-dynamic")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = False


@dataclass(frozen=True)
class Config:
    """How to quantize."""

    per_channel: bool = True
    """One scale for each output channel of a weight."""


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize weights to INT8; activations are measured and quantized at each run."""
    require("onnx", extra=EXTRA)
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet():
        result = Path(folder) / "model.onnx"
        quantize_dynamic(
            load_model(bundle.file("model.onnx")),
            result,
            per_channel=config.per_channel,
            weight_type=QuantType.QInt8,
        )
        return finish(
            bundle,
            context,
            "onnx-dynamic",
            config,
            {"model.onnx": result},
            runtime="onnx",
            precision="int8-dynamic",
        )
