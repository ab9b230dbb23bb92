"""What a quantized graph has learnt, written back into the ONNX file it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pocketlens.compression._graph import Graph, Quantizer

#: Of the types of fewer bits than 8: the operator set that brought them, and its file version.
_SINCE: Final = {"INT4": (21, 10), "UINT4": (21, 10), "INT2": (25, 13), "UINT2": (25, 13)}


def to_model(graph: Graph) -> Any:
    """The ONNX model with the weights and steps of a graph, in the fewest bits that hold them."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    made = {tensor.name: tensor for tensor in model.graph.initializer}
    zeros = _zero_points(model)
    needed: set[str] = set()

    def put(name: str, kind: str, values: NDArray[Any], like: Any) -> None:
        needed.add(kind)
        made[name].CopyFrom(
            onnx.helper.make_tensor(
                name, getattr(onnx.TensorProto, kind), like, values.flatten().tolist()
            )
        )

    for name in graph._keys:
        if name in made and made[name].data_type == onnx.TensorProto.FLOAT:
            value = graph.value(name).detach().cpu().numpy()
            made[name].CopyFrom(onnx.numpy_helper.from_array(value, name))
    for name, quantizer in graph.weights.items():
        kind, levels = _type(quantizer), integers(graph, name)
        shape = list(made[name].dims)
        put(name, kind, levels, shape)
        if zero := zeros.get(name):
            put(zero, kind, np.zeros(made[zero].dims, np.int64), list(made[zero].dims))
    for name, quantizer in graph.activations.items():
        zero = zeros[name]
        put(zero, _type(quantizer), np.array(quantizer.zero_point), list(made[zero].dims))
    for name, (scale_name, scale) in _bias_scales(graph, model).items():
        bias = graph.value(name).detach().cpu().numpy().astype(np.float64)
        limit = 2**31 - 1
        levels = np.clip(np.round(bias / scale), -limit, limit).astype(np.int32)
        made[name].CopyFrom(onnx.numpy_helper.from_array(levels, name))
        shaped = scale.astype(np.float32).reshape(made[scale_name].dims)
        made[scale_name].CopyFrom(onnx.numpy_helper.from_array(shaped, scale_name))
    _clip_odd(graph, model)
    for kind in needed & _SINCE.keys():
        opset, version = _SINCE[kind]
        default = next(o for o in model.opset_import if o.domain in ("", "ai.onnx"))
        default.version = max(default.version, opset)
        model.ir_version = max(model.ir_version, version)
    return model


def integers(graph: Graph, name: str) -> NDArray[np.int64]:
    """The levels of a layer's weights."""
    quantizer = graph.weights[name]
    weight = graph.value(name).detach()
    step = graph.value(quantizer.step).detach()
    shape = [1] * weight.ndim
    if quantizer.axis is not None:
        shape[quantizer.axis] = -1
    # As torch's own operator: times the inverse, in float32.
    levels = torch.round(weight * (1.0 / step.reshape(shape))).clamp(quantizer.low, quantizer.high)
    found: NDArray[np.int64] = levels.to(torch.int64).numpy()
    return found


def _type(quantizer: Quantizer) -> str:
    """The narrowest ONNX type that holds the levels."""
    signed = quantizer.low < 0
    for bits in (2, 4, 8):
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        if low <= quantizer.low and quantizer.high <= high:
            return f"{'' if signed else 'U'}INT{bits}"
    raise AssertionError("levels beyond 8 bits")


def _zero_points(model: Any) -> dict[str, str]:
    """Name of the weights, or of what a QuantizeLinear gives, -> name of its zero point."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and len(node.input) > 2:
            found[node.output[0]] = node.input[2]
        elif node.op_type == "DequantizeLinear" and len(node.input) > 2:
            found[node.input[0]] = node.input[2]
    return found


def _bias_scales(graph: Graph, model: Any) -> dict[str, tuple[str, NDArray[np.float64]]]:
    """Name of a 32-bit bias -> its scale's name and value: the input's step times the weights'."""
    made_by = {node.output[0]: node for node in model.graph.node}
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        given, weight, bias = (made_by.get(name) for name in node.input)
        if bias is None or bias.op_type != "DequantizeLinear" or bias.input[0] not in graph.biases:
            continue
        assert given is not None, "a quantized bias belongs to a quantized layer"
        assert weight is not None, "a quantized bias belongs to a quantized layer"
        steps = [
            graph.value(part.input[1]).detach().cpu().numpy().astype(np.float64)
            for part in (given, weight)
        ]
        found[bias.input[0]] = (bias.input[1], steps[0] * steps[1])
    return found


def _clip_odd(graph: Graph, model: Any) -> None:
    """Where the levels are fewer than their type has (3 bits), what is beyond them is cut off."""
    import onnx

    limits: Mapping[str, tuple[int, int]] = {"UINT4": (0, 15), "UINT8": (0, 255)}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        quantizer = graph.activations.get(node.output[0])
        if quantizer is not None and (quantizer.low, quantizer.high) != limits.get(
            _type(quantizer), (quantizer.low, quantizer.high)
        ):
            step = float(graph.value(quantizer.step))
            tensor = node.input[0]
            for which, level in (("low", quantizer.low), ("high", quantizer.high)):
                value = np.array((level - quantizer.zero_point) * step, np.float32)
                name = f"{node.output[0]}_{which}"
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
            clipped = f"{node.output[0]}_clipped"
            ends = [f"{node.output[0]}_low", f"{node.output[0]}_high"]
            model.graph.node.append(onnx.helper.make_node("Clip", [tensor, *ends], [clipped]))
            node.input[0] = clipped
        model.graph.node.append(node)
