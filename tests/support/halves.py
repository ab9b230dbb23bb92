"""Networks that look at one half of the photo only, so that it is known where a map must lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketlens.core.bundle import Bundle, Lineage, Manifest, write_bundle
from pocketlens.core.preprocess import Preprocess

SIDE = 32
CLASSES = ("dark", "bright")
#: What is seen where: the left half counts, the right half is multiplied by nothing.
MASK = np.concatenate([np.ones((4, 2)), np.zeros((4, 2))], axis=1).astype(np.float32)


def manifest(runtime: str, task: str = "single_label", **changes: Any) -> Manifest:
    values = {
        "task": task,
        "classes": CLASSES,
        "preprocess": Preprocess(SIDE, SIDE, "stretch", mean=(0.5,) * 3, std=(0.5,) * 3),
        "runtime": runtime,
        "precision": "float32",
        "model": {"family": "halves", "name": "halves"},
        "lineage": Lineage(method="train"),
        **changes,
    }
    return Manifest(**values)


def torch_bundle(out: Path, task: str = "single_label") -> Bundle:
    """Of a family that isn't there: the test puts `network` in its place."""
    return write_bundle(out, manifest("torch", task), {"model.safetensors": b""})


def network() -> Any:
    """The mean brightness of cells of 8x8 pixels, of which the left ones count."""
    import torch
    from torch import nn

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.Conv2d(3, 2, 8, 8)
            self.act = nn.ReLU()
            self.mask = Mask()
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.pool(self.mask(self.act(self.cells(x)))).flatten(1))

    class Mask(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * torch.from_numpy(MASK)

    made = Half().eval()
    with torch.no_grad():
        made.cells.weight.fill_(1 / 192)
        made.cells.weight[1] *= 0.5
        made.cells.bias.fill_(1.0)
        made.head.weight.copy_(torch.tensor([[-1.0, -1.0], [8.0, 4.0]]))
        made.head.bias.zero_()
    return made


def onnx_model(
    *, quantized: bool = False, qdq: bool = False, tokens: bool = False
) -> onnx.ModelProto:
    """The same as `network`; quantized: with integer pooling; qdq: quantized and back before it."""
    half = network().state_dict()
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["cells"], strides=[8, 8]),
        helper.make_node("Relu", ["cells"], ["active"]),
        helper.make_node("Mul", ["active", "mask"], ["seen"]),
    ]
    last = "seen"
    if quantized:
        nodes += [
            helper.make_node("QuantizeLinear", ["seen", "scale", "zero"], ["seen_q"]),
            helper.make_node(
                "QLinearGlobalAveragePool",
                ["seen_q", "scale", "zero", "scale", "zero"],
                ["pooled_q"],
                domain="com.microsoft",
                channels_last=0,
            ),
            helper.make_node("DequantizeLinear", ["pooled_q", "scale", "zero"], ["pooled"]),
        ]
    elif qdq:
        nodes += [
            helper.make_node("QuantizeLinear", ["seen", "scale", "zero"], ["seen_q"]),
            helper.make_node("DequantizeLinear", ["seen_q", "scale", "zero"], ["seen_f"]),
            helper.make_node("GlobalAveragePool", ["seen_f"], ["pooled"]),
        ]
    elif tokens:
        nodes += [
            helper.make_node("Reshape", ["seen", "shape"], ["tokens"]),
            helper.make_node("ReduceMean", ["tokens", "axis"], ["pooled"], keepdims=1),
        ]
    else:
        nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes += [
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "hw", "hb"], ["logits"], transB=1),
    ]
    values = {
        "w": half["cells.weight"].numpy(), "b": half["cells.bias"].numpy(), "mask": MASK,
        "hw": half["head.weight"].numpy(), "hb": half["head.bias"].numpy(),
        "scale": np.float32(0.02), "zero": np.uint8(100),
        "shape": np.array([0, 2, 16], np.int64), "axis": np.array([2], np.int64),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "halves",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items() if k in used],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def onnx_bundle(out: Path, runtime: str = "onnx", **kind: bool) -> Bundle:
    content = onnx_model(**kind).SerializeToString()
    precision = "int8" if kind.get("quantized") or kind.get("qdq") else "float32"
    return write_bundle(out, manifest(runtime, precision=precision), {"model.onnx": content})


def photo(path: Path, *, size: tuple[int, int] = (64, 64)) -> Path:
    """Bright noise all over."""
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(150, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path
