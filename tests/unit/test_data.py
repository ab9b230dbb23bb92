import os

import pytest

from pocketlens.core.dataset import Box, Sample, file_hash, make_dataset
from pocketlens.core.errors import DataError, UserError
from pocketlens.workflows.data import identities, read_dataset


def put(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


def test_recognised_and_named(tmp_path):
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    assert read_dataset(str(tmp_path)).format == "image-folder"
    (tmp_path / "labels.csv").write_text("image,label\na/1.jpg,x\n")
    assert read_dataset(tmp_path).format == "csv"
    assert read_dataset(tmp_path / "labels.csv").classes == ("x",)
    assert read_dataset(tmp_path, format="image-folder").classes == ("a", "b")


def test_group_column(tmp_path):
    put(tmp_path, "1.jpg")
    (tmp_path / "labels.csv").write_text("image,label,rig\n1.jpg,x,r\n")
    assert read_dataset(tmp_path, group_column="rig").samples[0].group == "r"
    put(tmp_path / "f", "a/1.jpg")
    with pytest.raises(UserError, match="no columns"):
        read_dataset(tmp_path / "f", group_column="rig")


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="doesn't exist"):
        read_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="is no path"):
        read_dataset("a\0b")
    with pytest.raises(DataError, match="named after their classes"):
        read_dataset(tmp_path)
    with pytest.raises(UserError, match=r"choose from .*image-folder"):
        read_dataset(tmp_path, format="zip")
    put(tmp_path, "a/1.jpg")
    from pocketlens.datasets import csv

    monkeypatch.setattr(csv, "recognises", lambda root: True)
    with pytest.raises(DataError, match="csv or image-folder data; name one with --format"):
        read_dataset(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="can't be read: Permission denied"):
        read_dataset(tmp_path)


def test_exclude_warns_of_names_that_fit_nothing(tmp_path, capsys):
    put(tmp_path / "d", "a/1.jpg", "a/2.jpg")
    (tmp_path / "x.csv").write_text("filename,box,reason\na/1.jpg,,bad\na/9.jpg,,bad\n")
    data = read_dataset(tmp_path / "d", exclude=tmp_path / "x.csv")
    assert [sample.path for sample in data.samples] == ["a/2.jpg"]
    assert "a/9.jpg" in capsys.readouterr().err


def test_identities(tmp_path, capsys):
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "b" / "2.jpg").write_text("a/1.jpg")
    box = Box(1, 2, 3, 4)
    samples = [
        Sample("a/1.jpg", ("a",)),
        Sample("b/2.jpg", ("b",), box=box),
        Sample("gone.jpg", ("a",)),
    ]
    hashed = identities(make_dataset(tmp_path, "test", samples))
    digest = file_hash(str(tmp_path / "a" / "1.jpg"))
    assert hashed.identities == [digest, f"{digest}@1,2,3,4"]
    assert [sample.path for sample in hashed.dataset.samples] == ["a/1.jpg", "b/2.jpg"]
    assert hashed.unreadable == (("gone.jpg", "No such file or directory"),)
    captured = capsys.readouterr()
    assert "gone.jpg" in captured.err
    assert captured.out == ""
    with pytest.raises(DataError, match="none of the 1 photos"):
        identities(make_dataset(tmp_path, "test", samples[2:]))
