"""Labelled photos out of archives: the layouts, and what a hostile one can't reach."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlens.core.dataset import Box
from pocketlens.service.archives import ArchiveError, Limits
from pocketlens.service.layouts import Contents, read_archive
from pocketlens.service.marks import Incoming

Encode = Callable[..., bytes]


def _zip(files: Mapping[str, bytes | str]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out


@pytest.fixture
def photo(encode: Encode) -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        rng = np.random.default_rng(number)
        return encode(rng.integers(0, 256, size=(50, 100, 3), dtype=np.uint8))

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[Contents, list[Incoming]]]:
    """What an archive holds; nothing of it is left afterwards."""

    def kept() -> set[Path]:
        return set((Path(os.environ["POCKETLENS_CACHE"]) / "aihub").glob("*"))

    def read(files: Mapping[str, bytes | str], **options: Any) -> tuple[Contents, list[Incoming]]:
        work = tmp_path / "work" / "upload"
        before = kept()  # of other tests
        try:
            with read_archive(_zip(files), work, **options) as contents:
                return contents, list(contents.photos)
        finally:
            assert not work.exists()
            assert kept() == before

    return read


Read = Callable[..., tuple[Contents, list[Incoming]]]
Photo = Callable[[int], bytes]


def _labels(photos: list[Incoming]) -> dict[str, list[str]]:
    return {
        photo.name: [label for mark in photo.marks for label in mark.labels] for photo in photos
    }


def _codes(contents: Contents) -> dict[str, str]:
    return {refused.name: refused.code for refused in contents.rejected}


def test_folders_named_after_classes(read: Read, photo: Photo) -> None:
    contents, photos = read(
        {"cat/1.png": photo(1), "dog/2.png": photo(2), "dog/readme.pdf": b"x", "dog/x.zip": b"x"}
    )
    assert (contents.format, contents.task) == ("image-folder", "single_label")
    assert _labels(photos) == {"cat/1.png": ["cat"], "dog/2.png": ["dog"]}
    assert photos[0].data == photo(1)
    assert _codes(contents) == {"dog/readme.pdf": "not_used", "dog/x.zip": "nested_archive"}


def test_folders_that_only_wrap(read: Read, photo: Photo) -> None:
    """A group would keep all photos in one part of the split."""
    for wrapper in ("", "photos/", "a/b/"):
        _, photos = read({f"{wrapper}cat/1.png": photo(1), f"{wrapper}dog/2.png": photo(2)})
        assert list(_labels(photos).values()) == [["cat"], ["dog"]]
        assert {mark.group for one in photos for mark in one.marks} == {None}, wrapper
    _, photos = read({"cat/1.png": photo(1), "cat/2.png": photo(2)})
    assert _labels(photos) == {"cat/1.png": ["cat"], "cat/2.png": ["cat"]}
    _, photos = read({"x/train/cat/1.png": photo(1), "x/test/cat/2.png": photo(2)})
    assert [mark.part for one in photos for mark in one.marks] == ["test", "train"]


def test_names_of_classes_stay_as_they_are(read: Read, photo: Photo) -> None:
    """FAULTS 12, also where a file system couldn't hold them or would take two for one."""
    names = ["CON", "<script>alert(1)<", "=cmd()", "x" * 300, "알약 💊", "cat", "Cat", "nul.", "a "]
    files = {f"{name}/{number}.png": photo(number) for number, name in enumerate(names)}
    _, photos = read(files)
    assert sorted(label for labels in _labels(photos).values() for label in labels) == sorted(names)
    long = f"{'y' * 300}.png"
    _, photos = read({f"a/{long}": photo(1), "b/1.png": photo(2)})
    assert len(photos) == 2


def test_a_file_and_a_folder_of_one_name(read: Read, photo: Photo) -> None:
    contents, photos = read(
        {"a/x.png": photo(1), "a/X.png/1.png": photo(2), "b/y.png/1.png": photo(3), "b/y.png": b""}
    )
    assert len(photos) == 3
    assert _codes(contents)["b/y.png"] == "name_collision"


def _pill(name: str, code: str, box: list[float], drug: str) -> str:
    image = {"file_name": name, "drug_N": code, "dl_name": drug, "chart": "하양, 원형"}
    return json.dumps({"images": [image], "annotations": [{"bbox": box}]}, ensure_ascii=False)


def test_aihub(read: Read, photo: Photo) -> None:
    contents, photos = read(
        {
            "images/1.png": photo(1),
            "images/2.png": photo(2),
            "labels/1/a.json": _pill("1.png", "K-000001", [10, 10, 20, 20], "타이레놀"),
            "labels/1/b.json": _pill("1.png", "K-000002", [50, 10, 20, 20], "게보린"),
            "labels/2/c.json": _pill("../../../etc/passwd", "K-000002", [1, 1, 2, 2], "x"),
            "labels/2/d.json": "{",
        }
    )
    assert (contents.format, contents.task) == ("aihub", "single_label")
    (one,) = photos
    assert [(mark.labels, mark.box) for mark in one.marks] == [
        (("K-000001",), Box(10, 10, 20, 20)),
        (("K-000002",), Box(50, 10, 20, 20)),
    ]
    assert contents.class_info["K-000001"] == {"dl_name": "타이레놀", "chart": "하양, 원형"}
    assert sorted(_codes(contents).values()) == [
        *("missing_photo", "photo_without_annotation", "unreadable_annotation"),
    ]


