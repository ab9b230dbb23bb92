"""Where photos and the private files of jobs lie: a directory, or a bucket, through fsspec.

Photos are named by their content below a folder that stands for their owner; no text of a user
becomes part of a path. What counts against a quota, and what may go, is decided in `blobs`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pocketlens.core.directory import expand
from pocketlens.core.errors import UserError
from pocketlens.extras import require

_PHOTO: Final = re.compile(r"[0-9a-f]{64}\.(jpg|png)")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_PHOTOS: Final = "photos"
_PRIVATE: Final = "private"
#: What the system says where a disk or a share of it is full.
OUT_OF_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Packages whose errors tell of the place, not of us.
_FOREIGN: Final = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "requests", "s3fs")
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30


def is_out_of_room(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is a disk that is full.

    Libraries that write by themselves raise errors of their own with the system's words.
    """
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.errno in OUT_OF_ROOM:
            return True
        if any(word in str(at) for word in words):
            return True
        at = at.__cause__
    return False


class StorageUnavailableError(Exception):
    """The place of files doesn't answer as it should; for a client, `code` and a 503."""

    code = "storage_unavailable"
    status = 503


class StorageFullError(StorageUnavailableError):
    """No room is left where files are kept, whoever they belong to; 507."""

    code = "storage_full"
    status = 507


@dataclass(frozen=True)
class Stored:
    """A file that lies there.

    Attributes:
        name: below `photos` or `private`, as it was listed.
        modified_at: seconds since 1970 by the clock of the place.
    """

    name: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True)
class Storage:
    """An opened place.

    Attributes:
        files: fsspec's file system.
        root: its directory, or bucket and prefix.
        is_local: files appear by renaming, and only their owner may read them.
    """

    files: Any
    root: str
    is_local: bool

    def put_photo(self, owner: str, name: str, data: bytes) -> None:
        """Write a photo as a whole; the name is `content_name(data, suffix)`."""
        self._write(self._photo(owner, name), data, durable=True)

    def get_photo(self, owner: str, name: str) -> bytes:
        """A photo's bytes.

        Raises:
            FileNotFoundError: it isn't there.
        """
        return self._read(self._photo(owner, name))

    def has_photo(self, owner: str, name: str) -> bool:
        """Whether it lies there."""
        with _told():
            return bool(self.files.exists(self._photo(owner, name)))

    def fetch_photo(self, owner: str, name: str, target: Path) -> None:
        """A local file with a photo's bytes, which nothing here changes any more.

        Raises:
            FileNotFoundError: it isn't there.
        """
        if self.is_local:
            with suppress(OSError):  # another disk, or a file system without hard links
                os.link(self._photo(owner, name), target)
                return
        target.write_bytes(self.get_photo(owner, name))

    def delete_photos(self, owner: str, names: Iterable[str]) -> None:
        """Remove photos; those that aren't there are no fault."""
        self._delete([self._photo(owner, name) for name in names])

    def put_private(self, name: str, data: bytes) -> None:
        """Write a file of a job, such as `spool/JOB_ID/0`: never served by its name."""
        self._write(self._private(name), data, durable=False)

    def get_private(self, name: str) -> bytes:
        """A private file's bytes.

        Raises:
            FileNotFoundError: it isn't there.
        """
        return self._read(self._private(name))

    def delete_private(self, name: str) -> None:
        """Remove a private file, or a folder with all in it; nothing there is no fault."""
        path = self._private(name)
        if self.is_local:
            with _told(), suppress(FileNotFoundError):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            return
        with _told():
            found = list(self.files.find(path))
        self._delete([*found, path])

    def list_photos(self) -> Iterator[Stored]:
        """All photos, of all owners: `OWNER_FOLDER/XX/NAME`, half-written ones included."""
        return self._list(_PHOTOS)

    def list_private(self, below: str = "") -> Iterator[Stored]:
        """Private files below a folder such as `spool`, or all."""
        return self._list(f"{_PRIVATE}/{below}".rstrip("/"))

    def delete_listed(self, names: Iterable[str], below: str = _PHOTOS) -> None:
        """Remove files that `list_photos` told, or `list_private` of a folder, `private/FOLDER`."""
        self._delete([f"{self.root}/{below}/{name}" for name in names])

    def ping(self) -> None:
        """Ask for something small.

        Raises:
            StorageUnavailableError: no answer, no bucket, no directory that can be written to.
        """
        if self.is_local:
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise StorageUnavailableError("the directory of files can't be written to")
            return
        with _told():
            try:
                self.files.ls(self.root.split("/", 1)[0], detail=False, refresh=True)
            except FileNotFoundError as error:
                raise StorageUnavailableError("there is no such bucket") from error

    def _photo(self, owner: str, name: str) -> str:
        assert _PHOTO.fullmatch(name), name
        return f"{self.root}/{_PHOTOS}/{owner_folder(owner)}/{name[:2]}/{name}"

    def _private(self, name: str) -> str:
        assert all(map(_SEGMENT.fullmatch, name.split("/"))), name
        return f"{self.root}/{_PRIVATE}/{name}"

    def _write(self, path: str, data: bytes, *, durable: bool) -> None:
        with _told():
            if self.is_local:
                _write_local(path, data, durable=durable)
                return
            try:
                self.files.pipe_file(path, data)  # object stores show a file when it is whole
            except FileNotFoundError as error:
                raise StorageUnavailableError("there is no such bucket") from error

    def _read(self, path: str) -> bytes:
        with _told():
            return bytes(self.files.cat_file(path))

    def _delete(self, paths: list[str]) -> None:
        with _told():
            if self.is_local:
                for path in paths:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
            elif paths:
                with suppress(FileNotFoundError):
                    self.files.rm(paths)

    def _list(self, folder: str) -> Iterator[Stored]:
        top = f"{self.root}/{folder}"
        with _told():
            try:
                found = self.files.find(top, detail=True)
            except FileNotFoundError:
                return
        for path, info in found.items():
            name = path.removeprefix(f"{top}/")
            yield Stored(name, int(info.get("size") or 0), _modified(info))


