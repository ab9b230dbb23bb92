"""Counts of the real data sets, as their README says."""

import os
from collections import Counter
from pathlib import Path

import pytest

from pocketlens import plugins
from pocketlens.workflows.check import check
from pocketlens.workflows.data import identities, read_dataset

FOLDER = os.environ.get("POCKETLENS_DATA")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER, reason="POCKETLENS_DATA names no folder of real photos"),
]
ROOT = Path(FOLDER or ".")

EXPECTED = {
    # name: format, samples, classes, groups, given parts
    "neu_steel": ("image-folder", 1500, 6, 0, {}),
    "stitchingnet": ("image-folder", 114, 11, 11, {}),
    "fruits": ("image-folder", 1472, 4, 0, {"train": 810, "test": 662}),
    "cifar10": ("image-folder", 10_000, 10, 0, {"train": 8000, "test": 2000}),
    "skin_lesions": ("csv", 1200, 2, None, {}),
    "imagenet_200": ("csv", 200, 200, 0, {}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_counts(name):
    format, num_samples, num_classes, num_groups, parts = EXPECTED[name]
    data = read_dataset(ROOT / name)
    assert (data.format, len(data), len(data.classes)) == (format, num_samples, num_classes)
    assert data.problems == ()
    groups = {sample.group for sample in data.samples} - {None}
    assert groups if num_groups is None else len(groups) == num_groups
    assert Counter(s.part for s in data.samples if s.part) == parts
    assert len(identities(data).identities) == num_samples


def test_class_counts():
    assert read_dataset(ROOT / "skin_lesions").class_counts() == {"melanoma": 300, "other": 900}
    assert set(read_dataset(ROOT / "neu_steel").class_counts().values()) == {250}
    fruits = read_dataset(ROOT / "fruits")
    train = Counter(s.labels[0] for s in fruits.samples if s.part == "train")
    assert train == {"apple": 250, "lemon": 250, "raspberry": 250, "mango": 60}
    assert read_dataset(ROOT / "imagenet_200").extra_columns == ("class_index",)


@pytest.mark.parametrize("name", ["pill_aihub", "coco_mini"])
def test_annotated_photos_are_no_class_folders(name):
    for format in ("image-folder", "csv"):
        assert not plugins.load("datasets", format).recognises(ROOT / name)


def test_check_of_real_photos():
    result = check(read_dataset(ROOT / "skin_lesions"))
    assert result.splits == {"train": 840, "val": 180, "test": 180}
    assert result.problems == ()
    fruits = {p.kind for p in check(read_dataset(ROOT / "fruits")).problems}
    assert "near_split_leak" in fruits  # views of one turning fruit
    steel = {p.kind: p.count for p in check(read_dataset(ROOT / "neu_steel")).problems}
    assert steel["duplicate"] == 1
    assert "near_label_conflict" not in steel
