"""Normalisation inside an ONNX graph: what is folded is exact, at the border too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.runtimes._input_graph import embed_preprocess, fix_batch

SPEC = Preprocess(9, 9, "stretch")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), np.uint8)
IMAGES[2] = 0  # black shows best what is wrong at the border


def convolution(*, bias: bool = True, group: int = 1, **attributes: Any) -> onnx.ModelProto:
    """One convolution of 3x3, whose answers are its whole map."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 3 // group, 3, 3)).astype(np.float32)
    constants = {"weight": weight} | ({"bias": rng.normal(size=6).astype("f")} if bias else {})
    node = helper.make_node("Conv", ["input", *constants], ["map"], group=group, **attributes)
    return model_of([node], constants, "map", [None, 6, None, None])


def model_of(
    nodes: list[Any],
    constants: dict[str, np.ndarray],
    output: str,
    shape: list[int | None],
    given: tuple[Any, ...] = ("batch", 3, "h", "w"),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return found


def outside(model: onnx.ModelProto, spec: Preprocess = SPEC) -> np.ndarray:
    return run(model, np.stack([spec.normalize(image) for image in IMAGES]))


def embedded(model: onnx.ModelProto, spec: Preprocess = SPEC, *, fold: bool = True) -> Any:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    embed_preprocess(changed, spec, "NCHW", fold=fold)
    return changed


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


PADS = {"pads": [1, 1, 1, 1]}
ONE_SIDE = {"pads": [0, 0, 1, 1], "strides": [2, 2]}
WAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no padding": ({}, []),
    "no padding, no bias": ({"bias": False}, []),
    "pads of zero": ({"pads": [0] * 4}, []),
    "auto_pad VALID": ({"auto_pad": "VALID"}, []),
    "padding": (PADS, ["Sub"]),
    "padding on one side": (ONE_SIDE, ["Sub"]),
    "padding, no bias": ({**PADS, "bias": False}, ["Sub"]),
    "auto_pad SAME_UPPER": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, ["Sub"]),
    "groups": ({**PADS, "group": 3}, ["Div", "Sub", "Div"]),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_convolution_answers_the_same_everywhere(name: str) -> None:
    attributes, between = WAYS[name]
    model = convolution(**attributes)
    found = embedded(model)
    assert kinds(found) == ["Transpose", "Cast", *between, "Conv"]
    np.testing.assert_allclose(run(found, IMAGES), outside(model), atol=2e-5)


def test_a_mean_in_the_bias_would_be_wrong_where_zeros_are_padded() -> None:
    """Why the mean is subtracted and not folded: the shortcut is exact inside alone."""
    model = convolution(**PADS)
    unpadded = convolution()
    shortcut = embedded(unpadded)  # the mean is in its bias
    shortcut.graph.node[-1].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    difference = np.abs(run(shortcut, IMAGES) - outside(model))
    assert difference[:, :, 1:-1, 1:-1].max() < 2e-5
    assert difference[:, :, 0].max() > 1
    assert np.abs(run(embedded(model), IMAGES) - outside(model)).max() < 2e-5


def test_a_mean_of_zero_needs_no_subtraction() -> None:
    spec = Preprocess(9, 9, "stretch", mean=(0, 0, 0), std=(1, 0.5, 2))
    model = convolution(**PADS)
    found = embedded(model, spec)
    assert kinds(found) == ["Transpose", "Cast", "Conv"]
    np.testing.assert_allclose(run(found, IMAGES), outside(model, spec), atol=2e-5)


def test_unfolded_it_is_normalize_to_the_bit() -> None:
    """All 256 values of a pixel in each channel, so nothing is left to chance."""
    values = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    for mean, std in (
        (SPEC.mean, SPEC.std),
        ((0.5,) * 3, (0.5,) * 3),
        ((0,) * 3, (1,) * 3),
        ((0.1, 0.2, 0.3), (1,) * 3),
    ):
        spec = Preprocess(16, 16, "stretch", mean=mean, std=std)
        same = model_of(
            [helper.make_node("Identity", ["input"], ["out"])], {}, "out", ["batch", 3, "h", "w"]
        )
        found = run(embedded(same, spec), values)
        np.testing.assert_array_equal(found[0], spec.normalize(values[0]))
        conv = model_of(
            [*convolution(**PADS).graph.node],
            {t.name: numpy_helper.to_array(t) for t in convolution(**PADS).graph.initializer},
            "map",
            [None, 6, None, None],
        )
        found = run(embedded(conv, spec, fold=False), values)
        np.testing.assert_array_equal(found, run(conv, spec.normalize(values[0])[None]))


def test_channels_last() -> None:
    turn = helper.make_node("Transpose", ["input"], ["first"], perm=[0, 3, 1, 2])
    model = model_of([turn], {}, "first", ["batch", 3, "h", "w"], ("batch", "h", "w", 3))
    expected = run(model, np.stack([SPEC.normalize(x).transpose(1, 2, 0) for x in IMAGES]))
    embed_preprocess(model, SPEC, "NHWC", fold=True)
    np.testing.assert_array_equal(run(model, IMAGES), expected)


def test_weights_that_others_read_stay_for_them() -> None:
    model = convolution(**PADS)
    graph = model.graph
    graph.node.append(helper.make_node("Conv", ["map3", "weight", "bias"], ["again"], **PADS))
    graph.node.insert(1, helper.make_node("Slice", ["map", "zero", "three", "one"], ["map3"]))
    for name, value in (("zero", 0), ("three", 3), ("one", 1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    graph.output[0].name = "again"
    np.testing.assert_allclose(run(embedded(model), IMAGES), outside(model), rtol=1e-4, atol=1e-3)


def test_an_input_that_others_read_too_is_not_folded() -> None:
    model = convolution(**PADS)
    model.graph.node.append(helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=1))
    model.graph.node.append(helper.make_node("Add", ["map", "mean"], ["sum"]))
    model.graph.output[0].name = "sum"
    found = embedded(model)
    assert kinds(found)[:5] == ["Transpose", "Cast", "Div", "Sub", "Div"]
    np.testing.assert_array_equal(run(found, IMAGES), outside(model))


def test_names_that_are_taken() -> None:
    model = convolution(**PADS)
    model.graph.node[0].output[0] = "pixels"
    model.graph.output[0].name = "pixels"
    found = embedded(model)
    assert found.graph.input[0].name == "pixels_2"
    np.testing.assert_allclose(run(found, IMAGES), outside(model), atol=2e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_a_fixed_batch(size: int) -> None:
    model = convolution(**PADS)
    fix_batch(model, size)
    embed_preprocess(model, SPEC, "NCHW", fold=True)
    (given,), (answer,) = model.graph.input, model.graph.output
    shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, shape) == ("pixels", [size, 9, 9, 3])
    assert given.type.tensor_type.elem_type == TensorProto.UINT8
    assert answer.type.tensor_type.shape.dim[0].dim_value == size
    assert run(model, IMAGES[:size]).shape == (size, 6, 9, 9)


def test_what_is_no_network_for_photos() -> None:
    model = convolution()
    del model.graph.input[0].type.tensor_type.shape.dim[0]
    with pytest.raises(UserError, match="takes an input of 3 dimensions"):
        embed_preprocess(model, SPEC, "NCHW", fold=True)
    del model.graph.input[:]
    with pytest.raises(UserError, match="is no network"):
        fix_batch(model, 1)
