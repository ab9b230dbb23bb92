"""Counts of the real data sets, as their README says."""

import csv
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from pocketlens import plugins
from pocketlens.core.split import make_split
from pocketlens.workflows.check import check
from pocketlens.workflows.data import identities, read_dataset
from support import layouts

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
    "pill_aihub": ("aihub", 1383, 17, 0, {"train": 1239, "test": 144}),
    "coco_mini": ("coco", 100, 80, 0, {"train": 50, "val": 50}),
    "imagenet_200": ("csv", 200, 200, 0, {}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_counts(name):
    format, num_samples, num_classes, num_groups, parts = EXPECTED[name]
    data = read_dataset(ROOT / name)
    assert (data.format, len(data), len(data.classes)) == (format, num_samples, num_classes)
    problems = [(p.kind, p.count, p.examples[0].split(":")[0]) for p in data.problems]
    # A sample of a genuine file lies there, its photo doesn't.
    lone = [("missing_photo", 1, "genuine_aihub_sample.json")]
    assert problems == (lone if name == "pill_aihub" else [])
    groups = {sample.group for sample in data.samples} - {None}
    assert groups if num_groups is None else len(groups) == num_groups
    assert Counter(s.part for s in data.samples if s.part) == parts
    assert len(identities(data).identities) == num_samples


def test_every_folder_is_counted():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    text = (ROOT / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert folders == listed == set(EXPECTED)


def test_groups_of_real_data_are_not_divided(tmp_path):
    """Fabrics, crops of one photo, and patients made up for the lesions, five photos each."""
    table = tmp_path / "labels.csv"
    with (ROOT / "skin_lesions" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "patient_id", "label"])
        for i, row in enumerate(rows):
            image = ROOT.resolve() / "skin_lesions" / row["image"]
            writer.writerow([image, f"P{i * 7 % 240}", row["label"]])
    for place, key, number in (
        (ROOT / "stitchingnet", lambda s: s.group, 11),
        (ROOT / "pill_aihub", lambda s: s.path, 267),
        (table, lambda s: s.group, 240),
    ):
        data = read_dataset(place)
        keys = identities(data).identities
        part_of = make_split(data.samples, keys).part_of()
        parts: dict[str, set[str]] = {}
        for sample, identity in zip(data.samples, keys, strict=True):
            if identity in part_of:
                parts.setdefault(key(sample), set()).add(part_of[identity])
        assert len(parts) == number
        assert {len(found) for found in parts.values()} == {1}
        assert set.union(*parts.values()) == {"train", "val", "test"}


def test_pills():
    data = read_dataset(ROOT / "pill_aihub")
    photos = Counter(part for part, _ in {(s.part, s.path) for s in data.samples})
    assert photos == {"train": 246, "test": 21}
    assert data.class_info["K-000016"]["dl_name"] == "tylenol-er"
    assert data.class_counts()["K-000016"] == 245


def test_coco_boxes():
    data = read_dataset(ROOT / "coco_mini", labels="boxes")
    assert (data.task, len(data), len(data.classes)) == ("single_label", 470 + 382 - 10, 80)
    assert {p.kind: p.count for p in data.problems} == {"crowd_box": 10, "photo_without_box": 3}
    photos = read_dataset(ROOT / "coco_mini")
    assert sum(not sample.labels for sample in photos.samples) == 3


def test_genuine_file(tmp_path):
    """Every field of a genuine file is known of its class, but those of the photo's file."""
    source = ROOT / "pill_aihub" / "genuine_aihub_sample.json"
    image = json.loads(source.read_text("utf-8"))["images"][0]
    layouts.photo(tmp_path / "images" / image["file_name"], size=(976, 1280))
    shutil.copy(source, tmp_path)
    data = read_dataset(tmp_path)
    assert data.classes == ("K-010224",)
    assert data.samples[0].box == (146, 751, 255, 422)
    of_the_file = {"file_name", "imgfile", "width", "height", "id", "drug_N"}
    known = data.class_info["K-010224"]
    assert known == {key: image[key] for key in image if key not in of_the_file}
    assert next(iter(known)) == "dl_name"


def test_class_counts():
    assert read_dataset(ROOT / "skin_lesions").class_counts() == {"melanoma": 300, "other": 900}
    assert set(read_dataset(ROOT / "neu_steel").class_counts().values()) == {250}
    fruits = read_dataset(ROOT / "fruits")
    train = Counter(s.labels[0] for s in fruits.samples if s.part == "train")
    assert train == {"apple": 250, "lemon": 250, "raspberry": 250, "mango": 60}
    test = Counter(s.labels[0] for s in fruits.samples if s.part == "test")
    assert test.keys() == train.keys()
    assert all(150 <= count <= 180 for count in test.values())  # "about 166 each"
    cifar = Counter((s.part, s.labels[0]) for s in read_dataset(ROOT / "cifar10").samples)
    assert Counter((part, count) for (part, _), count in cifar.items()) == {
        ("train", 800): 10,
        ("test", 200): 10,
    }
    imagenet = read_dataset(ROOT / "imagenet_200")
    assert imagenet.extra_columns == ("class_index",)
    assert [s.extra for s in imagenet.samples] == [(str(i),) for i in range(2, 1000, 5)]


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
