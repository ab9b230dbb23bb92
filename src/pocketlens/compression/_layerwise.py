"""Layer after layer: a quantized graph beside the float one it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pocketlens.compression._graph import Graph, Node
from pocketlens.compression._graph_file import to_model
from pocketlens.compression._onnx import load_model
from pocketlens.compression._static import StaticConfig, find_ranges, quantize
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError


@dataclass(frozen=True)
class Layer:
    """A layer with quantized weights.

    Attributes:
        weight: name of its integer weights; `bias` of its bias, or None.
        node, float_node: in the quantized and in the float graph.
    """

    weight: str
    bias: str | None
    node: Node
    float_node: Node


@dataclass(frozen=True)
class Both:
    """A quantized graph and its float one, with the layers that are quantized, in order."""

    quantized: Graph
    float: Graph
    layers: list[Layer]
    num_images: int


def both_graphs(
    bundle: Bundle,
    config: StaticConfig,
    context: Context,
    calibration: Calibration,
    folder: Path,
) -> Both:
    """Quantize as `onnx-static` does, and keep the float graph beside it.

    Raises:
        UserError: the network has operations that can't be run here.
    """
    from onnx import numpy_helper

    source = bundle.file("model.onnx")
    model = load_model(source)
    ranges = find_ranges(source, calibration, config, folder)
    made = quantize(source, ranges, config, folder, cpu_flags=context.cpu_flags)
    floats = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    quantized, original = Graph(made, floats).eval(), Graph(model, {}).eval()
    layers = list(_layers(quantized, original))
    if not layers:
        raise UserError("no layer of this network is quantized, so there is nothing to improve")
    return Both(quantized, original, layers, ranges.num_images)


def finish_graph(
    bundle: Bundle, context: Context, method: str, config: StaticConfig, both: Both
) -> Bundle:
    """Write the quantized graph, as it was changed, as a bundle."""
    return finish(
        bundle,
        context,
        method,
        config,
        {"model.onnx": to_model(both.quantized).SerializeToString(deterministic=True)},
        runtime="onnx",
        precision="int8",
        facts={"num_calibrated": both.num_images},
        packages=("torch", "onnx", "onnxruntime"),
    )


def _layers(quantized: Graph, original: Graph) -> Iterator[Layer]:
    by_output = {node.output: node for node in quantized.nodes}
    by_weight = {node.inputs[1]: node for node in original.layers()}

    def behind(name: str) -> str:
        node = by_output.get(name)
        return node.inputs[0] if node is not None else name

    for node in quantized.layers():
        weight = behind(node.inputs[1])
        float_node = by_weight.get(weight.removesuffix("_quantized"))
        if weight in quantized.weights and float_node is not None:
            bias = behind(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
            yield Layer(weight, bias, node, float_node)


def photos_of(calibration: Calibration, limit: int) -> Tensor:
    """So many of the calibration photos, as one tensor NCHW."""
    found: list[Any] = []
    for batch in calibration.batches():
        found.append(torch.from_numpy(batch))
        if sum(map(len, found)) >= limit:
            break
    return torch.cat(found)[:limit]


def channel_mean(value: Tensor) -> Tensor:
    """Mean of each output channel over photos and places."""
    return value.mean((0, 2, 3)) if value.ndim == 4 else value.flatten(0, -2).mean(0)
