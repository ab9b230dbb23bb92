"""What every data set format does with bad data; numbers in comments are lines of FAULTS."""

import json
import os

import pytest

from pocketlens import plugins
from pocketlens.core.split import make_split
from pocketlens.workflows.check import check, describe
from pocketlens.workflows.data import identities, read_dataset
from support import layouts
from support.layouts import Shot

NAMES = plugins.names("datasets")
#: Formats whose photos are labelled by a file, not by where they lie.
DESCRIBED = [name for name in NAMES if name != "image-folder"]
BOXED = ["aihub", "coco", "voc", "yolo"]
GOOD = [Shot(f"{i:02d}.jpg", "ab"[i % 2], i) for i in range(24)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))


def read(name, place):
    return read_dataset(place, labels="boxes" if name in ("coco", "voc", "yolo") else None)


def write(name, tmp_path, shots, declared=()):
    return layouts.write(name, tmp_path / "d", shots, declared)


def told(data):
    return {problem.kind: problem for problem in check(data).problems}


def labels(data):
    return {os.path.basename(sample.path): sample.labels for sample in data.samples}


def folder_of(tmp_path, photo):
    return next((tmp_path / "d").rglob(photo)).parent


def test_every_format_has_a_layout():
    assert sorted(layouts.WRITERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_good_data(name, tmp_path):
    data = read(name, write(name, tmp_path, GOOD))
    assert labels(data) == {shot.name: (shot.label,) for shot in GOOD}
    assert told(data) == {}


@pytest.mark.parametrize("name", NAMES)
def test_one_class(name, tmp_path):  # 10
    shots = [shot._replace(label="a") for shot in GOOD]
    assert set(told(read(name, write(name, tmp_path, shots)))) == {"single_class"}


@pytest.mark.parametrize("name", NAMES)
def test_one_photo(name, tmp_path):  # 10
    place = write(name, tmp_path, GOOD[:1])
    assert set(told(read(name, place))) == {"single_class", "tiny_class", "cannot_split"}
    assert len(read_dataset(place)) == 1
    assert "cannot_split" in told(read_dataset(place))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_a_photo(name, tmp_path):  # 10
    data = read(name, write(name, tmp_path, GOOD, ["none"]))
    found = told(data)
    if name == "image-folder":
        assert found["empty_class"].examples == ("train/none",)
    elif name in ("coco", "yolo"):  # a bundle must not lose what the annotators meant to have
        assert data.class_counts() == {"a": 12, "b": 12, "none": 0}
        assert found["tiny_class"].examples == ("none: 0",)
    else:
        assert found == {}


@pytest.mark.parametrize("name", NAMES)
def test_one_picture_under_two_labels(name, tmp_path):  # 11
    shots = [*GOOD, GOOD[0]._replace(name="copy.jpg", label="b")]
    conflict = told(read(name, write(name, tmp_path, shots)))["label_conflict"]
    assert conflict.count == 1
    for text in ("00.jpg (a)", "copy.jpg (b)"):
        assert text in conflict.examples[0]


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_one_picture_with_other_sets_of_labels(name, tmp_path):  # 11
    shots = [*GOOD, GOOD[0]._replace(name="copy.jpg", label="b")]
    data = read_dataset(write(name, tmp_path, shots))
    assert data.task == "multi_label"
    assert "copy.jpg (b)" in told(data)["label_conflict"].examples[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("crop", ["same", "other"])
def test_one_picture_in_two_parts(name, crop, tmp_path):  # 11
    tests = [Shot(f"t{i}.jpg", "ab"[i % 2], 100 + i, "test") for i in range(24)]
    box = GOOD[0].box if crop == "same" else (20, 4, 40, 40)
    leak = GOOD[0]._replace(name="leak.jpg", part="test", box=box)
    data = read(name, write(name, tmp_path, [*GOOD, *tests, leak]))
    found = told(data)["split_leak"]
    assert found.count == 1
    for text in ("00.jpg (train)", "leak.jpg (test)"):
        assert text in found.examples[0]
    hashed = identities(data)
    split = make_split(data.samples, hashed.identities)
    photo = {key.split("@")[0] for key in split.test}
    assert not photo & {key.split("@")[0] for key in (*split.train, *split.val)}
    assert any("later part" in note for note in split.notes)


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_missing_photo(name, tmp_path):  # 14
    place = write(name, tmp_path, GOOD)
    (folder_of(tmp_path, "03.jpg") / "03.jpg").unlink()
    data = read(name, place)
    assert labels(data).keys() == {shot.name for shot in GOOD} - {"03.jpg"}
    found = told(data)
    assert set(found) == {"missing_photo"}
    assert found["missing_photo"].count == 1
    assert "03" in found["missing_photo"].examples[0]


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_photo_without_annotation(name, tmp_path):  # 14
    place = write(name, tmp_path, GOOD)
    layouts.photo(folder_of(tmp_path, "03.jpg") / "stray.jpg", 500)
    data = read(name, place)
    assert len(data) == len(GOOD)
    found = told(data)
    assert set(found) == {"photo_without_annotation"}
    assert found["photo_without_annotation"].count == 1
    assert found["photo_without_annotation"].examples[0].endswith("stray.jpg")


@pytest.mark.parametrize("name", DESCRIBED)
def test_which_of_two_photos_is_never_guessed(name, tmp_path):  # 14
    place = write(name, tmp_path, GOOD)
    folder = folder_of(tmp_path, "03.jpg")
    for inner in ("one", "two"):
        layouts.photo(folder / inner / "03.jpg", ord(inner[0]) + 500)
    (folder / "03.jpg").unlink()
    data = read(name, place)
    assert "03.jpg" not in labels(data)
    found = told(data)
    assert found.keys() & {"missing_photo", "ambiguous_photo"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "voc"])  # it has one folder
def test_photos_of_one_name_in_different_parts(name, tmp_path):  # 14
    shots = [*GOOD, *(s._replace(picture=s.picture + 100, part="test") for s in GOOD)]
    data = read(name, write(name, tmp_path, shots))
    assert len({sample.path for sample in data.samples}) == 2 * len(GOOD)
    for sample in data.samples:
        assert sample.part in sample.path
        number = int(os.path.basename(sample.path)[:2])
        assert sample.labels == ("ab"[number % 2],)
    assert told(data) == {}


@pytest.mark.parametrize("name", NAMES)
def test_folders_and_links_that_lead_nowhere(name, tmp_path, monkeypatch):  # 16
    place = write(name, tmp_path, GOOD)
    folder = folder_of(tmp_path, "03.jpg")
    (folder / "gone.jpg").symlink_to(folder / "nothing.jpg")
    (folder / "self.jpg").symlink_to("self.jpg")
    (folder / "back").symlink_to(tmp_path / "d")
    (folder / "locked").mkdir()
    real = os.scandir

    def scandir(path="."):  # patched, since root may read all
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    data = read(name, place)
    assert len(data) == len(GOOD)
    found = told(data)
    places = "\n".join(found["broken_link"].examples)
    assert "gone.jpg" in places
    assert "self.jpg" in places
    if name not in ("csv", "yaml"):  # a table's folders are not searched unless a name asks for it
        assert found["broken_link"].count == 3
        assert "locked" in found["unreadable_folder"].examples[0]
    assert not found.keys() - {"broken_link", "unreadable_folder", "mixed_folder"}


@pytest.mark.parametrize("name", NAMES)
def test_strange_class_names_stay_text(name, tmp_path):  # 12
    strange = [
        "..",
        "CON",
        "<script>alert(1)</script>",
        "=cmd()",
        "x" * 300,
        "한국어 🍎",
        "Cat",
        "cat",
    ]
    if name == "image-folder":  # no folder may be called so
        strange = [text for text in strange if "/" not in text and ".." not in text]
        strange = [text[:200] for text in strange]
    shots = [Shot(f"{i:02d}.jpg", strange[i % len(strange)], i) for i in range(2 * len(strange))]
    outside = {path for path in tmp_path.parent.iterdir() if path != tmp_path}
    place = write(name, tmp_path, shots)
    data = read(name, place)
    assert data.classes == tuple(sorted(strange))
    assert labels(data) == {shot.name: (shot.label,) for shot in shots}
    result = check(data, exclude_to=tmp_path / "out.csv")
    assert json.loads(json.dumps(result.to_dict()))["class_counts"].keys() == set(strange)
    assert "한국어 🍎" in describe(result)
    found = {problem.kind: problem for problem in result.problems}
    assert found["similar_class_names"].examples == ("'Cat' / 'cat'",)
    assert outside == {path for path in tmp_path.parent.iterdir() if path != tmp_path}
