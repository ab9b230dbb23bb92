"""Operations of ONNX graphs as functions of torch tensors: those that classifiers are made of.

Attributes and defaults are those of the ONNX operator reference, opset 18 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from pocketlens.core.errors import UserError

#: An operation: its inputs (None where an optional one is left out) and attributes -> output.
Op = Callable[[Sequence[Tensor | None], Mapping[str, Any]], Tensor]


def _given(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _padded(x: Tensor, attrs: Mapping[str, Any], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The input with padding that torch can't do itself, and what is left for torch to pad."""
    if attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UserError(f"an ONNX graph with auto_pad {attrs['auto_pad']} can't be trained")
    pads = list(attrs.get("pads", [0, 0, 0, 0]))
    if len(pads) != 4:
        raise UserError("only networks with two-dimensional convolutions can be trained")
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, [top, left]
    return functional.pad(x, (left, right, top, bottom), value=value), [0, 0]


def _conv(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    x, padding = _padded(_given(inputs[0]), attrs)
    bias = inputs[2] if len(inputs) > 2 else None
    return functional.conv2d(
        x,
        _given(inputs[1]),
        bias,
        stride=attrs.get("strides", [1, 1]),
        padding=padding,
        dilation=attrs.get("dilations", [1, 1]),
        groups=attrs.get("group", 1),
    )


def _gemm(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    a, b = _given(inputs[0]), _given(inputs[1])
    a = a.t() if attrs.get("transA", 0) else a
    b = b.t() if attrs.get("transB", 0) else b
    out: Tensor = attrs.get("alpha", 1.0) * (a @ b)
    bias = inputs[2] if len(inputs) > 2 else None
    return out if bias is None else out + attrs.get("beta", 1.0) * bias


def _max_pool(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    x, padding = _padded(_given(inputs[0]), attrs, float("-inf"))
    return functional.max_pool2d(
        x,
        attrs["kernel_shape"],
        stride=attrs.get("strides", [1, 1]),
        padding=padding,
        dilation=attrs.get("dilations", [1, 1]),
        ceil_mode=bool(attrs.get("ceil_mode", 0)),
    )


def _average_pool(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    pads = attrs.get("pads", [0, 0, 0, 0])
    odd = attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if odd or set(attrs.get("dilations", [1])) != {1}:
        raise UserError(
            "a network whose average pooling dilates or pads by itself can't be trained"
        )
    if list(pads[:2]) != list(pads[2:]):
        raise UserError("a network whose average pooling pads unevenly can't be trained")
    return functional.avg_pool2d(
        _given(inputs[0]),
        attrs["kernel_shape"],
        stride=attrs.get("strides", [1, 1]),
        padding=list(pads[:2]),
        ceil_mode=bool(attrs.get("ceil_mode", 0)),
        count_include_pad=bool(attrs.get("count_include_pad", 0)),
    )


def _reduce_mean(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    axes = inputs[1] if len(inputs) > 1 else None
    named = attrs.get("axes") if axes is None else axes.tolist()
    x = _given(inputs[0])
    return x.mean(named or tuple(range(x.ndim)), keepdim=bool(attrs.get("keepdims", 1)))


def _reshape(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    x = _given(inputs[0])
    shape = _given(inputs[1]).tolist()
    if not attrs.get("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


def _clip(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    low, high = (inputs[i] if len(inputs) > i else None for i in (1, 2))
    return _given(inputs[0]).clamp(
        None if low is None else low.item(), None if high is None else high.item()
    )


def _layer_norm(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    x = _given(inputs[0])
    shape = x.shape[attrs.get("axis", -1) :]
    bias = inputs[2] if len(inputs) > 2 else None
    return functional.layer_norm(x, shape, inputs[1], bias, attrs.get("epsilon", 1e-5))


def _hard_sigmoid(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    x: Tensor = attrs.get("alpha", 0.2) * _given(inputs[0]) + attrs.get("beta", 0.5)
    return x.clamp(0.0, 1.0)


def _flatten(inputs: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> Tensor:
    x, axis = _given(inputs[0]), attrs.get("axis", 1)
    return x.flatten(axis) if axis == 1 else x.reshape(x.shape[:axis].numel(), -1)


def _unary(function: Callable[[Tensor], Tensor]) -> Op:
    return lambda inputs, attrs: function(_given(inputs[0]))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    return lambda inputs, attrs: function(_given(inputs[0]), _given(inputs[1]))


#: By `op_type`.
OPS: Final[dict[str, Op]] = {
    "Add": _binary(torch.add),
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Concat": lambda inputs, attrs: torch.cat([_given(x) for x in inputs], attrs["axis"]),
    "Conv": _conv,
    "Div": _binary(torch.div),
    "Flatten": _flatten,
    "Gelu": lambda inputs, attrs: functional.gelu(
        _given(inputs[0]), approximate=attrs.get("approximate", "none")
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": _unary(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary(functional.hardswish),
    "Identity": _unary(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda inputs, attrs: functional.leaky_relu(
        _given(inputs[0]), attrs.get("alpha", 0.01)
    ),
    "MatMul": _binary(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _binary(torch.mul),
    "ReduceMean": _reduce_mean,
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _unary(torch.sigmoid),
    "Softmax": lambda inputs, attrs: _given(inputs[0]).softmax(attrs.get("axis", -1)),
    "Sub": _binary(torch.sub),
    "Tanh": _unary(torch.tanh),
    "Transpose": lambda inputs, attrs: _given(inputs[0]).permute(
        attrs.get("perm", list(range(_given(inputs[0]).ndim))[::-1])
    ),
}
