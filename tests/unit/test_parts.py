"""Which samples are scored: by what a bundle was made with, photo by photo."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.dataset import Box, Dataset, file_hash, identity
from pocketlens.core.errors import UserError
from pocketlens.core.split import Split
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed


def boxed(photos: Path) -> Dataset:
    """The same photos, each with a box that no bundle has seen."""
    data = pl.read_dataset(photos)
    return data.subset([replace(s, box=Box(1, 1, 30, 30)) for s in data.samples])


def test_a_new_box_of_a_training_photo_is_no_test_sample(tiny: Bundle, photos: Path) -> None:
    data = boxed(photos)
    examples = examples_of(tiny, as_hashed(data), "test")
    assert len(examples) == len(tiny.split.test)
    tested = {file_hash(data.file(sample)) for sample in examples.samples}
    assert tested == set(tiny.split.test)


def test_a_split_tells_parts_by_photo() -> None:
    split = Split(train=("a@1,1,2,2", "b"), val=("c",), test=("d@1,1,2,2", "d@3,3,2,2"))
    asked = ["a", "b@0,0,1,1", "c@0,0,1,1", "d", "d@3,3,2,2", "e"]
    assert split.parts_of(asked) == ["train", "train", "val", "test", "test", None]


def test_new_photos_are_scored_although_one_was_trained_on(
    tiny: Bundle, photos: Path, make_photos: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    fresh = make_photos(tmp_path / "fresh", per_class=4, seed=9)
    assert pl.evaluate(tiny, fresh).num_samples == 12
    trained = next(
        p for p in sorted((photos / "disc").iterdir()) if file_hash(p) in tiny.split.train
    )
    shutil.copy(trained, fresh / "disc" / f"seen{trained.suffix}")
    assert pl.evaluate(tiny, fresh).num_samples == 12
    assert "1 samples are not scored" in capsys.readouterr().err


def test_data_that_was_all_trained_on_has_nothing_to_score(
    tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    for name in ("disc", "square"):
        (tmp_path / name).mkdir()
        seen = [p for p in (photos / name).iterdir() if file_hash(p) in tiny.split.train]
        shutil.copy(seen[0], tmp_path / name)
    with pytest.raises(UserError, match="name other data"):
        pl.evaluate(tiny, tmp_path)


def test_ranges_are_not_found_on_crops_of_test_photos(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    data = boxed(photos)
    small = pl.compress(
        tiny_onnx, method="onnx-static", calibration=data, out=tmp_path / "q", num_images=60
    )
    config = small.manifest.lineage.config
    assert config["num_calibrated"] == len(tiny_onnx.split.train)
    tests = [s for s in data.samples if file_hash(data.file(s)) in tiny_onnx.split.test]
    keys = [identity(file_hash(data.file(s)), s.box) for s in tests]
    assert set(small.split.parts_of(keys)) == {"test"}


@pytest.mark.parametrize("what", ["bundle", "compare.json", ".pocketlens"])
def test_what_pocketlens_made_inside_the_data_is_not_data(
    tiny: Bundle, make_photos: Callable[..., Path], tmp_path: Path, what: str
) -> None:
    photos = make_photos(tmp_path / "photos", per_class=3)
    run = photos / "run"
    if what == "bundle":
        shutil.copytree(tiny.path, run)
    else:
        run.mkdir()
        (run / what).touch()
    shutil.copy(next((photos / "disc").iterdir()), run / "curves.png")
    result = pl.check(pl.read_dataset(photos))
    assert result.num_samples == 9
    assert set(result.class_counts) == {"bars", "disc", "square"}
    assert "own_output" in {problem.kind for problem in result.problems}
    pl.predict(tiny, photos, out=tmp_path / "out")
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 10


def test_a_downloaded_set_is_data(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "sets" / "train", per_class=2)
    (tmp_path / "sets" / "train" / ".pocketlens").write_text("data")
    assert len(pl.read_dataset(tmp_path / "sets")) == 6


def test_check_tells_the_sizes(photos: Path) -> None:
    result = pl.check(pl.read_dataset(photos))
    low, middle, high = result.sizes["width"]
    assert 40 <= low <= middle <= high < 64
    assert result.to_dict()["sizes"]["height"][2] < 64


def test_explore_does_not_overwrite_the_photos(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "photos", per_class=3)
    (photos / ".pocketlens").write_text("data")
    with pytest.raises(UserError, match="lies in"):
        pl.explore(photos, out=photos, overwrite=True)
    assert len(list(photos.rglob("*.jpg"))) > 0
