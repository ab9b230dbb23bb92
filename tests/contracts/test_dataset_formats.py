"""What every data set format promises; a new file in the folder is tested by being there."""

import dataclasses
import inspect
from pathlib import Path

import pytest

from pocketlens import plugins
from pocketlens.core.errors import UserError
from support import layouts

NAMES = plugins.names("datasets")


@pytest.mark.parametrize("name", NAMES)
def test_is_a_plugin(name):
    plugin = plugins.load("datasets", name)
    told = plugins.describe("datasets", name)
    assert told.summary
    assert told.extra == plugin.EXTRA
    assert dataclasses.is_dataclass(plugin.Config)
    assert plugin.Config.__dataclass_params__.frozen
    plugin.Config()  # every option has a default
    assert list(inspect.signature(plugin.recognises).parameters) == ["root"]
    assert list(inspect.signature(plugin.read).parameters) == ["root", "config"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["empty folder", "text file", "photos alone", "missing"])
def test_does_not_claim_what_is_no_data(name, kind, tmp_path):
    root = tmp_path / "x"
    if kind == "text file":
        root.write_text("hello")
    elif kind != "missing":
        root.mkdir()
    if kind == "photos alone":
        (root / "1.jpg").touch()
    assert plugins.load("datasets", name).recognises(root) is False


def class_folders(root: Path) -> str:
    for name in ("a", "b"):
        (root / name).mkdir()
        (root / name / "1.jpg").touch()
    return "image-folder"


def labels_csv(root: Path) -> str:
    class_folders(root)
    (root / "labels.csv").write_text("image,label\na/1.jpg,x\n")
    return "csv"


def other_csv(root: Path) -> str:
    class_folders(root)
    (root / "photos.csv").write_text("filename;class\na/1.jpg;x\n")
    return "csv"


@pytest.mark.parametrize("name", sorted(layouts.MAKERS))
def test_exactly_one_format_claims_annotations(name, tmp_path):
    layouts.MAKERS[name](tmp_path)
    assert [n for n in NAMES if plugins.load("datasets", n).recognises(tmp_path)] == [name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"images": 1, "annotations": {}}', b"{a: *b}"]
)
@pytest.mark.parametrize("file", ["x.json", "x.xml", "data.yaml", "labels.csv", "labels/x.txt"])
def test_damage_is_a_one_line_error(name, file, content, tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "d"
    (root / "labels").mkdir(parents=True)
    (root / "images").mkdir()
    (root / file).write_bytes(content)
    plugin = plugins.load("datasets", name)
    for place in (root, root / file):
        plugin.recognises(place)
        with pytest.raises(UserError):
            plugin.read(place, plugin.Config())


@pytest.mark.parametrize("make", [class_folders, labels_csv, other_csv])
def test_exactly_one_format_claims(make, tmp_path):
    wanted = make(tmp_path)
    assert [n for n in NAMES if plugins.load("datasets", n).recognises(tmp_path)] == [wanted]
