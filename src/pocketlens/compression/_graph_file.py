"""What a quantized graph has learnt, written back into the ONNX file it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pocketlens.compression._graph import Graph
from pocketlens.compression._quantizer import Quantizer

#: Of the type of fewer bits than 8: the operator set that brought it, and its file version.
_SINCE: Final = {"INT4": (21, 10)}
#: In its steps; half of what 32 bits hold, since rounding comes after.
_LARGEST_BIAS: Final = 2**30


def to_model(graph: Graph) -> Any:
    """The ONNX model with the weights and steps of a graph, in the fewest bits that hold them."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    _make_room_for_biases(graph, model)
    made = {tensor.name: tensor for tensor in model.graph.initializer}
    zeros = _zero_points(model)
    needed: set[str] = set()

    def put(name: str, kind: str, values: NDArray[Any], like: Any) -> None:
        needed.add(kind)
        # As bytes: a list of numbers takes up to ten bytes for each negative one.
        typed = values.reshape(like).astype(_numpy_type(kind))
        made[name].CopyFrom(onnx.numpy_helper.from_array(typed, name))

    for name, value in graph.floats().items():
        if name in made:
            made[name].CopyFrom(onnx.numpy_helper.from_array(value, name))
    for name, quantizer in graph.weights.items():
        kind, levels = _type(quantizer), integers(graph, name)
        shape = list(made[name].dims)
        put(name, kind, levels, shape)
        if zero := zeros.get(name):
            put(zero, kind, np.zeros(made[zero].dims, np.int64), list(made[zero].dims))
    for name, quantizer in graph.activations.items():
        zero = zeros[name]
        kind = "INT8" if quantizer.low < 0 else "UINT8"
        put(zero, kind, np.array(quantizer.zero_point), list(made[zero].dims))
    for name, (scale_name, scale) in _bias_scales(graph, model).items():
        bias = graph.value(name).detach().cpu().numpy().astype(np.float64)
        limit = 2**31 - 1
        levels = np.clip(np.round(bias / scale), -limit, limit).astype(np.int32)
        made[name].CopyFrom(onnx.numpy_helper.from_array(levels, name))
        shaped = scale.astype(np.float32).reshape(made[scale_name].dims)
        made[scale_name].CopyFrom(onnx.numpy_helper.from_array(shaped, scale_name))
    _clip_to_fewer(graph, model)
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
    step = graph.step(quantizer).detach()
    shape = [1] * weight.ndim
    if quantizer.axis is not None:
        shape[quantizer.axis] = -1
    # As torch's own operator: times the inverse, in float32.
    levels = torch.round(weight * (1.0 / step.reshape(shape))).clamp(quantizer.low, quantizer.high)
    found: NDArray[np.int64] = levels.to(torch.int64).numpy()
    return found


def _type(quantizer: Quantizer) -> str:
    """The narrowest ONNX type that holds the levels of weights."""
    # 2 bits have a type too, but ONNX Runtime 1.31 fuses it into a layer that doesn't take it.
    return "INT4" if quantizer.high < 8 else "INT8"


def _numpy_type(kind: str) -> Any:
    if kind == "INT4":
        import ml_dtypes

        return ml_dtypes.int4
    return np.dtype(kind.lower())


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
    steps = graph.steps()
    return {
        bias: (scale, steps[given].astype(np.float64) * steps[weight].astype(np.float64))
        for bias, scale, given, weight in _biases(graph, model)
    }


def _make_room_for_biases(graph: Graph, model: Any) -> None:
    """Widen the steps of weights of which a bias, in steps of input times weights, fits no 32 bits.

    Such are channels that training has turned off: of weights near zero and a bias that is not.
    """
    steps, quantizers = graph.steps(), {q.step: q for q in graph.weights.values()}
    for bias, _, given, weight in _biases(graph, model):
        largest = np.abs(graph.value(bias).detach().cpu().numpy().astype(np.float64))
        least = largest / (_LARGEST_BIAS * float(steps[given]))
        if (least > steps[weight]).any():
            wide = np.maximum(least, steps[weight]) if steps[weight].size > 1 else least.max()
            graph.set_step(quantizers[weight], torch.tensor(wide, dtype=torch.float32))


def _biases(graph: Graph, model: Any) -> Iterator[tuple[str, str, str, str]]:
    """Names of each 32-bit bias and of the steps of itself, of the input and of the weights."""
    made_by = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        given, weight, bias = (made_by.get(name) for name in node.input)
        if bias is None or bias.op_type != "DequantizeLinear" or bias.input[0] not in graph.biases:
            continue
        assert given is not None, "a quantized bias belongs to a quantized layer"
        assert weight is not None, "a quantized bias belongs to a quantized layer"
        yield bias.input[0], bias.input[1], given.input[1], weight.input[1]


def _clip_to_fewer(graph: Graph, model: Any) -> None:
    """Cut activations off at their lowest and highest level where these are fewer than 256.

    They are stored nowhere, so nothing is gained by a narrower type, which ONNX Runtime's own
    rewriting of quantized graphs stumbles over.
    """
    import onnx

    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        quantizer = graph.activations.get(node.output[0])
        if quantizer is not None and quantizer.high - quantizer.low < 255:
            step = graph.step(quantizer).item()
            ends = []
            for which, level in (("low", quantizer.low), ("high", quantizer.high)):
                value = np.array((level - quantizer.zero_point) * step, np.float32)
                ends.append(f"{node.output[0]}_{which}")
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, ends[-1]))
            clipped = f"{node.output[0]}_clipped"
            model.graph.node.append(
                onnx.helper.make_node("Clip", [node.input[0], *ends], [clipped])
            )
            node.input[0] = clipped
        model.graph.node.append(node)
