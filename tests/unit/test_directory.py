"""A directory appears whole or not at all, and never in place of somebody's own files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pocketlens.core import directory
from pocketlens.core.bundle import Bundle, Lineage, Manifest, read_bundle, write_bundle
from pocketlens.core.directory import new_directory, refuse_existing
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess

MANIFEST = Manifest(
    task="single_label",
    classes=("a", "b"),
    preprocess=Preprocess(32, 48),
    runtime="onnx",
    precision="float32",
    model={"name": "tiny"},
    lineage=Lineage(method="train"),
)
FILES = {"model.onnx": b"weights", "extra.json": b"{}"}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b", MANIFEST, FILES)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class BoomError(Exception):
    pass


@pytest.mark.parametrize("error", [BoomError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_directory(tmp_path / "out") as temporary:
        (temporary / "half").write_bytes(b"x")
        raise error
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [BoomError, KeyboardInterrupt])
def test_a_failing_block_keeps_the_old_one(
    tmp_path: Path, bundle: Bundle, error: type[BaseException]
) -> None:
    with pytest.raises(error), new_directory(bundle.path, overwrite=True) as temporary:
        (temporary / "half").write_bytes(b"x")
        raise error
    assert leftovers(tmp_path) == ["b"]
    assert read_bundle(bundle.path) == bundle


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "b", MANIFEST, {"a": b"1", "model.onnx": tmp_path / "nothing"})
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("fatal", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 2])
def test_overwrite_loses_nothing_between_its_two_renames(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, fatal: BaseException, at: int
) -> None:
    real, calls = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == at:
            raise fatal
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(type(fatal)):
        write_bundle(bundle.path, MANIFEST, {"model.onnx": b"new"}, overwrite=True)
    assert leftovers(tmp_path) == ["b"]
    assert read_bundle(bundle.path) == bundle


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_is_said_in_one_line(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=os.strerror(number)):
        write_bundle(bundle.path, MANIFEST, FILES, overwrite=True)
    assert leftovers(tmp_path) == ["b"]
    assert read_bundle(bundle.path) == bundle


def test_overwrite_replaces_the_whole(tmp_path: Path, bundle: Bundle) -> None:
    write_bundle(bundle.path, MANIFEST, {"model.onnx": b"new"}, overwrite=True)
    assert leftovers(tmp_path) == ["b"]
    assert leftovers(bundle.path) == ["README.md", "manifest.json", "model.onnx"]


def test_a_link_is_replaced_not_followed(tmp_path: Path, bundle: Bundle) -> None:
    link = tmp_path / "link"
    link.symlink_to(bundle.path)
    write_bundle(link, MANIFEST, {"model.onnx": b"new"}, overwrite=True)
    assert not link.is_symlink()
    assert read_bundle(bundle.path) == bundle


def test_the_second_of_two_runs_refuses(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="another run"), new_directory(out):
        out.mkdir()
        (out / "theirs").write_text("x")
    assert leftovers(tmp_path) == ["out"]
    assert leftovers(out) == ["theirs"]


def test_existing_is_refused_before_any_work(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    for out in (bundle.path, tmp_path / "dangling"):
        with pytest.raises(UserError, match="--overwrite"), new_directory(out):
            raise AssertionError
    refuse_existing(tmp_path / "free")
    refuse_existing(bundle.path, overwrite=True)


def test_only_our_own_directories_are_overwritten(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    refuse_existing(photos, overwrite=True)  # empty: nothing to lose
    (photos / "a.jpg").write_bytes(b"x")
    web = tmp_path / "web"
    web.mkdir()
    for text in ('{"name": "a web page"}', "[]", "5", "{"):
        (web / "manifest.json").write_text(text)
        with pytest.raises(UserError, match="not made by pocketlens"):
            refuse_existing(web, overwrite=True)
    for out in (photos, photos / "a.jpg", tmp_path / "web"):
        with pytest.raises(UserError, match="not made by pocketlens"):
            write_bundle(out, MANIFEST, FILES, overwrite=True)
    assert (photos / "a.jpg").read_bytes() == b"x"
    for marker in directory.OURS:
        ours = tmp_path / marker.strip(".")
        ours.mkdir()
        (ours / marker).write_text("{}")
        refuse_existing(ours, overwrite=True)


def test_here_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    (bundle.path / "sub").mkdir()
    monkeypatch.chdir(bundle.path / "sub")
    write_bundle("..", MANIFEST, {"model.onnx": b"new"}, overwrite=True)
    assert read_bundle(bundle.path).file("model.onnx").read_bytes() == b"new"


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="can't write to"):
        write_bundle(tmp_path / "file" / "b", MANIFEST, FILES)


WRITER = """
import signal, sys, time
from pathlib import Path
from pocketlens.core.bundle import new_directory
# A run in the background, as CI's may be, starts with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with new_directory(sys.argv[1], overwrite=True) as temporary:
    (temporary / "model.onnx").write_bytes(b"half")
    Path(sys.argv[2]).touch()
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("before", [False, True])
def test_killed_in_the_middle(tmp_path: Path, number: signal.Signals, before: bool) -> None:
    out, ready = tmp_path / "out", tmp_path / "ready"
    old = write_bundle(out, MANIFEST, FILES) if before else None
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(out), str(ready)], stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
    if old is None:
        assert not out.exists()
    else:
        assert read_bundle(out) == old
    if number == signal.SIGINT:
        assert [name for name in leftovers(tmp_path) if name.startswith(".")] == []
    # What a killed run left does not stand in the way of the next.
    write_bundle(out, MANIFEST, FILES, overwrite=True)
    assert read_bundle(out).manifest.classes == MANIFEST.classes
