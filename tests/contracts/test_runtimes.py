"""What holds for every runtime, found through the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pocketlens as pl
from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.card import render
from pocketlens.core.errors import UserError
from pocketlens.core.session import SessionOptions
from support.installed import to_test

RUNTIMES = to_test("runtimes")


#: Runtimes that nothing is exported to -> a method that makes bundles for them.
MADE_BY = {"torch-int8": "pt2e-static"}


@pytest.fixture(scope="module")
def bundle_for(
    tiny: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    made = {"torch": tiny}

    def get(runtime: str) -> Bundle:
        if runtime not in made:
            out = tmp_path_factory.mktemp("runtimes") / runtime
            if runtime in MADE_BY:
                made[runtime] = pl.compress(
                    tiny, method=MADE_BY[runtime], out=out, data=photos, num_images=24
                )
            else:
                made[runtime] = pl.export(tiny, runtime=runtime, out=out)
        return made[runtime]

    return get


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_same_answers_as_torch(
    runtime: str, tiny: Bundle, bundle_for: Callable[[str], Bundle], photos: Path
) -> None:
    bundle = bundle_for(runtime)
    files = sorted(map(str, photos.rglob("*.*")))[:20]
    with pl.load(tiny) as reference, pl.load(bundle) as predictor:
        expected = [a.logits_K for a in reference.answers((f, None) for f in files)]  # type: ignore[misc]
        found = [a.logits_K for a in predictor.answers((f, None) for f in files)]  # type: ignore[misc]
    # Integers round: a share of the largest logit is all that can be asked of them.
    rounding = 0.1 * np.abs(expected).max() if bundle.manifest.precision == "int8" else 0
    np.testing.assert_allclose(found, expected, atol=1e-4 + rounding)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_any_batch(runtime: str, size: int, bundle_for: Callable[[str], Bundle]) -> None:
    bundle = bundle_for(runtime)
    session = plugins.load("runtimes", runtime).open(bundle, SessionOptions(threads=1))
    inputs = np.random.default_rng(0).normal(size=(size, 3, 32, 32)).astype(np.float32)
    logits = session(inputs)
    assert logits.shape == (size, 3)
    assert logits.dtype == np.float32
    one_by_one = np.concatenate([session(inputs[i : i + 1]) for i in range(size)])
    # The order of a float sum may turn one of 255 steps.
    rounding = 0.03 * np.abs(logits).max() if bundle.manifest.precision == "int8" else 0
    np.testing.assert_allclose(logits, one_by_one, atol=1e-5 + rounding)


def changing(option: str) -> list[str]:
    """Runtimes whose files an option of `export` can change."""
    configs = {name: plugins.load("runtimes", name).Config for name in RUNTIMES}
    return [name for name, config in configs.items() if option in config.__dataclass_fields__]


@pytest.mark.parametrize("runtime", changing("embed_preprocess"))
@pytest.mark.parametrize("batch", [None, 2])
def test_pixels_give_the_same_answers(
    runtime: str,
    batch: int | None,
    bundle_for: Callable[[str], Bundle],
    photos: Path,
    tmp_path: Path,
) -> None:
    bundle = bundle_for(runtime)
    options = {"embed_preprocess": True} | ({} if batch is None else {"batch": batch})
    found = pl.export(bundle, runtime=runtime, out=tmp_path / "pixels", **options)
    assert (found.manifest.input.dtype, found.manifest.input.layout) == ("uint8", "NHWC")
    assert found.split == bundle.split
    files = sorted(photos.rglob("*.*"))[:21]  # no multiple of the batch
    with pl.load(bundle) as outside, pl.load(found) as inside:
        expected = np.stack([p.probabilities_K for p in outside.predict(files)])
        answers = np.stack([p.probabilities_K for p in inside.predict(files)])
    np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.parametrize("runtime", changing("batch"))
def test_a_fixed_batch_takes_any_number(
    runtime: str, tiny: Bundle, bundle_for: Callable[[str], Bundle], tmp_path: Path
) -> None:
    anew = runtime in plugins.load("runtimes", runtime).EXPORTS_FROM
    source = bundle_for(runtime) if anew else tiny
    fixed = pl.export(source, runtime=runtime, out=tmp_path / "fixed", batch=4)
    sessions = [
        plugins.load("runtimes", runtime).open(bundle, SessionOptions(threads=1))
        for bundle in (bundle_for(runtime), fixed)
    ]
    for size in (1, 4, 6):
        inputs = np.random.default_rng(size).normal(size=(size, 3, 32, 32)).astype(np.float32)
        expected, found = (session(inputs) for session in sessions)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_manifest_is_carried_over(
    runtime: str, tiny: Bundle, bundle_for: Callable[[str], Bundle]
) -> None:
    bundle = bundle_for(runtime)
    mine, its = tiny.manifest, bundle.manifest
    assert (its.preprocess, its.classes, its.task) == (mine.preprocess, mine.classes, mine.task)
    assert bundle.split == tiny.split
    assert bundle.card == render(bundle), "each bundle has a card"
    if runtime != "torch":
        assert its.lineage.parents[0]["id"] == tiny.id
        exported = its.lineage.method == "export"
        assert (bundle.network_id == tiny.id) is exported, "an export is the same network"
    assert not any(f.suffix in (".pt", ".pth", ".pkl") for f in bundle.path.iterdir())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_to_its_own_runtime_it_is_copied(
    runtime: str,
    bundle_for: Callable[[str], Bundle],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = bundle_for(runtime)
    copy = pl.export(bundle, runtime=runtime, out=tmp_path / "copy")
    assert copy.id == bundle.id
    assert "copied" in capsys.readouterr().err


def test_onnx_is_one_file_without_notes_of_this_machine(tiny_onnx: Bundle) -> None:
    import onnx

    assert sorted(tiny_onnx.manifest.files) == ["model.onnx", "split.json"]
    content = (tiny_onnx.path / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    graph = onnx.load(tiny_onnx.path / "model.onnx").graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param, "the batch is dynamic"
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)


def test_openvino_reads_the_int8_file_of_onnx(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    int8 = pl.compress(tiny_onnx, method="onnx-static", data=photos, out=tmp_path / "i")
    other = pl.export(int8, runtime="openvino", out=tmp_path / "o")
    assert other.manifest.files["model.onnx"] == int8.manifest.files["model.onnx"]
    assert other.network_id == int8.id != tiny_onnx.network_id
    files = sorted(photos.rglob("*.*"))
    with pl.load(int8) as a, pl.load(other) as b:
        answers = zip(a.predict(files), b.predict(files), strict=True)
        assert sum(x.label == y.label for x, y in answers) >= 0.98 * len(files)


def test_export_twice_gives_the_same_bytes(tiny: Bundle, tiny_onnx: Bundle, tmp_path: Path) -> None:
    again = pl.export(tiny, runtime="onnx", out=tmp_path / "again")
    assert again.manifest.files["model.onnx"] == tiny_onnx.manifest.files["model.onnx"]


def test_compressed_bundle_is_not_exported_back(tiny_onnx: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training writes"):
        pl.export(tiny_onnx, runtime="torch", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match=r"compress --method eager-qat or eager-static"):
        pl.export(tiny_onnx, runtime="torch-int8", out=tmp_path / "x")


def test_a_runtime_that_is_not_there_names_the_command(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FAULTS 23
    real = plugins.load("runtimes", "torch").require

    def missing(module: str, *, extra: str) -> Any:
        from pocketlens.core.errors import MissingExtraError

        raise MissingExtraError(f"this needs {module}: pip install 'pocketlens[{extra}]'")

    assert callable(real)
    monkeypatch.setattr("pocketlens.runtimes._module.require", missing)
    with pytest.raises(UserError, match=r"pip install 'pocketlens\[train\]'"):
        pl.load(tiny)
