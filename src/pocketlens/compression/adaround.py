"""Static INT8 whose weights are rounded up or down as the layer's answers need it (AdaRound).

Nagel et al. (2020), "Up or Down? Adaptive Rounding for Post-Training Quantization": for each layer
in turn, with its input from the quantized layers before it, the choice for each weight is relaxed
to a rectified sigmoid and found by gradient descent; a regulariser drives it to 0 or 1.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketlens.compression._onnx import quiet
from pocketlens.compression._static import StaticConfig, check_static
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import bar

if TYPE_CHECKING:
    from torch import Tensor

    from pocketlens.compression._graph import Graph
    from pocketlens.compression._layerwise import Layer

EXTRA = "train"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True

#: The sigmoid is stretched beyond [0, 1] by these and cut off, so that it can reach both.
_ZETA, _GAMMA = 1.1, -0.1
#: The regulariser's weight, its exponent from the first to the last step, and the share of steps
#: without it: the paper's.
_WEIGHT: Final = 0.01
_BETA: Final = (20.0, 2.0)
_WARM_UP: Final = 0.2


@dataclass(frozen=True)
class Config(StaticConfig):
    """How to quantize and round."""

    iterations: int = 300
    """Steps of gradient descent a layer."""

    rounding_images: int = 64
    """Calibration photos whose activations are held in memory, one layer at a time."""

    def __post_init__(self) -> None:
        check_static(self)
        if self.iterations < 1 or self.rounding_images < 1:
            raise UserError("--iterations and --rounding-images must be at least 1")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize, then choose each weight's rounding.

    Raises:
        UserError: no calibration photos, or a network with operations that can't be run here.
    """
    require("onnx", extra="onnx")
    torch = require("torch", extra=EXTRA)
    from pocketlens.compression._layerwise import both_graphs, finish_graph, photos_of

    torch.manual_seed(config.seed)
    calibration = context.calibration(config.num_images, config.seed)
    with tempfile.TemporaryDirectory() as folder, quiet():
        both = both_graphs(bundle, config, context, calibration, Path(folder))
    photos = photos_of(calibration, config.rounding_images)
    with bar("rounding layers", len(both.layers)) as advance:
        for layer in both.layers:
            name, wanted = layer.node.inputs[0], layer.float_node.output
            with torch.no_grad():
                given = both.quantized.at(photos, [name])[name]
                target = both.float.at(photos, [wanted])[wanted]
            _round(both.quantized, layer, given, target, config.iterations)
            advance()
    return finish_graph(bundle, context, "adaround", config, both)


def _round(graph: Graph, layer: Layer, given: Tensor, target: Tensor, iterations: int) -> None:
    """Find the rounding of a layer's weights, and make them the values of their levels.

    Args:
        given: the layer's input from the quantized layers before it, NCHW.
        target: the float network's output of the layer.
    """
    import torch

    quantizer = graph.weights[layer.weight]
    weight = graph.value(layer.weight)
    step = graph.step(quantizer).detach()
    if quantizer.axis is not None:
        step = step.reshape([-1 if i == quantizer.axis else 1 for i in range(weight.ndim)])
    scaled = (weight / step).detach()
    below = scaled.floor()
    rest = (scaled - below).clamp(1e-4, 1 - 1e-4)
    # So that the relaxed rounding starts as the weights are.
    choice = -torch.log((_ZETA - _GAMMA) / (rest - _GAMMA) - 1)
    choice.requires_grad_(True)
    optimizer = torch.optim.Adam([choice], lr=1e-2)
    bias = None if layer.bias is None else graph.value(layer.bias).detach()
    for i in range(iterations):
        chosen = torch.randint(len(given), (min(32, len(given)),))
        up = (choice.sigmoid() * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)
        soft = (below + up).clamp(quantizer.low, quantizer.high) * step
        found = graph.run_layer(layer.node, given[chosen], soft, bias)
        error = (found - target[chosen]).square().sum(1).mean()
        done = i / iterations
        if done >= _WARM_UP:
            share = (done - _WARM_UP) / (1 - _WARM_UP)
            beta = _BETA[0] + (_BETA[1] - _BETA[0]) * share
            error = error + _WEIGHT * (1 - (2 * up - 1).abs().pow(beta)).sum()
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        up = (choice.sigmoid() >= 0.5).float()
        weight.copy_((below + up).clamp(quantizer.low, quantizer.high) * step)
