"""Files of the service: in a directory and in a bucket alike, counted, and never beyond a quota."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from pocketlens.core.errors import MissingExtraError, UserError
from pocketlens.service import blobs
from pocketlens.service.blobs import QuotaExceededError
from pocketlens.service.database import open_database
from pocketlens.service.settings import Settings
from pocketlens.service.storage import (
    Storage,
    StorageFullError,
    StorageUnavailableError,
    content_name,
    open_storage,
    owner_folder,
)
from pocketlens.service.tables import metadata, usage
from support.databases import KINDS, database_url
from support.places import PLACES, place_url


@pytest.fixture(params=PLACES)
def storage(request: Any, tmp_path: Path) -> Iterator[Storage]:
    with place_url(request.param, tmp_path) as url:
        yield open_storage(url)


@pytest.fixture
def here(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "files"))


@pytest.fixture(params=KINDS)
def database(request: Any, tmp_path: Path) -> Iterator[Engine]:
    with database_url(request.param, tmp_path) as url:
        engine = open_database(Settings(bundle=None, home=tmp_path, database=url).database_url)
        metadata.create_all(engine)
        yield engine
        engine.dispose()


def _counted(engine: Engine, owner: str) -> tuple[int, int]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(func.count(), func.coalesce(func.sum(blobs.blobs.c.size_bytes), 0)).where(
                blobs.blobs.c.owner == owner
            )
        ).one()
        assert blobs.used_bytes(connection, owner) == tuple(rows)
        return int(rows[0]), int(rows[1])


def test_photos_and_private_files(storage: Storage, tmp_path: Path) -> None:
    name = content_name(b"photo", ".png")
    assert not storage.has_photo("ann", name)
    with pytest.raises(FileNotFoundError):
        storage.get_photo("ann", name)
    storage.put_photo("ann", name, b"photo")
    storage.put_photo("ann", name, b"photo")  # again
    assert storage.has_photo("ann", name)
    assert not storage.has_photo("bob", name)
    storage.fetch_photo("ann", name, tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == storage.get_photo("ann", name) == b"photo"
    (stored,) = storage.list_photos()
    assert stored.name == f"{owner_folder('ann')}/{name[:2]}/{name}"
    assert stored.size_bytes == 5
    assert abs(stored.modified_at - Path(tmp_path / "copy.png").stat().st_mtime) < 60

    storage.put_private("spool/1/0", b"a")
    storage.put_private("spool/1/1", b"b")
    storage.put_private("spool/12/0", b"c")
    assert storage.get_private("spool/1/1") == b"b"
    assert sorted(one.name for one in storage.list_private("spool")) == ["1/0", "1/1", "12/0"]
    storage.delete_private("spool/1")
    storage.delete_private("spool/1")
    storage.delete_private("spool/none")
    assert [one.name for one in storage.list_private()] == ["spool/12/0"]
    with pytest.raises(FileNotFoundError):
        storage.get_private("spool/1/0")

    storage.delete_photos("ann", [name, content_name(b"never there", ".jpg")])
    assert list(storage.list_photos()) == []
    storage.ping()


def test_names_that_lead_out_are_faults_of_ours(here: Storage) -> None:
    for name in ("../x", "/etc/passwd", "spool/../../x", "spool//x", "a\\b", "spool/\0", ".hidden"):
        with pytest.raises(AssertionError):
            here.put_private(name, b"")
    with pytest.raises(AssertionError):
        here.put_photo("ann", "../../x.png", b"")


def test_only_the_owner_of_the_process_may_read(here: Storage) -> None:
    name = content_name(b"photo", ".jpg")
    here.put_photo("../../ann", name, b"photo")
    here.put_private("spool/1/0", b"a")
    root = Path(here.root)
    for path in (root, *filter(Path.is_file, root.rglob("*"))):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert {path.parent.parent.parent for path in root.rglob("*.jpg")} == {root / "photos"}


def test_a_file_appears_whole_or_not_at_all(here: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFullError):
        here.put_photo("ann", content_name(b"photo", ".jpg"), b"photo")
    assert list(here.list_photos()) == []


def test_what_the_place_raises_is_one_error_without_its_words(
    here: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", here.root)

    monkeypatch.setattr("pocketlens.service.storage._write_local", fail)
    with pytest.raises(StorageUnavailableError) as raised:
        here.put_private("spool/1/0", b"")
    assert here.root not in str(raised.value)


def test_a_bucket_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody listens there
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "secret-word",
    }.items():
        monkeypatch.setenv(key, value)
    storage = open_storage("s3://bucket")
    for use in (
        storage.ping,
        lambda: storage.put_private("spool/1/0", b""),
        lambda: list(storage.list_photos()),
    ):
        with pytest.raises(StorageUnavailableError) as raised:
            use()
        assert "127.0.0.1" not in str(raised.value)


def test_no_such_bucket() -> None:
    with place_url("s3", Path()) as url:
        storage = open_storage(f"{url.split('/some')[0]}-other")
        for use in (storage.ping, lambda: storage.put_private("spool/1/0", b"")):
            with pytest.raises(StorageUnavailableError):
                use()


def test_urls_that_name_no_place() -> None:
    for url in ("ftp://host/x", "s3://", "https://host/x", "memory://x"):
        with pytest.raises(UserError):
            open_storage(url)
    with pytest.raises(MissingExtraError, match="pocketlens\\[gcs\\]"):
        open_storage("gs://bucket/x")


def test_each_user_is_counted_once_for_a_content(database: Engine, here: Storage) -> None:
    for owner in ("ann", "ann", "bob"):
        blobs.put(database, here, owner, b"photo", ".jpg", quota_bytes=5, now=1.0)
    assert _counted(database, "ann") == _counted(database, "bob") == (1, 5)
    assert len(list(here.list_photos())) == 2
    with pytest.raises(QuotaExceededError):
        blobs.put(database, here, "ann", b"p", ".jpg", quota_bytes=5, now=1.0)
    assert _counted(database, "ann") == (1, 5)
    assert len(list(here.list_photos())) == 2


def test_nothing_is_counted_that_is_not_there(
    database: Engine, here: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pocketlens.service.storage._write_local", fail)
        with pytest.raises(StorageFullError) as raised:
            blobs.put(database, here, "ann", b"photo", ".jpg", quota_bytes=None, now=1.0)
        assert raised.value.status == 507
    assert _counted(database, "ann") == (0, 0)

    def refuse(*_: object) -> None:
        raise RuntimeError("what follows in the same transaction")

    with pytest.raises(RuntimeError):
        blobs.put(database, here, "ann", b"photo", ".jpg", quota_bytes=None, now=1.0, then=refuse)
    assert _counted(database, "ann") == (0, 0)


def _together(number: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run it in threads that begin at once; what they raised."""
    barrier = threading.Barrier(number)
    raised: list[BaseException] = []

    def run(index: int) -> None:
        barrier.wait()
        try:
            work(index)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_a_quota_is_never_exceeded_by_many_at_once(database: Engine, here: Storage) -> None:
    """FAULTS 42."""

    def upload(index: int) -> None:
        for number in range(5):
            try:
                data = f"{index:02d} {number:07d}".encode()  # ten bytes, each another
                blobs.put(database, here, "ann", data, ".jpg", quota_bytes=333, now=1.0)
            except QuotaExceededError:
                refused.append(index)

    refused: list[int] = []
    assert _together(16, upload) == []
    assert _counted(database, "ann") == (33, 330)
    assert len(refused) == 16 * 5 - 33
    assert len(list(here.list_photos())) == 33  # of what was refused nothing is left


def test_the_same_photo_stored_and_removed_at_once(database: Engine, here: Storage) -> None:
    """Whoever comes last, row and file agree."""

    def work(index: int) -> None:
        for _ in range(8):
            if index % 2:
                blobs.put(database, here, "ann", b"photo", ".jpg", quota_bytes=99, now=1.0)
            else:
                with database.begin() as connection:
                    gone, _ = blobs.release(connection, "ann", [content_name(b"photo", ".jpg")])
                blobs.discard(database, here, "ann", gone)

    assert _together(8, work) == []
    number, size = _counted(database, "ann")
    assert (number, size) in ((0, 0), (1, 5))
    assert len(list(here.list_photos())) == number
    with database.connect() as connection:
        assert connection.scalar(select(usage.c.size_bytes)) == size
