"""Other people's ONNX files: nodes without names, a fixed batch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import pocketlens as pl
from pocketlens.compression import lsq
from pocketlens.compression._onnx import load_model, session_of
from pocketlens.compression._step import Calibration
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from support.fake import PREPROCESS

METHODS: dict[str, dict[str, Any]] = {
    "onnx-static": {},
    "onnx-dynamic": {},
    "bias-correction": {},
    "adaround": {"iterations": 5},
    "equalize": {},
    "nncf": {},
}


def network(*, batch: int | str = "N", layers: int = 3) -> onnx.ModelProto:
    """So many convolutions with ReLU, the mean, a classifier; no node has a name."""
    rng = np.random.default_rng(0)
    nodes, weights, value, width = [], [], "input", 3
    for i in range(layers):
        kernel = rng.normal(size=(16, width, 3, 3)).astype(np.float32) / width
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        value, width = f"r{i}", 16
    head = rng.normal(size=(3, 16)).astype(np.float32)
    weights.append(numpy_helper.from_array(head, "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "head"], ["logits"], transB=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def imported(folder: Path, model: onnx.ModelProto) -> Bundle:
    onnx.save(model, folder / "net.onnx")
    (folder / "pre.yaml").write_text(PREPROCESS)
    (folder / "names.txt").write_text("bars\ndisc\nsquare\n")
    names = {"preprocess": folder / "pre.yaml", "class_names": folder / "names.txt"}
    return pl.import_model(str(folder / "net.onnx"), out=folder / "bundle", **names)


def operators(bundle: Bundle) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(bundle.file("model.onnx"))).graph.node)


def test_layers_are_told_apart_without_names(photos: Path, tmp_path: Path) -> None:
    model = imported(tmp_path, network())
    loaded = load_model(model.file("model.onnx"))
    assert len({node.name for node in loaded.graph.node}) == len(loaded.graph.node)
    made = pl.compress(model, method="onnx-static", out=tmp_path / "a", calibration=photos)
    assert operators(made)["DequantizeLinear"] >= 3, "all but the first convolution"
    named = tmp_path / "named"
    named.mkdir()
    proto = network()
    for i, node in enumerate(proto.graph.node):
        node.name = f"node{i}"
    other = pl.compress(
        imported(named, proto), method="onnx-static", out=named / "a", calibration=photos
    )
    assert operators(made) == operators(other)


def test_nothing_to_quantize_is_not_called_int8(photos: Path, tmp_path: Path) -> None:
    model = imported(tmp_path, network(layers=1))
    with pytest.raises(UserError, match="no layer of this network can be quantized"):
        pl.compress(
            model,
            method="onnx-static",
            out=tmp_path / "a",
            calibration=photos,
            float_layers=("head",),
        )
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_file_for_one_photo_at_a_time(method: str, photos: Path, tmp_path: Path) -> None:
    made = []
    for batch in ("N", 1):
        folder = tmp_path / str(batch)
        folder.mkdir()
        given = {} if method in ("onnx-dynamic", "equalize") else {"calibration": photos}
        model = imported(folder, network(batch=batch))
        made.append(pl.compress(model, method=method, out=folder / "a", **given, **METHODS[method]))
    assert operators(made[0]) == operators(made[1])
    noise = np.random.default_rng(1).normal(size=(5, 3, 16, 16)).astype(np.float32)
    with pl.load(made[0]) as free, pl.load(made[1]) as fixed:
        expected = free.logits(noise)
        # Sums over eight photos at a time are rounded otherwise than over one.
        np.testing.assert_allclose(fixed.logits(noise), expected, atol=0.1 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("method", "options"),
    [("lsq", {"epochs": 1}), ("mixed", {"max_drop": 100.0, "time_layers": False})],
)
def test_a_trained_network_exported_for_one_photo(
    method: str, options: dict[str, Any], tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    fixed = pl.export(tiny, runtime="onnx", batch=1, out=tmp_path / "fixed")
    made = pl.compress(fixed, method=method, out=tmp_path / "a", data=photos, **options)
    assert operators(made)["DequantizeLinear"] > 0
    assert pl.evaluate(made, photos).score > 0


@pytest.mark.parametrize("bits", [8, 4])
def test_biases_of_dead_channels_are_not_cut_off(bits: int, tmp_path: Path) -> None:
    model = network()
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            weight = numpy_helper.to_array(tensor).copy()
            weight[:4] = 1e-9
            tensor.CopyFrom(numpy_helper.from_array(weight, "w1"))
    bias = np.zeros(16, np.float32)
    bias[:4] = 3.0
    model.graph.initializer.append(numpy_helper.from_array(bias, "b1"))
    next(node for node in model.graph.node if "w1" in node.input).input.append("b1")
    given = imported(tmp_path, model)
    noise = np.random.default_rng(0).normal(size=(32, 3, 16, 16)).astype(np.float32)
    calibration = Calibration(lambda: iter(np.split(noise, 4)), 32, "noise", given.split)
    config = lsq.Config(bits=bits, activation_bits=8, first_and_last="same")
    context = SimpleNamespace(cpu_flags=("avx512_vnni",))
    graph, _ = lsq.start_graph(given, config, context, calibration, tmp_path)
    with torch.inference_mode():
        trained = graph.eval()(torch.from_numpy(noise)).numpy()
    found = session_of(lsq._written(graph))(noise)
    assert np.abs(found - trained).max() < 0.02 * np.abs(trained).max()