def open_storage(url: str) -> Storage:
    """The place that a URL names: a directory, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.

    A bucket's keys and endpoint come from the environment, as its own tools read them
    (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, ...).

    Raises:
        UserError: another kind of URL, a directory that can't be made, or a missing extra.
    """
    kind, separator, rest = url.partition("://")
    if not separator or kind == "file":
        return _open_local(expand(rest if separator else url))
    place = rest.strip("/")
    if not place:
        raise UserError(f"{url} names no bucket; write {kind}://BUCKET/PREFIX")
    if kind == "s3":
        files = require("s3fs", extra="s3").S3FileSystem(
            skip_instance_cache=True,  # keys of another environment
            use_listings_cache=False,  # several processes write
            config_kwargs={
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": _READ_SECONDS,
                "retries": {"mode": "standard", "max_attempts": 2},
            },
        )
        files.retries = 1  # the client repeats by itself
    elif kind in ("gs", "gcs"):
        files = require("gcsfs", extra="gcs").GCSFileSystem(use_listings_cache=False)
    else:
        raise UserError(f"files can't be kept at {kind}://; use a directory, s3:// or gs://")
    return Storage(files, place, is_local=False)


def content_name(data: bytes, suffix: str) -> str:
    """The name that stands for exactly these bytes; `suffix` is `.jpg` or `.png`."""
    return hashlib.sha256(data).hexdigest() + suffix


def owner_folder(owner: str) -> str:
    """The folder of a user's photos."""
    return hashlib.sha256(f"owner:{owner}".encode()).hexdigest()[:32]


def _open_local(path: Path) -> Storage:
    import fsspec

    root = os.path.abspath(path)
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} can't hold files: {error.strerror}; name another") from error
    return Storage(fsspec.filesystem("file"), root, is_local=True)


def _write_local(path: str, data: bytes, *, durable: bool) -> None:
    """A file that appears whole, readable by its owner alone."""
    folder, name = os.path.split(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _modified(info: Any) -> float:
    for key in ("mtime", "LastModified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
    raise StorageUnavailableError("the place doesn't say when files were written")


@contextmanager
def _told() -> Iterator[None]:
    """Whatever the place raises as one type, without its words, which hold paths and keys."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in OUT_OF_ROOM:
            raise StorageFullError("there is no room left to keep files") from error
        raise StorageUnavailableError("the place of files doesn't answer") from error
    except Exception as error:
        if type(error).__module__.split(".")[0] in _FOREIGN:
            raise StorageUnavailableError("the place of files doesn't answer") from error
        raise
