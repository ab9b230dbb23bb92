"""A bundle appears whole or not at all, and every kind of damage has its own words (FAULTS 20)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pocketlens.core.bundle import (
    Bundle,
    Lineage,
    Manifest,
    read_bundle,
    write_bundle,
)
from pocketlens.core.errors import BundleError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input
from pocketlens.core.split import Split

MANIFEST = Manifest(
    task="single_label",
    classes=("한글 🙂", "<script>", ".."),
    preprocess=Preprocess(32, 48, "pad"),
    runtime="onnx",
    precision="float32",
    model={"name": "tiny"},
    lineage=Lineage(method="train", config={"lr": 0.1}, data_hash="abc", seed=3),
    class_info={"..": {"name": "two dots"}},
    metrics={"accuracy": 91.5},
)
FILES = {"model.onnx": b"weights", "extra.json": b"{}"}
SPLIT = Split(train=("a",), val=("b",), test=("c",), seed=3)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b", MANIFEST, FILES, split=SPLIT)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(bundle: Bundle) -> None:
    again = read_bundle(bundle.path)
    assert again == bundle
    assert again.id == bundle.id
    assert again.split == SPLIT
    assert again.size_bytes == len(b"weights")
    assert again.file("model.onnx").read_bytes() == b"weights"
    assert set(leftovers(bundle.path)) == {
        "README.md",
        "manifest.json",
        "model.onnx",
        "extra.json",
        "split.json",
    }
    with pytest.raises(BundleError, match=r"no model\.xml; its runtime is onnx"):
        again.file("model.xml")


def test_id_is_what_decides_predictions(tmp_path: Path, bundle: Bundle) -> None:
    def id_of(name: str, split: Split | None = SPLIT, **change: Any) -> str:
        manifest = Manifest(**{**vars(MANIFEST), **change})
        return write_bundle(tmp_path / name, manifest, FILES, split=split).id

    assert id_of("1", metrics={}) == bundle.id
    assert id_of("2", split=None) == bundle.id
    assert id_of("3", preprocess=Preprocess(32, 48, "stretch")) != bundle.id
    assert id_of("4", classes=("b", "a", "c")) != bundle.id
    assert id_of("5", input=Input("uint8", "NHWC")) != bundle.id
    assert id_of("6", thresholds={"a": 0.4}) != bundle.id


def test_lineage_of_a_child(bundle: Bundle) -> None:
    child = bundle.child_lineage("onnx-static", {"per_channel": True}, {"onnx": "1"})
    assert [parent["id"] for parent in child.parents] == [bundle.id]
    assert child.data_hash == "abc"
    assert child.seed == 3


def test_a_split_that_no_hash_covers_is_not_believed(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", MANIFEST, FILES)
    (bundle.path / "split.json").write_text(json.dumps(SPLIT.to_dict()))
    assert not read_bundle(bundle.path).split


def change(**values: Any) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        manifest = json.loads((root / "manifest.json").read_text("utf-8"))
        for key, value in values.items():
            if value is KeyError:
                del manifest[key]
            elif key == "files" and isinstance(value, dict):
                manifest["files"] |= value
            else:
                manifest[key] = value
        (root / "manifest.json").write_text(json.dumps(manifest), "utf-8")

    return apply


def link_out(root: Path) -> None:
    (root.parent / "secret").write_bytes(b"weights")
    (root / "model.onnx").unlink()
    (root / "model.onnx").symlink_to(root.parent / "secret")


SECRET = hashlib.sha256(b"weights").hexdigest()
DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "schema": (change(schema=2), "has schema 2, this pocketlens reads 1"),
    "no schema": (change(schema=KeyError), "has schema None"),
    "lacking field": (change(classes=KeyError), "lacks or has unknown fields: classes"),
    "unknown field": (change(colour="red"), "lacks or has unknown fields: colour"),
    "missing file": (lambda r: (r / "model.onnx").unlink(), r"model\.onnx is missing"),
    "altered byte": (lambda r: (r / "model.onnx").write_bytes(b"weightS"), "was altered"),
    "cut off": (lambda r: (r / "model.onnx").write_bytes(b"weigh"), "was altered"),
    "altered split": (lambda r: (r / "split.json").write_bytes(b"{}"), "was altered"),
    "climbing": (change(files={"../secret": SECRET}), r"outside the bundle: '\.\./secret'"),
    "absolute": (change(files={"/etc/passwd": SECRET}), "outside the bundle"),
    "backslash": (change(files={"..\\secret": SECRET}), "outside the bundle"),
    "nul": (change(files={"model\0.onnx": SECRET}), "outside the bundle"),
    "no name": (change(files={"": SECRET}), "outside the bundle"),
    "link out": (link_out, "outside the bundle"),
    "directory": (change(files={".": SECRET}), "is missing"),
    "digest": (change(files={"model.onnx": None}), "was altered"),
    "no json": (lambda r: (r / "manifest.json").write_bytes(b'{"schema": 1'), "can't be read"),
    "no utf-8": (lambda r: (r / "manifest.json").write_bytes(b'{"a": "\xff"}'), "can't be read"),
    "deep": (lambda r: (r / "manifest.json").write_text("[" * 200_000), "can't be read"),
    "list": (lambda r: (r / "manifest.json").write_text("[1]"), "does not hold an object"),
    "files list": (change(files=["model.onnx"]), "files is no object"),
    "lineage text": (change(lineage="abc"), "lineage is no object"),
    "lineage field": (change(lineage={"colour": 1}), "is damaged"),
    "lineage parents": (change(lineage={"parents": 1}), "is damaged"),
    "thresholds": (change(thresholds=[0.5]), "thresholds is no object"),
    "class list": (change(classes=[["a"]]), "list of names"),
    "no class": (change(classes=[]), "at least one"),
    "class twice": (change(classes=["a", "a"]), "different names"),
    "task": (change(task="regression"), "unknown task 'regression'"),
    "task list": (change(task=[]), "unknown task"),
    "preprocess": (change(preprocess={"height": 3}), "no width"),
    "preprocess text": (change(preprocess="x"), "preprocess is no object"),
    "input": (change(input={"colour": 1}), "is damaged"),
    "no manifest": (lambda r: (r / "manifest.json").unlink(), r"has no manifest\.json"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage(bundle: Bundle, kind: str) -> None:
    damage, words = DAMAGE[kind]
    damage(bundle.path)
    with pytest.raises(BundleError, match=words) as caught:
        read_bundle(bundle.path)
    assert "\n" not in str(caught.value)
    assert str(bundle.path) in str(caught.value)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_bundle(tmp_path / "nothing")


def test_a_file_that_may_not_be_read(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path == bundle.path or path.name == "extra.json":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BundleError, match="can't be read: Permission denied"):
        read_bundle(bundle.path)


def test_a_link_inside_is_fine(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").rename(bundle.path / "real")
    (bundle.path / "model.onnx").symlink_to("real")
    read_bundle(bundle.path)


def test_files_are_copied(tmp_path: Path) -> None:
    source = tmp_path / "w"
    source.write_bytes(b"abc")
    bundle = write_bundle(tmp_path / "x" / "y" / "b", MANIFEST, {"model.onnx": source})
    assert read_bundle(bundle.path).file("model.onnx").read_bytes() == b"abc"
    assert source.exists()


def test_a_manifest_without_a_backend_is_read(bundle: Bundle) -> None:
    """As those are that were written before there was one, or by runtimes that know none."""
    written = json.loads((bundle.path / "manifest.json").read_text())
    assert "backend" not in written
    assert read_bundle(bundle.path).manifest.backend is None


def test_a_backend_is_remembered(tmp_path: Path, bundle: Bundle) -> None:
    made = {
        name: write_bundle(tmp_path / name, replace(MANIFEST, backend=name), FILES, split=SPLIT)
        for name in ("xnnpack", "vulkan")
    }
    assert read_bundle(tmp_path / "vulkan").manifest.backend == "vulkan"
    assert len({bundle.id, *(b.id for b in made.values())}) == 3
    manifest = tmp_path / "vulkan" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"vulkan"', "3"))
    with pytest.raises(BundleError, match="backend is no name"):
        read_bundle(tmp_path / "vulkan")
