"""Somebody's ONNX file that ends in probabilities, or takes one photo only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pocketlens as pl
from pocketlens.core.errors import UserError
from support.fake import PREPROCESS, mean_network

Node = tuple[str, dict[str, Any]]
NAMES = ("bars", "disc", "square")


def load(folder: Path, model: onnx.ModelProto, **options: Any) -> Any:
    onnx.checker.check_model(model)
    onnx.save(model, folder / "net.onnx")
    (folder / "pre.yaml").write_text(PREPROCESS)
    (folder / "names.txt").write_text("\n".join(NAMES))
    return pl.import_model(
        str(folder / "net.onnx"),
        out=folder / "out",
        preprocess=folder / "pre.yaml",
        class_names=folder / "names.txt",
        **options,
    )


def ending_in(*nodes: Node, bias: float = -0.9) -> onnx.ModelProto:
    """The mean network with further nodes behind its logits."""
    model = mean_network(3, bias=bias)
    graph = model.graph
    at = "logits"
    shape = numpy_helper.from_array(np.array([-1, 3], np.int64), "shape")
    scale = numpy_helper.from_array(np.float32(1 / 255), "scale")
    zero = numpy_helper.from_array(np.uint8(0), "zero")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    graph.initializer.extend([shape, scale, zero, axes])
    extra = {"Reshape": ["shape"], "Unsqueeze": ["axes"], "Squeeze": ["axes"]}
    extra |= {kind: ["scale", "zero"] for kind in ("QuantizeLinear", "DequantizeLinear")}
    for i, (kind, attributes) in enumerate(nodes):
        inputs = [at, *extra.get(kind, [])]
        at = f"after{i}"
        graph.node.append(helper.make_node(kind, inputs, [at], **attributes))
    graph.output[0].name = at
    return model


ENDINGS: dict[str, tuple[Node, ...]] = {
    "at once": (("Softmax", {"axis": 1}),),
    "last axis": (("Softmax", {"axis": -1}),),
    "no axis": (("Softmax", {}),),
    "behind identity": (("Identity", {}), ("Softmax", {"axis": 1}), ("Identity", {})),
    "behind reshape": (("Softmax", {"axis": 1}), ("Reshape", {})),
    "behind flatten": (("Softmax", {"axis": 1}), ("Flatten", {})),
    "behind squeeze": (("Unsqueeze", {}), ("Softmax", {"axis": 2}), ("Squeeze", {})),
    "logarithm": (("LogSoftmax", {"axis": 1}),),
    "sigmoid": (("Sigmoid", {}),),
    "sigmoid, identity": (("Sigmoid", {}), ("Identity", {})),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_probabilities_are_the_files_own(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = next(kind for kind, _ in ENDINGS[name] if "Softmax" in kind or kind == "Sigmoid")
    model = ending_in(*ENDINGS[name])
    bundle = load(tmp_path, model, multi_label=kind == "Sigmoid")
    assert f"net.onnx ends in a {kind}; it is taken out" in capsys.readouterr().err
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    inputs = (image.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": inputs})
    if kind == "LogSoftmax":
        expected = np.exp(expected)
    with pl.load(bundle) as predictor:
        (found,) = predictor.predict(image)
    np.testing.assert_allclose(found.probabilities_K, expected[0], atol=1e-6)
    small = pl.compress(bundle, method="onnx-dynamic", out=tmp_path / "small")
    assert small.manifest.precision == "int8-dynamic"


@pytest.mark.parametrize(
    ("nodes", "multi_label", "words"),
    [
        ((("Sigmoid", {}),), False, r"ends in a Sigmoid, .* pass --multi-label"),
        ((("Softmax", {"axis": 1}),), True, r"ends in a Softmax, .* leave --multi-label out"),
        ((("LogSoftmax", {"axis": 1}),), True, "ends in a LogSoftmax"),
        ((("Softmax", {"axis": 0}),), False, "not one over the classes"),
        (
            (("Softmax", {}), ("QuantizeLinear", {}), ("DequantizeLinear", {})),
            False,
            "quantized Softmax",
        ),
        ((("Softmax", {}), ("Relu", {})), False, r"answers with probabilities \(they add up to 1"),
    ],
)
def test_an_ending_that_does_not_fit_is_refused(
    tmp_path: Path, nodes: tuple[Node, ...], multi_label: bool, words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path, ending_in(*nodes), multi_label=multi_label)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "net.onnx") in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_sigmoid_inside_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ending_in(("Sigmoid", {}))
    model.graph.node.append(helper.make_node("Mul", ["logits", "after0"], ["swish"]))
    model.graph.output[0].name = "swish"
    bundle = load(tmp_path, model)
    assert "taken out" not in capsys.readouterr().err
    assert "Sigmoid" in {node.op_type for node in onnx.load(bundle.path / "model.onnx").graph.node}


def constant_shape(*shape: int) -> onnx.ModelProto:
    """The mean network, whose features are reshaped as for the photo it was exported with."""
    model = mean_network(3)
    node = model.graph.node[1]
    node.op_type = "Reshape"
    node.input.append("shape")
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    return model


def of_the_whole_batch() -> onnx.ModelProto:
    """Photos that are asked together change each other's answers."""
    model = ending_in(("ReduceMax", {"axes": [0], "keepdims": 1}))
    model.graph.node.append(helper.make_node("Sub", ["logits", "after0"], ["moved"]))
    model.graph.node.append(helper.make_node("Add", ["moved", "logits"], ["sum"]))
    model.graph.output[0].name = "sum"
    return model


@pytest.mark.parametrize(
    "model", [constant_shape(1, 3), constant_shape(1, -1), of_the_whole_batch()]
)
def test_one_photo_at_a_time(
    tmp_path: Path, model: onnx.ModelProto, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load(tmp_path, model)
    assert "takes one photo at a time only" in capsys.readouterr().err
    session = ort.InferenceSession(model.SerializeToString())
    inputs = np.random.default_rng(0).random((5, 3, 16, 16), np.float32)
    expected = [session.run(None, {"input": x[None]})[0][0] for x in inputs]
    with pl.load(bundle) as predictor:
        np.testing.assert_allclose(predictor.logits(inputs), expected, atol=1e-6)


def test_several_photos_stay_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = load(tmp_path, mean_network(3))
    assert not capsys.readouterr().err
    (given,) = onnx.load(bundle.path / "model.onnx").graph.input
    assert given.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("bias", [np.nan, np.inf])
def test_a_network_that_answers_grey_with_nan_is_refused(tmp_path: Path, bias: float) -> None:
    with pytest.raises(UserError, match="plain grey photo with NaN or infinity"):
        load(tmp_path, mean_network(3, bias=bias))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"length": "36"}, r"another file \(weight\) and does not say in which"),
        ({"location": "", "length": "36"}, "does not say in which"),
        ({"location": "w.bin", "offset": "-5"}, "weights beside .* can't be read"),
        ({"location": "w.bin", "length": "many"}, "weights beside .* can't be read"),
    ],
)
def test_external_data_that_makes_no_sense(
    tmp_path: Path, entries: dict[str, str], words: str
) -> None:
    (tmp_path / "w.bin").write_bytes(np.ones(9, np.float32).tobytes())
    (tmp_path / "pre.yaml").write_text(PREPROCESS)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    model = mean_network(3)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=words) as caught:
        pl.import_model(
            str(tmp_path / "net.onnx"),
            out=tmp_path / "out",
            preprocess=tmp_path / "pre.yaml",
            class_names=tmp_path / "names.txt",
        )
    assert "\n" not in str(caught.value)
