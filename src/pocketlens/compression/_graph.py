"""A quantized ONNX graph as a torch module that can be trained: what learns is what is shipped.

Training a network with made-up quantization and converting it afterwards leaves two networks that
may disagree. Here the quantized file itself is run in torch: each pair of QuantizeLinear and
DequantizeLinear is a fake quantization whose step can learn, integer weights are replaced by the
float ones they came from, and what was learnt is written back into the same file.

Esser et al. (2020), "Learned Step Size Quantization": the gradient of a step is scaled by
1 / sqrt(N * Q_p), where N is the number of weights, or of features of one photo, and Q_p the
largest level; values beyond the range pass no gradient on. torch's own operator does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketlens.compression._graph_ops import OPS
from pocketlens.compression._quantizer import Quantizer, dequantized, plain, quantizer_of
from pocketlens.core.errors import UserError

#: A step is exp(this * parameter): it stays positive, and an optimiser that moves all parameters by
#: alike amounts (Adam) moves it by a share of itself, however small it is.
_STEP_RATE: Final = 5.0
_SMALLEST_STEP: Final = 1e-8
_NO_STEP: Final = 1e-12
#: Before, limits of Clip and axes of ReduceMean were written otherwise.
_OLDEST_OPSET: Final = 13


@dataclass(frozen=True)
class Node:
    """One operation: the names it reads and the one it gives; `done` are read for the last time."""

    op_type: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any]
    done: tuple[str, ...] = ()


class Graph(nn.Module):
    """Input NCHW -> logits NK of a graph with quantization nodes.

    Args:
        model: an ONNX model with QuantizeLinear and DequantizeLinear nodes (QDQ).
        floats: the values its integer initializers came from, by the name of the float
            initializer; where one is missing, the integers' own values are taken.

    Attributes:
        activations: name of what a QuantizeLinear gives -> its quantizer.
        weights: name of the integer initializer -> its quantizer.
        biases: names of the initializers of 32-bit biases.
        tap: is called with the name and value of each tensor that a quantizer is about to take,
            and of each node's output.
    """

    def __init__(self, model: Any, floats: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        from onnx import numpy_helper

        opset = max(
            (o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0
        )
        if opset < _OLDEST_OPSET:
            raise UserError(
                f"the ONNX file is of operator set {opset}; {_OLDEST_OPSET} or newer is needed "
                "here: export it again, or use onnx-static"
            )
        self.model = model
        graph = model.graph
        self._input, self._output = graph.input[0].name, graph.output[0].name
        values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.activations: dict[str, Quantizer] = {}
        self.weights: dict[str, Quantizer] = {}
        self.biases: list[str] = []
        self.tap: Callable[[str, Tensor], None] | None = None
        self._keys: dict[str, str] = {}
        self._steps: set[str] = set()
        self.learnt = nn.ParameterDict()
        self._nodes: list[Node] = []
        for node in graph.node:
            self._add(node, values, floats)
        self._forget_when_done()

    def _add(
        self, node: Any, values: Mapping[str, NDArray[Any]], floats: Mapping[str, NDArray[Any]]
    ) -> None:
        from onnx import helper

        attrs = {a.name: plain(helper.get_attribute_value(a)) for a in node.attribute}
        inputs = list(node.input)
        if node.op_type == "QuantizeLinear":
            self._learn_step(inputs[1], values[inputs[1]])
            self.activations[node.output[0]] = quantizer_of(inputs, values, None)
        elif node.op_type == "DequantizeLinear" and inputs[0] in values:
            whole = values[inputs[0]]
            step = values[inputs[1]]
            float_name = inputs[0].removesuffix("_quantized")
            axis = attrs.get("axis", 1) if step.ndim and step.size > 1 else None
            start = floats.get(float_name)
            if start is None:
                start = dequantized(whole, step, axis)
            if whole.dtype == np.int32:
                self.biases.append(inputs[0])
            else:
                self._learn_step(inputs[1], step)
                self.weights[inputs[0]] = quantizer_of(inputs, values, axis)
            self._learn(inputs[0], start)
        elif node.op_type != "DequantizeLinear":
            if node.op_type not in OPS:
                raise UserError(
                    f"the network has the operation {node.op_type}, which can't be trained in its "
                    "quantized form; use onnx-static or nncf"
                )
            for name in filter(None, inputs):
                if name in values and name not in self._keys:
                    self._hold(name, values[name], node.op_type)
        self._nodes.append(Node(node.op_type, tuple(inputs), node.output[0], attrs))

    def _learn(self, name: str, value: NDArray[Any]) -> None:
        """A float initializer becomes a parameter."""
        if name not in self._keys:
            self._keys[name] = key = f"p{len(self._keys)}"
            self.learnt[key] = nn.Parameter(torch.from_numpy(np.array(value, dtype=np.float32)))

    def _learn_step(self, name: str, value: NDArray[Any]) -> None:
        self._learn(name, np.log(np.maximum(value, _SMALLEST_STEP)) / _STEP_RATE)
        self._steps.add(name)

    def step(self, quantizer: Quantizer) -> Tensor:
        """The distance of two levels: one, or one a channel."""
        return self._step(quantizer.step)

    def _step(self, name: str) -> Tensor:
        # Positive whatever was learnt: it is divided by.
        return (self.value(name) * _STEP_RATE).exp().clamp(min=_NO_STEP)

    def set_step(self, quantizer: Quantizer, value: Tensor) -> None:
        """Another distance of two levels."""
        parameter = self.value(quantizer.step)
        with torch.no_grad():
            parameter.copy_(value.clamp(min=_SMALLEST_STEP).log().reshape(parameter.shape))
            parameter.div_(_STEP_RATE)

    def steps(self) -> dict[str, NDArray[np.float32]]:
        """All steps, by the names of their initializers."""
        found = {name: self._step(name) for name in self._steps}
        return {name: value.detach().cpu().numpy() for name, value in found.items()}

    def floats(self) -> dict[str, NDArray[np.float32]]:
        """What float initializers of the file have become: steps, and weights of float layers."""
        whole = {*self.weights, *self.biases, *self._steps}
        names = [name for name, key in self._keys.items() if key in self.learnt]
        learnt = {n: self.value(n).detach().cpu().numpy() for n in names if n not in whole}
        return {**learnt, **self.steps()}

    def _hold(self, name: str, value: NDArray[Any], op_type: str) -> None:
        """An initializer that no quantizer takes: float weights learn, the rest is constant."""
        if value.dtype == np.float32 and op_type in ("Conv", "Gemm", "MatMul"):
            self._learn(name, value)
            return
        self._keys[name] = key = f"c{len(self._keys)}"
        self.register_buffer(key, torch.from_numpy(np.array(value)), persistent=False)

    def _forget_when_done(self) -> None:
        """Note after which node each value is needed no more."""
        last: dict[str, int] = {}
        for i, node in enumerate(self._nodes):
            last |= {name: i for name in node.inputs if name not in self._keys}
        for i, node in enumerate(self._nodes):
            done = tuple(name for name, where in last.items() if where == i)
            self._nodes[i] = replace(node, done=done)

    def value(self, name: str) -> Tensor:
        """The parameter or constant of an initializer."""
        key = self._keys[name]
        found: Tensor = self.learnt[key] if key in self.learnt else self.get_buffer(key)
        return found

    def consumers(self, name: str) -> list[Node]:
        """Nodes that read a value."""
        return [node for node in self._nodes if name in node.inputs]

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in order."""
        return self._nodes

    def behind(self, name: str) -> Quantizer | None:
        """The quantizer whose (dequantized) output a value is."""
        node = next((node for node in self._nodes if node.output == name), None)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        return self.activations.get(node.inputs[0])

    def quantize_again(self, name: str, layers: Sequence[str]) -> Quantizer:
        """Put another quantization before these readers of a value, named by their outputs."""
        import onnx

        step, zero, levels, given = (f"{name}_{what}" for what in ("step", "zero", "low", "again"))
        graph = self.model.graph
        for key, value in ((step, np.array(1.0, np.float32)), (zero, np.array(0, np.uint8))):
            graph.initializer.append(onnx.numpy_helper.from_array(value, key))
        made = [
            onnx.helper.make_node("QuantizeLinear", [name, step, zero], [levels]),
            onnx.helper.make_node("DequantizeLinear", [levels, step, zero], [given]),
        ]
        place = min(i for i, node in enumerate(graph.node) if node.output[0] in layers)
        nodes = list(graph.node)
        for node in nodes:
            if node.output[0] in layers:
                node.input[0] = given
        del graph.node[:]
        graph.node.extend([*nodes[:place], *made, *nodes[place:]])
        self._learn_step(step, np.array(1.0))
        self.activations[levels] = Quantizer(step, 0, 255, 0)
        self._nodes = [
            replace(node, inputs=(given, *node.inputs[1:])) if node.output in layers else node
            for node in self._nodes
        ]
        self._nodes[place:place] = [
            Node("QuantizeLinear", (name, step, zero), levels, {}),
            Node("DequantizeLinear", (levels, step, zero), given, {}),
        ]
        self._forget_when_done()
        return self.activations[levels]

    def layers(self) -> list[Node]:
        """Nodes with weights, in order."""
        return [node for node in self._nodes if node.op_type in ("Conv", "Gemm", "MatMul")]

    def at(
        self,
        input_NCHW: Tensor,
        names: Sequence[str],
        reduce: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> dict[str, Tensor]:
        """Values on the way to the logits; nothing is run beyond the last of them."""
        found: dict[str, Tensor] = {}
        values: dict[str, Tensor] = {self._input: input_NCHW}
        for node in self._nodes:
            values[node.output] = self._run(node, values)
            found |= {name: reduce(values[name]) for name in names if name == node.output}
            if len(found) == len(set(names) - {self._input}):
                break
            for name in node.done:
                values.pop(name, None)
        if self._input in names:
            found[self._input] = reduce(input_NCHW)
        return found

    def run_layer(self, node: Node, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One layer alone, with other weights."""
        rest = [] if bias is None else [bias]
        return OPS[node.op_type]([given, weight, *rest], node.attrs)

    def forward(self, input_NCHW: Tensor) -> Tensor:
        """Logits NK."""
        values: dict[str, Tensor] = {self._input: input_NCHW}
        for node in self._nodes:
            values[node.output] = self._run(node, values)
            if self.tap is not None:
                self.tap(node.output, values[node.output])
            for name in node.done:
                values.pop(name, None)
        return values[self._output]

    def _run(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        first = node.inputs[0]
        if node.op_type == "QuantizeLinear":
            quantizer = self.activations[node.output]
            return quantizer(self._of(first, values), self.step(quantizer))
        if node.op_type == "DequantizeLinear":
            if first in self.weights:
                quantizer = self.weights[first]
                return quantizer(self.value(first), self.step(quantizer))
            return self._of(first, values)
        inputs = [self._of(name, values) if name else None for name in node.inputs]
        return OPS[node.op_type](inputs, node.attrs)

    def _of(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        return values[name] if name in values else self.value(name)

    def quantize(self, *, on: bool) -> None:
        """Turn all quantizers on or off."""
        for quantizer in (*self.activations.values(), *self.weights.values()):
            quantizer.on = on
