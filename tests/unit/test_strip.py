"""A checkpoint becomes a bundle that everything else accepts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import read_bundle
from pocketlens.core.errors import UserError
from pocketlens.training import checkpoint
from support.tiny import CONFIG

TINY = replace(CONFIG, epochs=2, checkpoint_minutes=0)


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("strip") / "a"
    pl.train(photos, out=out, config=TINY)
    return out


@pytest.mark.parametrize("named", ["a.run", "a.run/last.safetensors"])
def test_the_best_epoch_is_what_training_kept(finished: Path, tmp_path: Path, named: str) -> None:
    stripped = pl.strip(finished.parent / named, out=tmp_path / "b")
    kept = load_file(finished / "model.safetensors")
    found = load_file(stripped.file("model.safetensors"))
    assert all(torch.equal(kept[name], found[name]) for name in kept)
    assert stripped.split == read_bundle(finished).split


def test_it_is_scored_and_exported_like_any(finished: Path, photos: Path, tmp_path: Path) -> None:
    stripped = pl.strip(f"{finished}.run", out=tmp_path / "b")
    assert pl.evaluate(stripped, photos).score == pl.evaluate(finished, photos).score
    assert stripped.manifest.lineage.seed == 0
    assert stripped.manifest.metrics["best_epoch"] >= 1
    pl.export(stripped, runtime="onnx", out=tmp_path / "onnx")


def test_a_run_that_was_cut_off(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoint.save

    def stop(*given: object) -> None:
        original(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        pl.train(photos, out=tmp_path / "a", config=TINY)
    with pytest.raises(UserError, match="--last"):
        pl.strip(tmp_path / "a.run", out=tmp_path / "b")
    assert run(["strip", str(tmp_path / "a.run"), "--out", str(tmp_path / "b"), "--last"]) == 0
    assert pl.evaluate(tmp_path / "b", photos).num_samples == 9


def test_nothing_to_strip(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no"):
        pl.strip(tmp_path, out=tmp_path / "b")
    (tmp_path / "last.safetensors").write_bytes(
        (Path(f"{finished}.run") / checkpoint.NAME).read_bytes()
    )
    with pytest.raises(UserError, match="is missing"):
        pl.strip(tmp_path, out=tmp_path / "b")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="can't be read"):
        pl.strip(tmp_path, out=tmp_path / "b")
    (tmp_path / "last.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        pl.strip(tmp_path, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_sheet_of_augmented_photos(finished: Path) -> None:
    from PIL import Image

    with Image.open(Path(f"{finished}.run") / "augmentation.png") as sheet:
        assert sheet.size == (8 * 36 + 8, 8 * 36)
