"""Small ONNX files made by hand: networks whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketlens.core.bundle import Bundle, Lineage, Manifest, write_bundle
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.split import Split

#: How photos become the input of these networks, as `import --preprocess` reads it.
PREPROCESS = """size: 16
resize: stretch
interpolation: bilinear
mean: [0.0, 0.0, 0.0]
std: [1.0, 1.0, 1.0]
"""


def mean_network(
    num_classes: int, *, bias: float = 0.0, batch: int | str = "batch"
) -> onnx.ModelProto:
    """logits_k = (k + 1) * mean of the input + bias."""
    weight = np.outer(np.ones(3), np.arange(1, num_classes + 1)).astype(np.float32) / 3
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"], "pool"),
            helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], "head"),
        ],
        "mean",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, num_classes])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.full(num_classes, bias, np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def fake_imported(out: Path, classes: Sequence[str], *, bias: float = 0.0) -> Bundle:
    """An imported ONNX bundle without a split."""
    manifest = Manifest(
        task="single_label",
        classes=tuple(classes),
        preprocess=Preprocess(16, 16, resize="stretch", mean=(0.0,) * 3, std=(1.0,) * 3),
        runtime="onnx",
        precision="float32",
        model={"family": "onnx", "name": "mean", "config": {}},
        lineage=Lineage(method="import"),
        metrics={"metric": "accuracy"},
    )
    content = mean_network(len(classes), bias=bias).SerializeToString()
    return write_bundle(out, manifest, {"model.onnx": content})


#: Which colour a made-up photo's shape has, as weights of the mean red, green and blue.
COLOURS: Mapping[str, tuple[float, float, float]] = {
    "bars": (-1, -1, 2), "disc": (2, -1, -1), "square": (-1, 2, -1),
}  # fmt: skip


def colour_network(weight_3K: NDArray[np.float32], bias_K: NDArray[np.float32]) -> bytes:
    """logits = mean colour @ weight + bias."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"], "pool"),
            helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], "head"),
        ],
        "colour",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(bias_K)])],
        [
            numpy_helper.from_array(weight_3K.astype(np.float32), "weight"),
            numpy_helper.from_array(bias_K.astype(np.float32), "bias"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def colour_bundle(
    out: Path,
    classes: Sequence[str] = tuple(COLOURS),
    *,
    blind: Sequence[str] = (),
    split: Split | None = None,
    task: str = "single_label",
    config: Mapping[str, object] | None = None,
) -> Bundle:
    """A model that tells the shapes of `make_photos` by their colour.

    Args:
        classes: those that are no shape are never answered.
        blind: shapes that it never answers either.
        config: of the training that it claims to come from.
    """
    known = [name in COLOURS and name not in blind for name in classes]
    weight = np.array([COLOURS.get(name, (0, 0, 0)) for name in classes], np.float32).T * 20
    multi = task == "multi_label"
    manifest = Manifest(
        task=task,  # type: ignore[arg-type]
        classes=tuple(classes),
        preprocess=Preprocess(32, 32, resize="stretch", mean=(0.0,) * 3, std=(1.0,) * 3),
        runtime="onnx",
        precision="float32",
        model={"family": "onnx", "name": "colour", "config": {}, "params": 4 * len(classes)},
        lineage=Lineage(method="train", config=config or {}),
        metrics={"metric": "map" if multi else "accuracy"},
        thresholds=dict.fromkeys(classes, 0.5) if multi else None,
    )
    bias = np.where(known, 0.0, -100.0)
    return write_bundle(out, manifest, {"model.onnx": colour_network(weight, bias)}, split=split)
