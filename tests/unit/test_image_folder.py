"""Numbers in comments are lines of the list of bad input that must be met (Data sets)."""

import os
from pathlib import Path

import pytest

from pocketlens.core.errors import DataError
from pocketlens.datasets.image_folder import Config, read, recognises


def tree(root, *files):
    """Reading looks at names only, so empty files will do."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def found(root):
    return [(s.path, s.labels[0], s.group, s.part) for s in read(root, Config()).samples]


def problems(root):
    return {p.kind: (p.count, p.examples) for p in read(root, Config()).problems}


def test_class_folders(tmp_path):
    tree(
        tmp_path,
        "b/2.png",
        "a/1.JPG",
        "a/notes.txt",
        "a/.hidden.jpg",
        ".cache/x/1.jpg",
        "__MACOSX/a/1.jpg",
    )
    assert recognises(tmp_path)
    assert found(tmp_path) == [("a/1.JPG", "a", None, None), ("b/2.png", "b", None, None)]
    assert problems(tmp_path) == {}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("trainset", "valset", "testset"),
        ("train2017", "validation", "test2017"),
    ],
)
def test_parts(tmp_path, names):
    tree(tmp_path, *(f"{name}/a/1.jpg" for name in names))
    assert {s.path.split("/")[0]: s.part for s in read(tmp_path, Config()).samples} == dict(
        zip(names, ("train", "val", "test"), strict=True)
    )


def test_upper_levels_are_the_group(tmp_path):
    tree(tmp_path, "train/2024/denim/torn/1.jpg", "test/torn/1.jpg")
    assert found(tmp_path) == [
        ("test/torn/1.jpg", "torn", None, "test"),
        ("train/2024/denim/torn/1.jpg", "torn", "2024/denim", "train"),
    ]


def test_a_lone_wrapper_folder_is_entered(tmp_path):
    tree(tmp_path, "archive/train/a/1.jpg", "archive/test/a/1.jpg")
    assert [s[3] for s in found(tmp_path)] == ["test", "train"]


def test_a_class_may_be_called_test(tmp_path):
    tree(tmp_path, "test/1.jpg", "control/1.jpg")
    assert [(s[1], s[3]) for s in found(tmp_path)] == [("control", None), ("test", None)]


def test_unlabelled_parts_are_no_classes(tmp_path):
    tree(tmp_path, "train/1.jpg", "test/1.jpg")
    assert not recognises(tmp_path)
    with pytest.raises(DataError, match="outside any class folder"):
        read(tmp_path, Config())


def test_findings(tmp_path):  # 10
    tree(
        tmp_path,
        "train/a/1.jpg",
        "train/stray.jpg",
        "top.jpg",
        "docs/x.txt",
        "train/b/c/1.jpg",
        "train/b/1.jpg",
    )
    (tmp_path / "train" / "empty").mkdir()
    assert problems(tmp_path) == {
        "outside_class": (2, ("top.jpg", "train/stray.jpg")),
        "mixed_folder": (1, ("train/b",)),
        "empty_class": (1, ("train/empty",)),
        "unused_folder": (1, ("docs",)),
    }
    assert ("train/b/c/1.jpg", "c", "b", "train") in found(tmp_path)
    assert ("train/b/1.jpg", "b", None, "train") in found(tmp_path)


def test_links(tmp_path):  # 16
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "b" / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "b" / "2.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    assert recognises(tmp_path)
    assert [s[0] for s in found(tmp_path)] == ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    count, examples = problems(tmp_path)["broken_link"]
    assert (count, set(examples)) == (3, {"a/loop", "a/self.jpg", "b/gone.jpg"})


def test_unreadable_folder(tmp_path, monkeypatch):  # 16; patched, since root may read all
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert problems(tmp_path)["unreadable_folder"] == (1, ("b: Permission denied",))
    assert len(found(tmp_path)) == 1


def test_class_names_are_kept_as_text(tmp_path):  # 12
    names = [
        "CON",
        "<script>alert(1)<",
        "=cmd()",
        "가" * 80,
        "한국어 🍎",
        "cat",
        "Cat",
        "a|b",
    ]
    tree(tmp_path, *(f"{name}/1.jpg" for name in names))
    assert set(read(tmp_path, Config()).classes) == set(names)


def test_class_names_that_are_no_utf8(tmp_path):  # 12: archives from Korean Windows
    folder = os.fsencode(tmp_path) + b"/" + "사과".encode("cp949")
    Path(os.fsdecode(folder)).mkdir()
    open(folder + b"/1.jpg", "w").close()
    data = read(tmp_path, Config())
    assert data.classes == ("\\xbb\\xe7\\xb0\\xfa",)
    assert Path(data.file(data.samples[0])).exists()


@pytest.mark.parametrize(
    "files",
    [
        {"labels.csv": ""},
        {"annotations/instances.json": '{"info": {}, "images": []}'},
        {"a/_annotations.coco.json": '{"images": []}'},
        {"data.yaml": "names: []"},
        {"labels/1.txt": "0 .5 .5 1 1", "images/1.jpg": ""},
        {"Annotations/1.xml": "<annotation><object/></annotation>"},
        {"data.csv": "filename,label\n"},
    ],
)
def test_described_folders_belong_to_other_formats(tmp_path, files):
    tree(tmp_path, "a/1.jpg", "b/1.jpg", *files)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert not recognises(tmp_path)


def test_side_files_do_not_matter(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "cat_to_name.json").write_text('{"1": "pink primrose"}')
    (tmp_path / "a" / "1.jpg.json").write_text('{"title": "1.jpg"}')
    (tmp_path / "notes.csv").write_text("when,who\n")
    assert recognises(tmp_path)


def test_nothing_there(tmp_path):
    assert not recognises(tmp_path)
    with pytest.raises(DataError, match="no labelled photo"):
        read(tmp_path, Config())


def test_labels_and_groups_are_shared_objects(tmp_path):  # 17
    tree(tmp_path, *(f"g/a/{i}.jpg" for i in range(10)))
    samples = read(tmp_path, Config()).samples
    assert len({id(s.labels) for s in samples}) == len({id(s.group) for s in samples}) == 1
