"""Static INT8 with each layer's bias shifted so that its mean answer is the float network's.

Nagel et al. (2019), "Data-Free Quantization Through Weight Equalization and Bias Correction", the
empirical way: layer after layer, each with the ones before it quantized and corrected.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketlens.compression._onnx import quiet
from pocketlens.compression._static import StaticConfig, check_static
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import bar

EXTRA = "train"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True


@dataclass(frozen=True)
class Config(StaticConfig):
    """How to quantize and correct."""

    correction_images: int = 64
    """Calibration photos that means are taken over."""

    def __post_init__(self) -> None:
        check_static(self)
        if self.correction_images < 1:
            raise UserError("--correction-images must be at least 1")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize, then correct the biases.

    Raises:
        UserError: no calibration photos, or a network with operations that can't be run here.
    """
    require("onnx", extra="onnx")
    torch = require("torch", extra=EXTRA)
    from pocketlens.compression._layerwise import both_graphs, channel_mean, finish_graph, photos_of

    calibration = context.calibration(config.num_images, config.seed)
    with tempfile.TemporaryDirectory() as folder, quiet():
        both = both_graphs(bundle, config, context, calibration, Path(folder))
    photos = photos_of(calibration, config.correction_images)
    layers = [layer for layer in both.layers if layer.bias is not None]
    with torch.inference_mode(), bar("correcting biases", len(layers)) as advance:
        wanted = both.float.at(photos, [layer.float_node.output for layer in layers], channel_mean)
        for layer in layers:
            output = layer.node.output
            found = both.quantized.at(photos, [output], channel_mean)[output]
            assert layer.bias is not None
            both.quantized.value(layer.bias).add_(wanted[layer.float_node.output] - found)
            advance()
    return finish_graph(bundle, context, "bias-correction", config, both)
