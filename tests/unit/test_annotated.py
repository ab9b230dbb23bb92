"""What the annotated formats have in common; numbers in comments are lines of FAULTS."""

import os
from pathlib import Path

import pytest

from pocketlens.core.dataset import Box
from pocketlens.core.errors import DataError
from pocketlens.datasets import _photos
from pocketlens.workflows.check import check
from pocketlens.workflows.data import identities, read_dataset
from support import layouts

WITH_BOXES = sorted(layouts.MAKERS)
BY_PHOTO = ["coco", "voc", "yolo"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))


def boxes(root, name):
    return read_dataset(root, labels=None if name == "aihub" else "boxes")


def found(dataset):
    return {p.kind: (p.count, p.examples[0]) for p in dataset.problems}


@pytest.mark.parametrize("name", WITH_BOXES)
def test_boxes_are_samples(name, tmp_path):
    data = boxes(layouts.MAKERS[name](tmp_path / "d"), name)
    assert (data.format, data.task) == (name, "single_label")
    expected = {
        (photo, label, Box(*map(float, box)))
        for photo, things in layouts.PHOTOS.items()
        for label, box in things
    }
    got = {(Path(s.path).name, s.labels[0], s.box) for s in data.samples}
    assert {(photo, label) for photo, label, _ in got} == {(p, b) for p, b, _ in expected}
    for (*_, one), (*_, other) in zip(sorted(got), sorted(expected), strict=True):
        assert one == pytest.approx(other, abs=0.01)
    assert len(identities(data).identities) == 3
    lone = [kind for kind in found(data) if kind.startswith("photo_without")]
    assert len(lone) == 1
    assert found(data)[lone[0]][1].endswith("3.jpg")


@pytest.mark.parametrize("name", BY_PHOTO)
def test_photos_carry_all_their_labels(name, tmp_path):
    data = read_dataset(layouts.MAKERS[name](tmp_path))
    assert (data.format, data.task, data.problems) == (name, "multi_label", ())
    labels = {Path(s.path).name: s.labels for s in data.samples}
    assert labels == {"1.jpg": ("cat", "dog"), "2.jpg": ("dog",), "3.jpg": ()}
    # VOC knows no names beside those it meets.
    assert data.classes == (("cat", "dog") if name == "voc" else ("cat", "dog", "unicorn"))


@pytest.mark.parametrize("name", WITH_BOXES)
def test_impossible_boxes_are_listed_and_end_nothing(name, tmp_path):  # Data sets 13
    bad = {
        "1.jpg": [("cat", (4, 4, 20, 20)), ("dog", (500, 10, 24, 30)), ("dog", (4, 4, 0, 10))],
        "2.jpg": [("dog", (2, 6, -9, 32)), ("cat", (2, 6, 30, 20)), ("dog", (9, 9, 9, 9))],
    }
    data = boxes(layouts.MAKERS[name](tmp_path / "d", bad), name)
    assert len(data) == 6
    result = check(data, exclude_to=tmp_path / "out.csv")
    problems = {p.kind: p for p in result.problems}
    assert problems["bad_box"].count == 3
    left = read_dataset(
        tmp_path / "d", labels=None if name == "aihub" else "boxes", exclude=tmp_path / "out.csv"
    )
    assert len(left) == 3
    assert len(list((tmp_path / "d").rglob("*.jpg"))) == 2  # nothing was moved


@pytest.mark.parametrize("name", WITH_BOXES)
def test_missing_and_unannotated_photos(name, tmp_path):  # Data sets 14
    layouts.MAKERS[name](tmp_path)
    gone = next(tmp_path.rglob("2.jpg"))
    layouts.photo(gone.with_name("new.jpg"), 77)
    gone.unlink()
    problems = found(boxes(tmp_path, name))
    assert problems["missing_photo"][0] == 1
    assert "2" in problems["missing_photo"][1]
    assert problems["photo_without_annotation"][1].endswith(("new.jpg", "3.jpg"))


@pytest.mark.parametrize("name", ["aihub", "coco", "voc"])
def test_two_photos_of_one_name_are_not_guessed(name, tmp_path):  # Data sets 14
    layouts.MAKERS[name](tmp_path)
    original = next(tmp_path.rglob("1.jpg"))
    for folder in ("a", "b"):
        layouts.photo(original.parent / folder / "1.jpg", ord(folder))
    original.unlink()
    data = boxes(tmp_path, name)
    assert [Path(s.path).name for s in data.samples] == ["2.jpg"]
    assert found(data)["ambiguous_photo"][0] == (1 if name in ("coco", "voc") else 2)


@pytest.mark.parametrize("name", WITH_BOXES)
def test_no_usable_photo(name, tmp_path):
    layouts.MAKERS[name](tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match="no labelled photo found"):
        boxes(tmp_path, name)


@pytest.mark.parametrize("name", WITH_BOXES)
def test_links_in_a_circle_and_to_nowhere(name, tmp_path):  # Data sets 16
    layouts.MAKERS[name](tmp_path)
    folder = next(tmp_path.rglob("1.jpg")).parent
    (folder / "back").symlink_to(tmp_path)
    (folder / "gone.jpg").symlink_to(folder / "nothing.jpg")
    data = boxes(tmp_path, name)
    assert len(data) == 3
    assert found(data)["broken_link"][0] == 2


def test_options_that_a_format_lacks(tmp_path):
    layouts.aihub(tmp_path)
    with pytest.raises(Exception, match="is read in one way only, so leave out --labels"):
        read_dataset(tmp_path, labels="boxes")
    with pytest.raises(Exception, match="no columns"):
        read_dataset(tmp_path, group_column="x")


@pytest.mark.parametrize(
    ("values", "good"),
    [
        ([1, 2, 3, 4], True),
        ([1.5, -2, 0, 4], True),
        ([1, 2, 3], False),
        ([1, 2, 3, float("nan")], False),
        ([1, 2, 3, float("inf")], False),
        ([1, 2, 3, 10**400], False),
        ([1, 2, 3, "4"], False),
        ([True, 2, 3, 4], False),
        ("1234", False),
        (None, False),
    ],
)
def test_as_box(values, good):
    assert (_photos.as_box(values) is not None) == good


def test_part_in_names():
    assert _photos.part_in(os.path.join("1.Training", "x", "a.jpg")) == "train"
    assert _photos.part_in(os.path.join("test_images", "a.jpg")) == "test"
    assert _photos.part_in(os.path.join("contest", "train.jpg")) is None
    assert _photos.part_in_name("instances_val2017") == "val"
