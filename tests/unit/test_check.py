"""Numbers in comments are lines of the list of bad input that must be met."""

import json

import numpy as np
import pytest
from PIL import Image

from pocketlens.core.dataset import Box, Sample, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.workflows.check import check, describe
from pocketlens.workflows.data import read_dataset


def photo(path, seed, size=(60, 50), format="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, format)


@pytest.fixture
def data(tmp_path):
    """Two classes of twelve good photos."""
    for i in range(24):
        photo(tmp_path / "data" / "ab"[i % 2] / f"{i}.png", i)
    return tmp_path / "data"


def kinds(result):
    return {problem.kind: problem for problem in result.problems}


def test_good_data(data):
    result = check(read_dataset(data))
    assert json.loads(json.dumps(result.to_dict())) == {
        "format": "image-folder",
        "task": "single_label",
        "num_samples": 24,
        "num_classes": 2,
        "class_counts": {"a": 12, "b": 12},
        "class_counts_by_part": {},
        "splits": {"train": 16, "val": 4, "test": 4},
        "splits_of_training": {"train": 16, "val": 4, "test": 4},
        "num_groups": 0,
        "split_groups": "across",
        "sizes": result.to_dict()["sizes"],
        "problems": [],
    }
    assert "no problems found" in describe(result)


def test_bad_photos_are_listed_and_end_nothing(data):  # Images 1 to 5, 9
    good = (data / "a" / "0.png").read_bytes()
    (data / "a" / "empty.jpg").touch()
    (data / "a" / "cut.png").write_bytes(good[: len(good) // 2])
    (data / "a" / "text.jpg").write_text("I am a photo, honestly")
    (data / "a" / "drawing.jpg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (data / "a" / "tail.png").write_bytes((data / "a" / "2.png").read_bytes() + b"<html>")
    photo(data / "a" / "webp.jpg", 99, format="WEBP")
    problem = kinds(check(read_dataset(data)))["unreadable"]
    assert problem.count == 4
    reasons = "\n".join(problem.examples)
    for text in (
        "empty.jpg: the file is empty",
        "cut.png: damaged",
        "text.jpg: not an image",
        "SVG",
    ):
        assert text in reasons


def test_photos_above_the_limit(data):  # Images 6
    photo(data / "a" / "large.png", 77, size=(61, 51))
    result = check(read_dataset(data), max_pixels=60 * 50)
    assert "above the limit" in kinds(result)["unreadable"].examples[0]


def test_none_can_be_used(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").touch()
    with pytest.raises(DataError, match=r"none of the 1 photos can be used; the first: a/x\.jpg"):
        check(read_dataset(tmp_path))


def test_one_class_and_one_photo_and_an_empty_folder(tmp_path):  # Data sets 10
    photo(tmp_path / "a" / "1.png", 0)
    (tmp_path / "b").mkdir()
    found = kinds(check(read_dataset(tmp_path)))
    assert set(found) == {"single_class", "tiny_class", "empty_class", "cannot_split"}


def test_copies_and_contradictions_can_be_left_out(data, tmp_path):  # Data sets 11
    one = (data / "a" / "0.png").read_bytes()
    (data / "a" / "copy.png").write_bytes(one)
    two = (data / "a" / "2.png").read_bytes()
    (data / "b" / "other.png").write_bytes(two)
    (data / "a" / "bad.png").write_bytes(one[:99])
    file = tmp_path / "out.csv"
    found = kinds(check(read_dataset(data), exclude_to=file))
    assert found["duplicate"].examples == ("a/0.png = a/copy.png",)
    assert found["label_conflict"].examples == ("a/2.png (a) = b/other.png (b)",)
    rest = read_dataset(data, exclude=file)
    assert len(rest) == 27 - 4
    assert {"a/0.png"} == {s.path for s in rest.samples} & {"a/0.png", "a/copy.png", "a/2.png"}
    assert kinds(check(rest)) == {}


def test_leaks_between_parts_keep_the_test(tmp_path):  # Data sets 11
    for part in ("train", "test"):
        for i in range(12):
            photo(tmp_path / "d" / part / "ab"[i % 2] / f"{i}.png", i + 50 * (part == "test"))
    leak = (tmp_path / "d" / "train" / "a" / "0.png").read_bytes()
    (tmp_path / "d" / "test" / "a" / "leak.png").write_bytes(leak)
    near = Image.open(tmp_path / "d" / "train" / "a" / "2.png").resize((120, 100))
    near.save(tmp_path / "d" / "test" / "a" / "near.jpg", quality=80)
    result = check(read_dataset(tmp_path / "d"), exclude_to=tmp_path / "x.csv")
    found = kinds(result)
    assert found["split_leak"].examples == ("test/a/leak.png (test) = train/a/0.png (train)",)
    assert found["near_split_leak"].examples == ("test/a/near.jpg (test) ~ train/a/2.png (train)",)
    assert [entry.filename for entry in result.excluded] == ["train/a/0.png", "train/a/2.png"]
    assert result.splits == {"train": 12, "val": 0, "test": 14}


def test_near_copies_with_another_label(data):
    image = Image.open(data / "a" / "0.png")
    image.save(data / "b" / "again.jpg", quality=85)
    found = kinds(check(read_dataset(data)))
    assert found["near_label_conflict"].examples == ("a/0.png (a) ~ b/again.jpg (b)",)


def test_test_classes_unknown_to_training_and_divided_groups(tmp_path):  # Data sets 15
    for i, place in enumerate(("train/g/a", "train/g/b", "test/g/a", "test/h/new")):
        photo(tmp_path / place / "1.png", i)
    found = kinds(check(read_dataset(tmp_path)))
    assert found["unknown_test_class"].examples == ("new",)
    assert found["group_leak"].examples == ("g: test, train",)


def test_boxes(tmp_path):  # Data sets 13
    photo(tmp_path / "x.png", 0, size=(200, 100))
    boxes = [
        Box(0, 0, 50, 50),
        Box(300, 0, 5, 5),
        Box(0, 0, 0, 5),
        Box(5, 5, -9, 9),
        Box(0, 0, float("nan"), 5),
    ]
    data = make_dataset(tmp_path, "test", [Sample("x.png", ("a",), box=box) for box in boxes])
    result = check(data, exclude_to=tmp_path / "out.csv")
    problem = kinds(result)["bad_box"]
    assert problem.count == 4
    assert "outside the photo of 200x100" in problem.examples[0]
    assert "has no area" in problem.examples[1]
    assert {entry.box for entry in result.excluded} == set(boxes[1:])


def test_sizes_and_imbalance(data):
    photo(data / "c" / "long.png", 50, size=(400, 40))
    photo(data / "c" / "tiny.png", 51, size=(20, 20))
    for i in range(60):
        photo(data / "a" / f"more{i}.png", 1000 + i)
    found = kinds(check(read_dataset(data)))
    assert found["extreme_shape"].examples == ("c/long.png: 400x40",)
    assert found["tiny_photo"].examples == ("c/tiny.png: 20x20",)
    assert found["imbalance"].examples == ("c: 2 of at most 72", "b: 12 of at most 72")
    assert found["tiny_class"].examples == ("c: 2",)


def test_imbalance_is_that_of_the_training_part(tmp_path):
    counts = {("train", "a"): 30, ("train", "b"): 5, ("test", "a"): 2, ("test", "b"): 22}
    for i, ((part, name), number) in enumerate(counts.items()):
        for j in range(number):
            photo(tmp_path / part / name / f"{j}.png", 100 * i + j)
    result = check(read_dataset(tmp_path))
    assert kinds(result)["imbalance"].examples == ("b: 5 of at most 30",)
    given = result.to_dict()
    assert given["class_counts_by_part"] == {"train": {"a": 30, "b": 5}, "test": {"a": 2, "b": 22}}
    assert given["splits"] == {"train": 35, "val": 0, "test": 24}
    used = given["splits_of_training"]
    assert used["train"] + used["val"] == 35
    assert used["val"] > 0
    lines = describe(result).splitlines()
    assert next(line for line in lines if "train" in line).split() == ["all", "train", "test"]
    assert next(line for line in lines if line.startswith("  b")).split() == ["b", "27", "5", "22"]
    told = next(line for line in lines if line.startswith("a training uses"))
    assert f"{used['val']} of the training part are set aside to validate" in told


def test_small_boxes_are_not_called_photos(tmp_path):
    photo(tmp_path / "x.png", 0, size=(200, 100))
    boxes = [Box(0, 0, 50, 50), Box(5, 5, 26, 20), Box(50, 0, 60, 60)]
    data = make_dataset(tmp_path, "test", [Sample("x.png", ("a",), box=box) for box in boxes])
    found = kinds(check(data))
    assert "tiny_photo" not in found
    assert found["tiny_box"].examples == ("x.png: the box 5,5,26,20, 26x20",)


def test_groups_are_told_of(data, tmp_path):
    none = check(read_dataset(data))
    assert none.to_dict()["num_groups"] == 0
    assert "groups: none recognised" in describe(none)
    for i in range(6):
        photo(tmp_path / "fabrics" / f"g{i // 2}" / "ab"[i % 2] / f"{i}.png", i)
    some = check(read_dataset(tmp_path / "fabrics"))
    assert some.to_dict()["num_groups"] == 3
    assert "groups: 3 recognised; each stays in one part" in describe(some)


def test_class_names(tmp_path):  # Data sets 12
    names = [
        "Cat",
        "cat",
        "caf\u00e9",
        "cafe\u0301",
        "=cmd()",
        "<script>",
        "red\x1b[31m",
        "한국어 🍎",
    ]
    for i, name in enumerate(names):
        photo(tmp_path / name / "1.png", i)
    result = check(read_dataset(tmp_path))
    assert kinds(result)["similar_class_names"].count == 2
    assert set(result.class_counts) == set(names)
    text = describe(result)
    assert "\x1b" not in text
    assert "한국어 🍎" in text


def test_links_of_one_photo_are_decoded_once(tmp_path, monkeypatch):  # Data sets 17
    photo(tmp_path / "photo.png", 0)
    (tmp_path / "d" / "a").mkdir(parents=True)
    for i in range(500):
        (tmp_path / "d" / "a" / f"{i}.png").symlink_to(tmp_path / "photo.png")
    from pocketlens.measures import photos

    calls = []
    real = photos.decode_image
    monkeypatch.setattr(photos, "decode_image", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    result = check(read_dataset(tmp_path / "d"))
    assert len(calls) == 1
    assert kinds(result)["duplicate"].count == 499
    assert len(kinds(result)["duplicate"].examples) == 1


def test_the_result_does_not_depend_on_where_photos_lie(data):
    first = check(read_dataset(data)).splits
    (data / "a" / "0.png").rename(data / "a" / "zzz.png")
    assert check(read_dataset(data)).splits == first
