"""What a session is given is what its manifest says, so nothing is normalised twice or never."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.predictor import Predictor, Request
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import FakeSession, Input
from support.fake import PREPROCESS, fake_imported, mean_network

SPEC = Preprocess(6, 8, "stretch")
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def test_floats_are_normalised_and_pixels_are_not() -> None:
    normalised = SPEC.normalize(IMAGE)
    np.testing.assert_array_equal(Input().of(IMAGE, SPEC), normalised)
    last = Input("float32", "NHWC").of(IMAGE, SPEC)
    np.testing.assert_array_equal(last, normalised.transpose(1, 2, 0))
    assert last.flags.c_contiguous
    pixels = Input("uint8", "NHWC").of(IMAGE, SPEC)
    assert pixels is IMAGE, "not even copied"


@pytest.mark.parametrize("values", [("uint8", "NCHW"), ("float16", "NCHW"), ("float32", "CHWN")])
def test_an_input_that_nothing_here_makes_is_refused(
    values: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no network here takes"):
        Input(*values)
    bundle = fake_imported(tmp_path / "b", ("a", "b"))
    file = bundle.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["input"] = {"dtype": values[0], "layout": values[1]}
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="no network here takes"):
        read_bundle(bundle.path)


def test_the_predictor_hands_pixels_through(tmp_path: Path) -> None:
    manifest = fake_imported(tmp_path / "b", ("a", "b")).manifest
    seen: list[np.ndarray] = []

    def answer(inputs: np.ndarray) -> np.ndarray:
        seen.append(inputs)
        return np.zeros((len(inputs), 2), np.float32)

    values = {**vars(manifest), "input": Input("uint8", "NHWC"), "preprocess": SPEC}
    predictor = Predictor(type(manifest)(**values), FakeSession(answer))
    assert predictor.predict([IMAGE, IMAGE])[1].label == "a"
    np.testing.assert_array_equal(seen[0], np.stack([IMAGE, IMAGE]))
    assert seen[0].dtype == predictor.prepare(Request(IMAGE)).dtype == np.uint8
    kept = Predictor(type(manifest)(**values), FakeSession(answer), fitted=lambda _: IMAGE)
    assert kept.prepare(Request("photo.jpg")) is IMAGE


def _import(folder: Path, model: onnx.ModelProto, layout: str = "NCHW") -> Bundle:
    onnx.save(model, folder / "net.onnx")
    (folder / "pre.yaml").write_text(f"{PREPROCESS}layout: {layout}\n")
    (folder / "names.txt").write_text("a\nb\nc")
    return pl.import_model(
        str(folder / "net.onnx"),
        out=folder / "imported",
        preprocess=folder / "pre.yaml",
        class_names=folder / "names.txt",
    )


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_network_that_takes_its_channels_last(runtime: str, tmp_path: Path) -> None:
    model = mean_network(3)
    model.graph.node.insert(0, onnx.helper.make_node("Transpose", ["last"], ["input"]))
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("perm", [0, 3, 1, 2]))
    shape = ["batch", "h", "w", 3]
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("last", 1, shape))
    bundle = pl.export(_import(tmp_path, model, "NHWC"), runtime=runtime, out=tmp_path / "o")
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    with pl.load(bundle) as predictor:
        logits = predictor.logits(predictor.prepare(Request(image))[None])
    np.testing.assert_allclose(logits[0], np.arange(1, 4) * image.mean() / 255, rtol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_any_number_of_photos_for_a_fixed_batch(runtime: str, number: int, tmp_path: Path) -> None:
    imported = _import(tmp_path, mean_network(3, batch=2))
    bundle = pl.export(imported, runtime=runtime, out=tmp_path / "o")
    inputs = np.arange(number, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 16, 16), "f")
    with pl.load(bundle) as predictor:
        np.testing.assert_allclose(predictor.logits(inputs)[:, 0], np.arange(number), atol=1e-5)