def test_yolo(read: Read, photo: Photo) -> None:
    files = {
        "ds/images/train/1.png": photo(1),
        "ds/labels/train/1.txt": "0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.1 0.1\n",
        "ds/images/test/2.png": photo(2),
        "ds/labels/test/2.txt": "1 0.5 0.5 0.2 0.4\n",
    }
    table = "names: {0: pill, 1: 캡슐}\n"
    expected = {"ds/images/test/2.png": ["캡슐"], "ds/images/train/1.png": ["pill", "캡슐"]}
    for extra, options in (
        ({"ds/data.yaml": table}, {}),
        ({"ds/classes.txt": "pill\n캡슐\n"}, {}),
        ({}, {"classes": ["pill", "캡슐"]}),
        ({"ds/data.yaml": "names: [x, y]"}, {"classes": ["pill", "캡슐"]}),
    ):
        contents, photos = read({**files, **extra}, **options)
        assert (contents.format, contents.task) == ("yolo", "single_label")
        assert _labels(photos) == expected
        assert photos[1].marks[0].box == Box(40, 15, 20, 20)
        assert [mark.part for one in photos for mark in one.marks] == ["test", "train", "train"]
    contents, photos = read({**files, "ds/data.yaml": table}, labels="photos")
    assert contents.task == "multi_label"
    assert photos[1].marks[0].labels == ("pill", "캡슐")


def test_paths_in_a_yaml_file_lead_nowhere(
    read: Read, photo: Photo, tmp_path: Path, encode: Encode
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "mine.png").write_bytes(photo(9))
    (secret / "mine.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "list.txt").write_text(f"{secret}/mine.png\n")
    files = {"images/1.png": photo(1), "labels/1.txt": "0 0.5 0.5 0.2 0.4\n"}
    for line in (f"train: {secret}", f"path: {secret}\ntrain: .", f"train: {tmp_path}/list.txt"):
        _, photos = read({**files, "data.yaml": f"{line}\nnames: [pill]\n"})
        assert _labels(photos) == {"images/1.png": ["pill"]}
    for names in ("/dev/zero", "{a: b}", "[[x]]", "&a [*a]", "!!python/object:os.system x"):
        contents, photos = read({**files, "data.yaml": f"names: {names}\n"})
        assert _labels(photos) == {"images/1.png": ["0"]}
        assert _codes(contents) == {"data.yaml": "damaged"}


def test_an_expanding_yaml_file(read: Read, photo: Photo) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    files = {"images/1.png": photo(1), "labels/1.txt": "0 0.5 0.5 0.2 0.4\n"}
    contents, _ = read({**files, "data.yaml": "\n".join([*lines, "names: *a11"])})
    assert _codes(contents) == {"data.yaml": "damaged"}


def test_archives_without_labelled_photos(read: Read, photo: Photo) -> None:
    for files, code in (
        ({}, "no_photo"),
        ({"a.txt": "x"}, "no_photo"),
        ({"1.png": photo(1)}, "unknown_layout"),
        ({"a/1.png": photo(1), "x.json": '{"images": [], "annotations": []}'}, "unknown_layout"),
        ({"images/1.png": photo(1), "labels/2.txt": ""}, "no_labelled_photo"),
    ):
        with pytest.raises(ArchiveError) as raised:
            read(files)
        assert raised.value.code == code, files.keys()
        assert "/tmp" not in str(raised.value)
        assert "work" not in str(raised.value)


def test_limits_hold_while_unpacking(read: Read) -> None:
    files = {f"a/{number}.bmp": bytes(1_000_000) for number in range(4)}
    with pytest.raises(ArchiveError, match="larger"):
        read(files, limits=Limits(ratio=0.5, spare_bytes=0))


def test_only_the_process_may_read_what_is_unpacked(photo: Photo, tmp_path: Path) -> None:
    work = tmp_path / "work"
    archive = _zip({"a/1.png": photo(1), "b/2.png": photo(2)})
    with read_archive(archive, work) as contents:
        for path in (work, *work.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path
        assert len(list(contents.photos)) == 2
    assert not work.exists()


@pytest.mark.real
def test_real_pills(data_dir: Path, tmp_path: Path) -> None:
    """AI-Hub's own layout, and what is known of the drugs."""
    root = data_dir / "pill_aihub"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for part in ("test_images", "test_annotations"):
            for path in sorted((root / part).rglob("*")):
                if path.is_file():
                    made.write(path, f"pills/{path.relative_to(root)}")
    with read_archive(out, tmp_path / "work") as contents:
        photos = list(contents.photos)
        assert contents.format == "aihub"
        assert len(photos) == len(list((root / "test_images").iterdir()))
        labels = {label for one in photos for mark in one.marks for label in mark.labels}
        assert labels == contents.class_info.keys()
        assert all(info["dl_name"] for info in contents.class_info.values())
        assert all(mark.part == "test" for one in photos for mark in one.marks)
        assert not contents.rejected


@pytest.mark.parametrize(
    "names",
    [
        ("images/{}.png", "labels.csv"),
        ("images/{}.png", "annotations/instances.json"),
        ("JPEGImages/{}.png", "Annotations/1.xml"),
        ("train2017/{}.png", "annotations/instances_train2017.json"),
    ],
)
def test_a_folder_of_photos_beside_a_table_is_no_class(
    read: Read, photo: Photo, names: tuple[str, str]
) -> None:
    """All photos were taken in under the label `images`, and their right one refused afterwards."""
    files = {names[0].format(number): photo(number) for number in (1, 2)}
    with pytest.raises(ArchiveError) as refused:
        read({**files, names[1]: "[]"})
    assert refused.value.code in ("unknown_layout", "no_labelled_photo")
    assert len(read({**files, "images/3.png": photo(3), "other/1.png": photo(4)})[1]) == 4


def test_the_option_is_called_as_it_is_in_a_form(read: Read, photo: Photo) -> None:
    boxless = {"images/1.png": photo(1), "labels/1.txt": "", "classes.txt": "a"}
    with pytest.raises(ArchiveError, match="read_as=photos"):
        read(boxless)
