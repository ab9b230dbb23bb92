"""Nothing that a person has is lost to `--resume` or `--overwrite`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import pocketlens as pl
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.directory import refuse_existing
from pocketlens.core.errors import UserError
from pocketlens.core.gate import Limits
from pocketlens.runtimes import onnx
from pocketlens.workflows._workplace import workplace


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_other_peoples_directory_is_left_alone(tmp_path: Path, how: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("precious")
    with pytest.raises(UserError, match="not made by pocketlens"), workplace(mine, **{how: True}):
        raise AssertionError("no work is done")
    assert [path.name for path in mine.iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_mistake_keeps_the_earlier_result(tmp_path: Path, how: str) -> None:
    out = tmp_path / "run"
    with workplace(out):
        (out / "compare.json").write_text("{}")
    with pytest.raises(ZeroDivisionError), workplace(out, **{how: True}):
        raise ZeroDivisionError
    assert (out / "compare.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_overwriting_leaves_only_the_new(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with workplace(out):
        (out / "old").touch()
    with workplace(out, overwrite=True):
        (out / "new").touch()
    assert not (out / "old").exists()
    assert (out / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with workplace(out):
        (out / "model").mkdir()
    with pytest.raises(UserError, match="lies in"):
        refuse_existing(out, overwrite=True, inputs=[out / "model"])
    refuse_existing(out, overwrite=True, inputs=[tmp_path / "elsewhere"])


def test_no_verb_overwrites_its_own_bundle(tiny: Bundle, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with workplace(run):
        shutil.copytree(tiny.path, run / "model")
    given = run / "model"
    for verb in (
        lambda: pl.shrink(given, photos, out=run, overwrite=True),
        lambda: pl.compare([given], photos, out=run, overwrite=True),
        lambda: pl.predict(given, photos, out=run, overwrite=True),
        lambda: pl.export(given, runtime="onnx", out=given, overwrite=True),
        lambda: pl.compress(given, method="onnx-dynamic", out=run, overwrite=True),
    ):
        with pytest.raises(UserError, match="lies in"):
            verb()
    assert pl.load(given).classes == tiny.manifest.classes


@pytest.mark.parametrize(
    "limits", [{"max_drop": float("nan")}, {"max_drop": -1}, {"max_size_mb": float("nan")}]
)
def test_a_limit_is_a_number(limits: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Limits(**limits)


def test_calibration_photos_of_an_imported_model_are_remembered_and_never_scored(
    tiny: Bundle, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    files = {"model.onnx": tiny_onnx.file("model.onnx")}
    imported = write_bundle(tmp_path / "imported", tiny_onnx.manifest, files)
    assert not imported.split
    small = pl.compress(
        imported, method="onnx-static", out=tmp_path / "q", calibration=photos, num_images=6
    )
    assert len(pl.load(small.path).manifest.files) == 2
    assert pl.evaluate(small.path, photos).num_samples == 54
    with pytest.raises(UserError, match="all calibration photos"):
        pl.compress(
            imported,
            method="onnx-static",
            out=tmp_path / "none",
            calibration=photos,
            scored=pl_identities(photos),
        )


def test_calibration_never_sees_the_test_photos(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    small = pl.compress(
        tiny_onnx, method="onnx-static", out=tmp_path / "q", calibration=photos, num_images=60
    )
    assert small.manifest.lineage.config["num_calibrated"] == len(tiny_onnx.split.train)


def pl_identities(photos: Path) -> list[str]:
    from pocketlens.workflows.data import as_hashed

    return as_hashed(photos).identities


def test_nothing_to_score_is_said(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    files = {"model.onnx": tiny_onnx.file("model.onnx")}
    imported = write_bundle(tmp_path / "imported", tiny_onnx.manifest, files)
    with pytest.raises(UserError, match="no validation photos"):
        pl.evaluate(imported, photos, split="val")


def test_an_export_that_answers_differently_leaves_nothing(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_TOLERANCE", -1.0)
    monkeypatch.setattr(onnx, "_AS_EXACT", -1.0)
    with pytest.raises(UserError, match="answers differently"):
        pl.export(tiny, runtime="onnx", out=tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs macOS or Linux")
def test_a_file_name_that_is_no_utf8(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    source = next(photos.rglob("*.jpg"))
    shutil.copy(source, os.fsencode(tmp_path) + b"/\xff\xfe.jpg")
    pl.predict(tiny_onnx, tmp_path, out=tmp_path / "out")
    (row,) = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert row["label"]
    assert b"\xff\xfe.jpg" in (tmp_path / "out" / "predictions.csv").read_bytes()


def test_a_network_is_never_fetched_for_a_bundle(tiny: Bundle, tmp_path: Path) -> None:
    from dataclasses import replace

    for model in ({"family": "timm", "name": "hf-hub:somebody/x"}, {"family": "timm"}):
        manifest = replace(tiny.manifest, model=model)
        odd = write_bundle(
            tmp_path / "odd",
            manifest,
            {"model.safetensors": tiny.file("model.safetensors")},
            overwrite=True,
        )
        with pytest.raises(UserError, match=r"no network is called|has no name"):
            pl.load(odd)


def test_another_faster_float_network_rejects_nobody(tiny: Bundle, tiny_onnx: Bundle) -> None:
    from dataclasses import replace

    from pocketlens.workflows._table import _is_export

    lineage = replace(tiny.manifest.lineage, parents=({"id": "of another"},))
    manifest = replace(tiny.manifest, lineage=lineage, precision="float32", thresholds={"disc": 1})
    other = Bundle(tiny.path, manifest)
    for origin in (tiny, tiny_onnx):
        assert [_is_export(bundle, origin) for bundle in (tiny, tiny_onnx, other)] == [
            True,
            True,
            False,
        ]


def test_a_run_is_not_resumed_on_other_photos(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more photos the split moves: what was trained on could become a test photo."""
    from dataclasses import replace

    from pocketlens.training import checkpoint
    from support.tiny import CONFIG

    photos = make_photos(tmp_path / "photos", per_class=8)
    config = replace(CONFIG, epochs=2)
    save = checkpoint.save

    def stop(*args: object) -> None:
        save(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        pl.train(photos, out=tmp_path / "a", config=config)
    make_photos(tmp_path / "photos", per_class=12)
    with pytest.raises(UserError, match="photos or their split changed"):
        pl.train(photos, out=tmp_path / "a", config=config, resume=True)


@pytest.mark.parametrize("words", [["--seed", "-1"], ["--threads", "0"]])
def test_numbers_without_meaning(words: list[str], tmp_path: Path) -> None:
    from pocketlens.cli import run

    assert run(["train", str(tmp_path), "--out", str(tmp_path / "x"), *words]) == 2


def test_a_badly_conditioned_network_may_be_as_inexact_as_torch() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(4096, 2, bias=False)
    with torch.no_grad():
        module.weight.mul_(1e6)
    example = torch.ones(1, 4096)
    with torch.inference_mode():
        expected = module(example).numpy()
        exact = module.double()(example.double()).numpy()
    module.float()
    own = abs(expected - exact).max()
    assert own > 0
    assert onnx._as_exact_as_torch(module, example, expected, (exact + 5 * own).astype("f4"))
    assert not onnx._as_exact_as_torch(module, example, expected, (exact + 50 * own).astype("f4"))
    assert not onnx._as_exact_as_torch(module, example, expected, exact * float("nan"))
