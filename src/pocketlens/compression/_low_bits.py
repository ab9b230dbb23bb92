"""Fewer bits than 8: which tensors get them, and where their steps begin."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pocketlens.compression._graph import Graph
from pocketlens.compression._quantizer import Quantizer
from pocketlens.compression._static import mse_range
from pocketlens.compression._step import Calibration
from pocketlens.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

#: Photos on which activations' ranges are found.
_NUM_IMAGES: Final = 128
_NUM_BINS: Final = 4096


def lower(
    graph: Graph,
    bits: int,
    activation_bits: int,
    calibration: Calibration,
    kept: Collection[str],
) -> None:
    """Give layers fewer bits: their weights, and their input where nothing else reads it in 8.

    A tensor that is also added to something (a residual path) stays in 8 bits there; the layer
    gets a quantization of its own behind it.

    Args:
        kept: outputs of layers that stay in 8 bits.

    Raises:
        UserError: no layer is left.
    """
    layers = [node for node in graph.layers() if node.output not in kept]
    by_output = {node.output: node for node in graph.nodes}
    inputs: dict[str, str] = {}
    num = 0
    for layer in layers:
        weight = by_output.get(layer.inputs[1])
        if weight is None or weight.inputs[0] not in graph.weights:
            continue  # a layer in float
        num += 1
        if bits < 8:
            _lower_weight(graph, weight.inputs[0], bits)
        if activation_bits < 8:
            inputs[layer.output] = layer.inputs[0]
    if not num:
        raise UserError("no layer is left to give fewer bits; use --first-and-last same")
    if activation_bits < 8:
        _lower_activations(graph, inputs, activation_bits, calibration)


def _lower_weight(graph: Graph, name: str, bits: int) -> None:
    quantizer = graph.weights[name]
    quantizer.low, quantizer.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    weight = graph.value(name).detach()
    rows = weight.reshape(1, -1) if quantizer.axis is None else _rows(weight, quantizer.axis)
    graph.set_step(quantizer, _mse_steps(rows, quantizer))


def _rows(weight: Tensor, axis: int) -> Tensor:
    return weight.movedim(axis, 0).flatten(1)


def _mse_steps(rows: Tensor, quantizer: Quantizer, *, tries: int = 100) -> Tensor:
    """For each row the step with the least squared error, of `tries` up to the one that cuts
    nothing off.
    """
    largest = rows.abs().amax(1).clamp(min=1e-8) / quantizer.high
    best, best_error = largest.clone(), torch.full_like(largest, torch.inf)
    for share in torch.linspace(1.0, 0.1, tries):
        step = (largest * share)[:, None]
        levels = (rows / step).round().clamp(quantizer.low, quantizer.high)
        error = (levels * step - rows).square().sum(1)
        best = torch.where(error < best_error, largest * share, best)
        best_error = torch.minimum(error, best_error)
    return best


def _lower_activations(
    graph: Graph, inputs: dict[str, str], bits: int, calibration: Calibration
) -> None:
    """Quantize the inputs of layers, named by their outputs, to fewer bits."""
    wanted = sorted(set(inputs.values()))
    ranges = _find_ranges(graph, wanted, bits, calibration)
    readers = {name: {node.output for node in graph.consumers(name)} for name in wanted}
    for name in wanted:
        low, high = ranges[name]
        step = max((high - low) / (2**bits - 1), 1e-8)
        zero = int(np.clip(round(-low / step), 0, 2**bits - 1))
        quantizer = graph.behind(name)
        layers = [output for output, read in inputs.items() if read == name]
        if quantizer is None or not readers[name] <= set(layers):
            quantizer = graph.quantize_again(name, layers)
        quantizer.low, quantizer.high, quantizer.zero_point = 0, 2**bits - 1, zero
        graph.set_step(quantizer, torch.tensor(step))


def _find_ranges(
    graph: Graph, names: Collection[str], bits: int, calibration: Calibration
) -> dict[str, tuple[float, float]]:
    """Of values, the range with the least squared error, from histograms of fixed width."""
    counts: dict[str, NDArray[np.int64]] = {}
    ends: dict[str, tuple[float, float]] = {}

    def tap(name: str, value: Tensor) -> None:
        if name not in names:
            return
        values = value.float().numpy()
        if name not in ends:  # of the first photos, with room for others
            limit = 2 * float(np.abs(values).max() or 1.0)
            ends[name] = (-limit if values.min() < 0 else 0.0, limit)
            counts[name] = np.zeros(_NUM_BINS, np.int64)
        values = np.clip(values, *ends[name])
        counts[name] += np.histogram(values, _NUM_BINS, range=ends[name])[0]

    graph.tap = tap
    seen = 0
    with torch.no_grad():
        for batch in calibration.batches():
            graph.eval()(torch.from_numpy(batch))
            seen += len(batch)
            if seen >= _NUM_IMAGES:
                break
    graph.tap = None
    edges = {name: np.linspace(*ends[name], _NUM_BINS + 1, dtype=np.float32) for name in counts}
    return {name: mse_range((counts[name], edges[name]), 2**bits) for name in counts}
