import json
import os

import pytest

from pocketlens.core.dataset import Box
from pocketlens.datasets import aihub
from pocketlens.workflows.data import read_dataset
from support import layouts


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "d"


def put(root, stem, value, part="train", folder="k"):
    path = root / f"{part}_annotations" / folder / f"{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


def kinds(data):
    return {problem.kind: problem.count for problem in data.problems}


def test_photos_are_those_of_the_same_part(root):
    layouts.aihub(root, part="train")
    layouts.aihub(root, part="test")
    data = read_dataset(root)
    assert {(s.part, s.path.split("_")[0]) for s in data.samples} == {
        ("train", "train"),
        ("test", "test"),
    }
    (root / "test_images" / "2.jpg").unlink()
    assert kinds(read_dataset(root))["missing_photo"] == 1  # never the one of train


def test_photos_lie_anywhere_and_by_name_alone(root):
    layouts.photo(root / "1.Training" / "원천데이터" / "TS_1" / "K-1" / "a.png")
    label = root / "1.Training" / "라벨링데이터" / "TL_1" / "K-1_json" / "a.json"
    label.parent.mkdir(parents=True)
    label.write_text(json.dumps(layouts.pill("K-1", "wrong/place/a.png", [1, 2, 3, 4])))
    sample = read_dataset(root).samples[0]
    assert (sample.part, sample.box) == ("train", Box(1, 2, 3, 4))


def test_recognised_below_a_level_of_many_folders(root):
    layouts.aihub(root, {f"{i:03d}.jpg": [("K-1", (1, 2, 3, 4))] for i in range(250)})
    data = read_dataset(root)
    assert (data.format, len(data)) == ("aihub", 250)


def test_what_is_known_of_a_class(root):
    layouts.photo(root / "train_images" / "a.jpg")
    for i, maker in enumerate(["Bayer", "Bayer", "bayr"]):
        known = {"dl_company": maker, "camera_la": 70 + i, "back_color": "grey", "serial": None}
        put(root, "a", layouts.pill("K-1", "a.jpg", [i, 2, 3, 4], **known), folder=str(i))
    # The most frequent spelling; how a photo was taken only where all agree.
    assert read_dataset(root).class_info["K-1"] == {
        "dl_name": "drug K-1",
        "dl_company": "Bayer",
        "back_color": "grey",
        "serial": None,
    }


def test_files_of_no_use_are_listed(root):
    layouts.aihub(root, {"1.jpg": [("K-1", (1, 2, 3, 4))]})
    put(root, "cut", '{"images": [')
    put(root, "list", "[1]")
    put(root, "empty", {"images": [], "annotations": []})
    put(root, "number", {"images": [{"file_name": 3, "drug_N": "K"}], "annotations": [{}]})
    put(root, "nocode", {"images": [{"file_name": "1.jpg"}], "annotations": []})
    put(root, "nobox", layouts.pill("K-1", "1.jpg", []))
    put(root, "text", layouts.pill("K-1", "1.jpg", ["a", 2, 3, 4]))
    two = layouts.pill("K-1", "1.jpg", [2, 2, 3, 4])
    two["annotations"] *= 2
    put(root, "two", two)
    for _ in range(2):  # the second time from the cache
        data = read_dataset(root)
        assert len(data) == 2
        assert kinds(data) == {
            "unreadable_annotation": 4,
            "missing_label": 1,
            "malformed_box": 2,
            "several_boxes": 1,
        }


def test_the_cache_is_right_and_never_needed(root, cache, monkeypatch):
    layouts.aihub(root)
    first = read_dataset(root)
    [store] = cache.rglob("*.jsonl")
    read: list[str] = []
    parse = aihub._parsed
    monkeypatch.setattr(aihub, "_parsed", lambda path, *a: (read.append(path), parse(path, *a))[1])
    assert read_dataset(root) == first
    assert read == []
    # One changed, one new, one gone.
    changed = next(root.rglob("dog_0/2.json"))
    changed.write_text(json.dumps(layouts.pill("bird", "2.jpg", [1, 1, 5, 5])))
    put(root, "1", layouts.pill("new", "1.jpg", [0, 0, 2, 2]))
    next(root.rglob("cat_0/1.json")).unlink()
    again = read_dataset(root)
    assert again.classes == ("bird", "dog", "new")
    assert len(read) == 2
    # Same size, another time.
    text = changed.read_text()
    changed.write_text(text.replace("bird", "fish"))
    os.utime(changed, ns=(1, 1))
    assert "fish" in read_dataset(root).classes
    whole = read_dataset(root)
    for damage in (b"", b"\xff", b'{"aihub": 2}\n[1]\n', store.read_bytes()[:-40], b"[]\n" * 9):
        store.write_bytes(damage)
        assert read_dataset(root) == whole
    lines = store.read_text().splitlines()
    store.write_text("\n".join([lines[0], lines[1].replace('\\"dl_name', "dl_name")]))
    assert read_dataset(root) == whole


def test_the_cache_is_written_again_only_from_the_first_difference(root, cache):
    layouts.aihub(root)
    read_dataset(root)
    [store] = cache.rglob("*.jsonl")
    lines, written = store.read_text().splitlines(), store.stat().st_ino
    assert len(lines) == 4
    read_dataset(root)
    assert store.stat().st_ino == written
    for number in (3, 2, 1):  # the last, then the last again, then the only one
        path = json.loads(lines[number])[0]
        (root / path).unlink()
        if number > 1:
            read_dataset(root)
            assert store.read_text().splitlines() == lines[:number]
    assert [path.name for path in store.parent.iterdir()] == [store.name]


def test_a_cache_that_cannot_be_written(root, tmp_path, monkeypatch):
    layouts.aihub(root)
    (tmp_path / "file").touch()
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "file"))
    assert len(read_dataset(root)) == 3
    assert not [p for p in root.rglob("*") if p.suffix not in ("", ".json", ".jpg")]
