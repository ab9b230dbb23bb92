"""What holds for every compression method, found through the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pocketlens as pl
from pocketlens import plugins
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import UserError
from support.installed import to_test

METHODS = to_test("compression")
#: Options that keep the work on the tiny network small, where a method has them.
SMALL = {"num_images": 24, "epochs": 1, "batch_size": 16, "iterations": 20, "correction_images": 16}
SMALL["time_layers"] = False
#: Methods that find nothing to do on `tiny`, which has neither SiLU nor a multiplier.
ON_EFFICIENTNET = ("activation-exchange", "width")


def apply(method: str, bundle: Bundle, photos: Path, out: Path, **options: Any) -> Bundle:
    config = plugins.load("compression", method).Config
    known = {field.name for field in dataclasses.fields(config)}
    for name, value in SMALL.items():
        if name in known:
            options.setdefault(name, value)
    return pl.compress(bundle, method=method, out=out, data=photos, **options)


@pytest.mark.parametrize("method", METHODS)
def test_method(
    method: str,
    request: pytest.FixtureRequest,
    tiny_as: Callable[[str], Bundle],
    photos: Path,
    tmp_path: Path,
) -> None:
    name = "tiny_efficientnet" if method in ON_EFFICIENTNET else "tiny"
    tiny: Bundle = request.getfixturevalue(name)
    # A method that is for few networks names one.
    suits = getattr(plugins.load("compression", method), "SUITS", None)
    if suits is not None:
        with pytest.raises(UserError, match=r"use .* for it"):
            apply(method, tiny, photos, tmp_path / "unsuited")
        assert not (tmp_path / "unsuited").exists()
        tiny = tiny_as(suits)
    result = apply(method, tiny, photos, tmp_path / "a")
    manifest, parent = result.manifest, tiny.manifest
    assert manifest.lineage.method == method
    assert manifest.lineage.parents[0]["id"] == tiny.id
    assert manifest.preprocess == parent.preprocess
    assert manifest.classes == parent.classes
    given = plugins.load("compression", method).GIVES
    assert (manifest.runtime, manifest.precision) == given
    assert result.split == tiny.split, "calibrating on training photos takes nothing from the test"
    assert set(manifest.metrics) == {"metric", "probe"}, "the parent's scores are not its own"
    assert not any(f.suffix in (".pt", ".pth", ".pkl") for f in result.path.iterdir())
    assert read_bundle(result.path).id == result.id
    assert method in (result.card or ""), "each bundle has a card that says how it was made"
    again = apply(method, tiny, photos, tmp_path / "b")
    assert again.manifest.files == manifest.files, "the same photos and seed give the same file"
    with pl.load(result) as predictor:
        answers = predictor.predict(sorted(photos.rglob("*.*"))[:6])
    assert all(answer.error is None for answer in answers)


@pytest.mark.parametrize("method", METHODS)
def test_refuses_what_it_can_not_take(
    method: str, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    done = apply("onnx-dynamic", tiny_onnx, photos, tmp_path / "int8")
    with pytest.raises(UserError, match="takes a float32 model"):
        apply(method, done, photos, tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("method", METHODS)
def test_unknown_option_lists_the_known(method: str, tiny_onnx: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--nonsense is no option here"):
        pl.compress(tiny_onnx, method=method, out=tmp_path / "x", nonsense="1")


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("format", ["qdq", "qoperator"])
def test_static_keeps_what_it_learnt(
    ranges: str, format: str, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    result = apply(
        "onnx-static", tiny_onnx, photos, tmp_path / "a", ranges=ranges, quant_format=format
    )
    ours = pl.evaluate(result, photos, split="all").score
    assert ours >= pl.evaluate(tiny_onnx, photos, split="all").score - 10
    assert result.size_bytes < 0.45 * tiny_onnx.size_bytes


def test_first_convolution_stays_float(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    import onnx

    def first_conv_weight_is_float(bundle: Bundle) -> bool:
        graph = onnx.load(bundle.path / "model.onnx").graph
        conv = next(node for node in graph.node if node.op_type == "Conv")
        return conv.input[1] in {tensor.name for tensor in graph.initializer}

    kept = apply("onnx-static", tiny_onnx, photos, tmp_path / "a", keep_float="first")
    none = apply("onnx-static", tiny_onnx, photos, tmp_path / "b", keep_float="none")
    assert first_conv_weight_is_float(kept)
    assert not first_conv_weight_is_float(none)


def test_weights_have_a_scale_for_each_channel(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    import onnx

    result = apply("onnx-static", tiny_onnx, photos, tmp_path / "a")
    tensors = {t.name: t for t in onnx.load(result.path / "model.onnx").graph.initializer}
    weights = [
        t for t in tensors.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    assert weights
    for weight in weights:
        scale = tensors[weight.name.replace("_quantized", "_scale")]
        assert list(scale.dims) == [weight.dims[0]]


def test_without_photos_it_says_which_flags(tiny_onnx: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data .* --calibration"):
        pl.compress(tiny_onnx, method="onnx-static", out=tmp_path / "x")


def test_other_photos_are_refused_before_anything_is_made(
    tiny: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in tiny.manifest.classes:
        (tmp_path / "other" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (len(name), 9, 9)).save(tmp_path / "other" / name / "1.png")
    with pytest.raises(UserError, match=r"none of the photos in .*other is one that"):
        pl.compress(tiny, method="onnx-static", data=tmp_path / "other", out=tmp_path / "x")
    assert "exported first" not in capsys.readouterr().err
    assert not (tmp_path / "x.run").exists()


def test_compress_tells_sizes_and_what_is_next(
    tiny_onnx: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    assert (
        run(["compress", str(tiny_onnx.path), "--method", "onnx-dynamic", "--out", str(out)]) == 0
    )
    told = capsys.readouterr()
    before, after = (bundle.size_bytes / 1e6 for bundle in (tiny_onnx, read_bundle(out)))
    assert f"{before:.2f} MB before, {after:.2f} MB now" in told.err
    assert f"pocketlens compare {tiny_onnx.path} {out}" in told.err
    assert told.out.strip() == str(out)


def test_calibration_photos_are_never_scored(photos: Path, tmp_path: Path) -> None:
    """An imported model has no split: what ranges were found on must not be scored."""
    from pocketlens.workflows._calibrating import mark_calibrated
    from pocketlens.workflows._parts import examples_of
    from pocketlens.workflows.data import as_hashed
    from support.fake import fake_imported

    hashed = as_hashed(photos)
    imported = fake_imported(tmp_path / "imported", hashed.dataset.classes)
    before = examples_of(imported, hashed, "test")
    split = mark_calibrated(imported.split, hashed.identities[:10])
    after = examples_of(imported, hashed, "test", split=split)
    assert len(before) == 60
    assert len(after) == 50
    assert not set(after.identities) & set(hashed.identities[:10])


def test_class_balanced_choice() -> None:
    from pocketlens.explain.choice import class_balanced

    labels = [("a",)] * 90 + [("b",)] * 8 + [("c",)] * 2
    chosen = [labels[i][0] for i in class_balanced(labels, 20, seed=0)]
    assert (chosen.count("a"), chosen.count("b"), chosen.count("c")) == (10, 8, 2)
    assert class_balanced(labels, 20, 0) == class_balanced(labels, 20, 0)
    assert class_balanced(labels, 20, 0) != class_balanced(labels, 20, 1)
    assert sorted(class_balanced(labels, 500, 0)) == list(range(100))


def test_any_folder_of_images_can_calibrate(
    tiny_onnx: Bundle, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    # Photos the bundle is not scored on: those would be left out.
    fresh = make_photos(tmp_path / "fresh", per_class=6, seed=7)
    for i, file in enumerate(sorted(fresh.rglob("*.jpg"))[:12]):
        (flat / f"{i}.jpg").write_bytes(file.read_bytes())
    (flat / "broken.jpg").write_bytes(b"no image")
    result = pl.compress(tiny_onnx, method="onnx-static", out=tmp_path / "x", calibration=flat)
    assert result.manifest.lineage.config["num_calibrated"] == 12
    with pl.load(result) as predictor:
        pixels = np.zeros((40, 40, 3), np.uint8)
        assert predictor.predict(pixels)[0].error is None


@pytest.mark.parametrize("method", METHODS)
def test_options_do_not_hide_behind_the_flags_of_the_verb(method: str) -> None:
    import inspect

    from pocketlens.cli import compress
    from pocketlens.cli._options import DataOptions

    taken = {*inspect.signature(compress.run).parameters} | {
        field.name for field in dataclasses.fields(DataOptions)
    }
    config = plugins.load("compression", method).Config
    assert not taken & {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize("method", METHODS)
def test_a_chain_is_checked_before_any_work(
    method: str, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="takes a float32 model, what onnx-dynamic gives"):
        pl.compress(tiny_onnx, method=["onnx-dynamic", method], data=photos, out=tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_an_option_may_be_for_one_step_of_a_chain() -> None:
    from pocketlens.workflows._chain import read_chain

    options = {"per-channel": "false", "onnx-static:per-channel": "true"}
    dynamic, static = read_chain("onnx-dynamic, onnx-static", options)
    assert (dynamic.config.per_channel, static.config.per_channel) == (False, True)
    with pytest.raises(UserError, match=r"--onnx-dynamic:ranges is no option here"):
        read_chain(["onnx-dynamic", "onnx-static"], {"onnx-dynamic:ranges": "minmax"})
