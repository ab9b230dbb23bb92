"""Bundles that take pixels, or so many photos at a time: same answers, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Request
from pocketlens.core.session import Input
from pocketlens.explain.features import features_of
from pocketlens.measures.latency import measure_latency
from pocketlens.workflows._features import of_bundle
from support.fake import fake_imported, mean_network

PIXELS = Input("uint8", "NHWC")
#: Name -> method and options that make it of a float ONNX bundle.
QUANTIZED = {
    "first layer in float": ("onnx-static", {}),
    "all in INT8": ("onnx-static", {"keep_float": "none", "float_logits": False}),
    "dynamic": ("onnx-dynamic", {}),
}


@pytest.fixture(scope="module")
def int8(
    tiny_onnx: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    made: dict[str, Bundle] = {}

    def get(name: str) -> Bundle:
        if name not in made:
            method, options = QUANTIZED[name]
            out = tmp_path_factory.mktemp("int8") / "b"
            data = None if method == "onnx-dynamic" else photos
            made[name] = pl.compress(tiny_onnx, method=method, data=data, out=out, **options)
        return made[name]

    return get


@pytest.fixture(scope="module")
def pixels(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("pixels") / "b"
    return pl.export(tiny, runtime="onnx", out=out, embed_preprocess=True)


def answers(bundle: Bundle, photos: Path, batch_size: int = 8) -> np.ndarray:
    files = sorted(map(str, photos.rglob("*.*")))
    with pl.load(bundle, batch_size=batch_size) as predictor:
        found = [a.logits_K for a in predictor.answers(Request(file) for file in files)]
    return np.stack(found)  # type: ignore[arg-type]


def shape_of(bundle: Bundle) -> list[int | str]:
    given = onnx.load(bundle.path / "model.onnx").graph.input[0]
    return [dim.dim_value or dim.dim_param for dim in given.type.tensor_type.shape.dim]


def test_a_torch_bundle(tiny: Bundle, tiny_onnx: Bundle, pixels: Bundle, photos: Path) -> None:
    assert pixels.manifest.input == PIXELS
    assert pixels.manifest.preprocess == tiny.manifest.preprocess
    assert shape_of(pixels) == ["batch", 32, 32, 3]
    assert (pixels.network_id, pixels.split) == (tiny.id, tiny.split)
    expected = answers(tiny_onnx, photos)
    np.testing.assert_allclose(
        answers(pixels, photos), expected, atol=1e-4 * np.abs(expected).max()
    )
    lineage = pixels.manifest.lineage
    assert lineage.config == {
        "opset": 20,
        "batch": None,
        "embed_preprocess": True,
        "backend": "cpu",
    }


def test_it_is_read_back_and_scored_as_any(tiny_onnx: Bundle, pixels: Bundle, photos: Path) -> None:
    score = pl.evaluate(pixels.path, photos).score
    assert score == pl.evaluate(tiny_onnx, photos).score


@pytest.mark.parametrize("name", QUANTIZED)
def test_int8_is_equal_to_the_bit(name: str, int8: Callable[[str], Bundle], photos: Path) -> None:
    bundle = int8(name)
    found = pl.export(
        bundle, runtime="onnx", out=bundle.path.parent / "e", embed_preprocess=True, overwrite=True
    )
    assert found.manifest.input == PIXELS
    assert found.manifest.precision == bundle.manifest.precision
    assert found.network_id == bundle.id
    np.testing.assert_array_equal(answers(found, photos), answers(bundle, photos))


@pytest.mark.parametrize("name", ["float", *QUANTIZED])
def test_openvino_takes_pixels(
    name: str,
    tiny_onnx: Bundle,
    int8: Callable[[str], Bundle],
    photos: Path,
    tmp_path: Path,
) -> None:
    source = tiny_onnx if name == "float" else int8(name)
    outside = pl.export(source, runtime="openvino", out=tmp_path / "o")
    found = pl.export(source, runtime="openvino", out=tmp_path / "e", embed_preprocess=True)
    again = pl.export(outside, runtime="openvino", out=tmp_path / "a", embed_preprocess=True)
    assert found.manifest.input == again.manifest.input == PIXELS
    assert found.manifest.files["model.onnx"] == again.manifest.files["model.onnx"]
    expected = answers(outside, photos)
    # It puts floats in another order, so single activations move by a step.
    share = 1e-4 if name == "float" else 0.05
    limit = share * np.abs(expected).max()
    np.testing.assert_allclose(answers(found, photos), expected, atol=limit)


def test_a_torch_bundle_for_openvino(tiny: Bundle, photos: Path, tmp_path: Path) -> None:
    found = pl.export(tiny, runtime="openvino", out=tmp_path / "e", embed_preprocess=True, batch=1)
    assert shape_of(found) == [1, 32, 32, 3]
    expected = answers(tiny, photos)
    np.testing.assert_allclose(answers(found, photos), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["float", "first layer in float"])
def test_a_fixed_batch(
    batch: int,
    name: str,
    tiny: Bundle,
    tiny_onnx: Bundle,
    int8: Callable[[str], Bundle],
    photos: Path,
    tmp_path: Path,
) -> None:
    source = tiny_onnx if name == "float" else int8(name)
    found = pl.export(source, runtime="onnx", out=tmp_path / "o", batch=batch)
    assert shape_of(found) == [batch, 3, 32, 32]
    assert found.manifest.input == source.manifest.input
    expected = answers(source, photos)
    limit = (1e-4 if name == "float" else 0.05) * np.abs(expected).max()
    np.testing.assert_allclose(answers(found, photos), expected, atol=limit)
    if name == "float":
        direct = pl.export(tiny, runtime="onnx", out=tmp_path / "d", batch=batch)
        assert direct.manifest.files["model.onnx"] == found.manifest.files["model.onnx"]


def test_step_by_step_is_the_same_file(pixels: Bundle, tiny: Bundle, tmp_path: Path) -> None:
    later = pl.export(pixels, runtime="onnx", out=tmp_path / "later", batch=1)
    once = pl.export(tiny, runtime="onnx", out=tmp_path / "o", batch=1, embed_preprocess=True)
    assert later.manifest.files["model.onnx"] == once.manifest.files["model.onnx"]
    assert shape_of(once) == [1, 32, 32, 3]


def test_without_options_it_is_still_copied(
    tiny_onnx: Bundle, pixels: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pl.export(tiny_onnx, runtime="onnx", out=tmp_path / "copy").id == tiny_onnx.id
    assert "copied" in capsys.readouterr().err
    again = pl.export(pixels, runtime="onnx", out=tmp_path / "again", embed_preprocess=True)
    assert again.manifest.files["model.onnx"] == pixels.manifest.files["model.onnx"]
    assert "takes pixels already" in capsys.readouterr().err


def test_features_are_those_of_the_outside_way(
    tiny_onnx: Bundle, pixels: Bundle, photos: Path
) -> None:
    requests = [Request(str(file)) for file in sorted(photos.rglob("*.jpg"))[:10]]
    found = []
    for bundle in (tiny_onnx, pixels):
        network = of_bundle(bundle)
        rows, kept = features_of(requests, network.preprocess, network.input, network.session)
        assert len(kept) == 10
        found.append(rows)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_it_is_timed_with_pixels(pixels: Bundle, photos: Path) -> None:
    requests = [Request(str(file)) for file in sorted(photos.rglob("*.jpg"))[:2]]
    timing = measure_latency({"pixels": pixels.path}, requests, threads=1, batch=2, rounds=1)
    assert timing["pixels"].failed is None
    assert timing["pixels"].e2e_latency_ms > 0


@pytest.mark.parametrize("method", ["onnx-static", "onnx-dynamic", "equalize", "prune"])
def test_compress_first_embed_last(
    method: str, pixels: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"normalises its pixels itself.*--embed-preprocess last"):
        pl.compress(pixels, method=method, data=photos, out=tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_what_does_not_go_is_one_line(tiny: Bundle, tiny_onnx: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "x"
    for runtime in ("onnx", "openvino"):
        with pytest.raises(UserError, match="--batch must be at least 1"):
            pl.export(tiny_onnx, runtime=runtime, out=out, batch=0)
    with pytest.raises(UserError, match="keeps its operator set"):
        pl.export(tiny_onnx, runtime="onnx", out=out, opset=21)
    with pytest.raises(UserError, match="--batch is no option here"):
        pl.export(tiny, runtime="torch", out=out, batch=1)
    manifest = replace(tiny_onnx.manifest, runtime="openvino")
    xml = write_bundle(tmp_path / "xml", manifest, {"model.xml": b"<net/>", "model.bin": b""})
    with pytest.raises(UserError, match="holds no ONNX file"):
        pl.export(xml, runtime="openvino", out=out, batch=1)
    assert not out.exists()


def test_a_file_that_answers_differently_is_refused(
    tiny_onnx: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocketlens.runtimes import onnx as runtime

    real = runtime.embed_preprocess

    def wrong(model: onnx.ModelProto, *given: object, **options: object) -> None:
        real(model, *given, **options)  # type: ignore[arg-type]
        for node in model.graph.node:
            if node.op_type == "Sub":
                node.op_type = "Add"

    monkeypatch.setattr(runtime, "embed_preprocess", wrong)
    with pytest.raises(UserError, match="answers differently from before"):
        pl.export(tiny_onnx, runtime="onnx", out=tmp_path / "x", embed_preprocess=True)
    assert not (tmp_path / "x").exists()


def test_a_network_that_was_written_for_one_photo(tmp_path: Path) -> None:
    model = mean_network(3)
    model.graph.node[1].op_type = "Reshape"
    model.graph.node[1].input.append("shape")
    shape = onnx.numpy_helper.from_array(np.array([1, 3], np.int64), "shape")
    model.graph.initializer.append(shape)
    manifest = fake_imported(tmp_path / "m", ("a", "b", "c")).manifest
    bundle = write_bundle(tmp_path / "b", manifest, {"model.onnx": model.SerializeToString()})
    with pytest.raises(UserError, match="can't be changed so"):
        pl.export(bundle, runtime="onnx", out=tmp_path / "x", batch=4)
    found = pl.export(bundle, runtime="onnx", out=tmp_path / "one", batch=1)
    assert shape_of(found)[0] == 1


def test_a_batch_whose_photos_change_each_other_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocketlens.runtimes import onnx as runtime

    real = runtime.fix_batch

    def mixing(model: onnx.ModelProto, size: int) -> None:
        """The first photo's answers stay right."""
        real(model, size)
        (answer,) = model.graph.output
        index = onnx.numpy_helper.from_array(np.zeros(size, np.int64), "index")
        model.graph.initializer.append(index)
        node = onnx.helper.make_node("Gather", [answer.name, "index"], ["mixed"], axis=0)
        model.graph.node.append(node)
        answer.name = "mixed"

    monkeypatch.setattr(runtime, "fix_batch", mixing)
    bundle = fake_imported(tmp_path / "b", ("a", "b", "c"))
    pl.export(bundle, runtime="onnx", out=tmp_path / "one", batch=1)
    with pytest.raises(UserError, match="answers differently from before"):
        pl.export(bundle, runtime="onnx", out=tmp_path / "x", batch=3)


def test_it_is_compared_as_any_export(
    tiny: Bundle, tiny_onnx: Bundle, pixels: Bundle, photos: Path, tmp_path: Path
) -> None:
    table = pl.compare([tiny, tiny_onnx, pixels], photos, out=tmp_path / "t", reference=tiny)
    rows = {row.name: row for row in table.comparison.rows}
    inside = rows[pixels.path.name]
    assert inside.verdict not in ("mismatch", "failed", "less_accurate")
    assert inside.agreement == 100
    assert inside.score == rows[tiny_onnx.path.name].score
