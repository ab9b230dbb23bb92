"""Downloads from a server on this machine that cuts connections, lies or fails."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlens.cli import run
from pocketlens.core.errors import DataError, UserError
from pocketlens.workflows import _fetch, download
from pocketlens.workflows._fetch import Archive, fetch
from pocketlens.workflows._unpack import unpack


class Server(ThreadingHTTPServer):
    """Serves `files`; `cuts` says after how many bytes each next answer breaks off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.failures: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        given = self.headers.get("Range")
        self.server.asked.append(given)
        content = self.server.files.get(self.path.lstrip("/"))
        if self.server.failures:
            self.send_error(self.server.failures.pop(0))
            return
        if content is None:
            self.send_error(404)
            return
        start = int(given[6:].rstrip("-")) if given and self.server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[start : start + cut])

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_fetch, "_PAUSE_S", 0.001)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def archive_of(server: Server, name: str, content: bytes, **values: Any) -> Archive:
    server.files[name] = content
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Archive(server.url(name), len(content), 10_000_000, **({"digest": digest} | values))


def zipped(entries: dict[str, bytes], **attributes: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            file.writestr(info, content)
    return out.getvalue()


NOISE = np.random.default_rng(0).bytes(3_000_000)


def test_cut_connections_are_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000, 500, 1_200_000]
    archive = archive_of(server, "a.zip", NOISE)
    assert fetch(archive, tmp_path).read_bytes() == NOISE
    assert server.asked == [None, "bytes=1000000-", "bytes=1000500-", "bytes=2200500-"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_later_run_goes_on_where_one_was_killed(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, "a.zip", NOISE)
    (tmp_path / "a.zip.part").write_bytes(NOISE[:2_000_000])
    assert fetch(archive, tmp_path).read_bytes() == NOISE
    assert server.asked == ["bytes=2000000-"]
    fetch(archive, tmp_path)
    assert len(server.asked) == 1, "a whole file is not fetched again"


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    assert fetch(archive_of(server, "a.zip", NOISE), tmp_path).read_bytes() == NOISE


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.failures = [503, 500]
    assert fetch(archive_of(server, "a.zip", NOISE), tmp_path).read_bytes() == NOISE
    assert len(server.asked) == 3


def test_a_wrong_checksum_is_removed_and_said(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, "a.zip", NOISE, digest="md5:" + "0" * 32)
    with pytest.raises(UserError, match="checksum is wrong"):
        fetch(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers 404"):
        fetch(Archive(server.url("gone.zip"), 10, 10, "md5:0"), tmp_path)
    assert len(server.asked) == 1


def test_a_longer_answer_is_cut_and_refused(server: Server, tmp_path: Path) -> None:
    server.files["a.zip"] = NOISE
    archive = Archive(server.url("a.zip"), 1_000, 10, f"md5:{hashlib.md5(NOISE).hexdigest()}")
    with pytest.raises(UserError, match="checksum"):
        fetch(archive, tmp_path)


def test_no_network(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, "a.zip", NOISE)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="there is no network, or"):
        fetch(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=900)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="are needed"):
        _fetch.check_room(tmp_path / "x.download", [Archive("http://h/a.zip", 500, 500, "md5:0")])
    _fetch.check_room(tmp_path / "x.download", [Archive("http://h/a.zip", 400, 400, "md5:0")])


def test_a_disk_that_fills_up_keeps_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(server, "a.zip", NOISE)
    real, calls = _fetch._copy, []

    def full(answer: Any, file: Any, limit: int, advance: Any) -> None:
        calls.append(limit)
        real(answer, file, 1_000_000, advance)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_fetch, "_copy", full)
    with pytest.raises(UserError, match="disk is full"):
        fetch(archive, tmp_path)
    assert len(calls) == 1
    assert (tmp_path / "a.zip.part").stat().st_size == 1_000_000
    monkeypatch.setattr(_fetch, "_copy", real)
    assert fetch(archive, tmp_path).read_bytes() == NOISE


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:/x", "a/./../../x"])
def test_entries_that_climb_out_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"ok.txt": b"1", name: b"2"}))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="would land outside"):
        unpack(tmp_path / "a.zip", tmp_path / "out", max_bytes=100)
    assert list((tmp_path / "out").iterdir()) == [], (
        "names are looked at before anything is written"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "out"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped({"link": b"/etc/passwd"}, external_attr=0o120777 << 16), "no plain file"),
        (zipped({"Photo.jpg": b"1", "photo.JPG": b"2"}), "two entries of one name"),
        (zipped({"bomb": b"\0" * 5_000_000}), "more than it should"),
        (zipped({"a": NOISE[:1000]})[:600], "is damaged"),
        (b"no zip", "is damaged"),
    ],
)
def test_archives_that_are_not_what_they_say(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=said):
        unpack(tmp_path / "a.zip", tmp_path / "out", max_bytes=1_000_000)


@pytest.fixture
def small_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    labels = zipped({"annotations/instances_val2017.json": b"{}", "annotations/other.json": b"{}"})
    photos = zipped({"val2017/": b"", "val2017/1.jpg": NOISE[:50_000]})
    parts = (
        archive_of(server, "labels.zip", labels, keep=("annotations/instances_val2017",)),
        archive_of(server, "photos.zip", photos),
    )
    monkeypatch.setattr(download, "SETS", {"coco": {"val": parts}})
    return server


def test_the_verb(small_set: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_set.cuts = [100, 100, 20_000]
    out = tmp_path / "coco"
    words = ["download", "coco", "--split", "val", "--out", str(out)]
    assert run(words) == 0
    assert capsys.readouterr().out.strip() == str(out)
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert files == {".pocketlens", "annotations/instances_val2017.json", "val2017/1.jpg"}
    assert [p.name for p in tmp_path.iterdir()] == ["coco"]
    assert run(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert run([*words, "--overwrite"]) == 0


def test_the_verb_leaves_nothing_half_made(
    small_set: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = small_set.files.pop("photos.zip")
    words = ["download", "coco", "--out", str(tmp_path / "coco")]
    assert run(words) == 2
    err = capsys.readouterr().err
    assert "answers 404" in err
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["coco.download"]
    small_set.files["photos.zip"] = photos
    asked = len(small_set.asked)
    assert run(words) == 0
    assert len(small_set.asked) == asked + 1, "the labels were there already"


@pytest.mark.parametrize(("words", "said"), [
    (["imagenet"], "no data set is called 'imagenet'"), (["coco", "--split", "x"], "no part 'x'"),
])  # fmt: skip
def test_the_verb_names_its_choices(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["download", *words]) == 2
    assert said in capsys.readouterr().err
