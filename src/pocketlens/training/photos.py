"""Photos at the network's size, decoded once and kept on disk between epochs and runs.

All augmentation begins with `Preprocess.fit`, so what `fit` gives can be kept: each epoch after the
first, each further network and each seed read pixels from a memory-mapped file. A photo is found by
what it is (its bytes, its box), and a file holds photos of one geometry only; so nothing old is
ever taken for something new.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import filelock
import numpy as np
import PIL
from numpy.typing import NDArray

from pocketlens.core.dataset import bytes_hash, identity
from pocketlens.core.predictor import Request, read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.progress import say, warn

#: A record: whose pixels a place holds (all zeros: nobody's), and their check sum.
_RECORD: Final = np.dtype([("key", "V16"), ("sum", "<u4")])
_PIXELS, _INDEX, _LOCK = "pixels.u8", "index.bin", ".lock"
#: Of all kept photos together; and the share of the disk that must stay free.
LIMIT_BYTES: Final = 20 * 2**30
_FREE_SHARE: Final = 0.1
_NOBODY: Final = bytes(16)


@dataclass
class Photos:
    """`photos(request)` -> `image_HWC`, uint8, as `Preprocess.fit` makes it; not to be written to.

    May be sent to another process, which maps the files anew. Any number of threads and processes
    may ask at once: two that decode the same photo write the same bytes.

    Attributes:
        folder: where pixels are kept; None: nowhere.
        places: request -> its 16-byte key and its place in the file.
    """

    preprocess: Preprocess
    folder: Path | None = None
    places: dict[Request, tuple[bytes, int]] = field(default_factory=dict)
    _open: tuple[mmap.mmap, IO[bytes], NDArray[Any]] | None = field(default=None, repr=False)
    _checked: set[int] = field(default_factory=set, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None, "_checked": set()}

    def __call__(self, request: Request) -> NDArray[np.uint8]:
        """Pixels of one photo or box.

        Raises:
            ImageError: it can't be read.
        """
        key, place = self.places.get(request, (_NOBODY, -1))
        if place < 0 or self.folder is None:
            return self._fitted(_read(request), request)
        pixels, _, index = self._files()
        size = self._size
        if index["key"][place].tobytes() == key:
            kept = np.frombuffer(pixels, np.uint8, size, place * size)
            if place in self._checked or zlib.crc32(kept.data) == index["sum"][place]:
                self._checked.add(place)
                return kept.reshape(self.preprocess.height, self.preprocess.width, 3)
        data = _read(request)
        image_HWC = self._fitted(data, request)
        # A file that was replaced since it was hashed is trained on, but not kept as the old one.
        if _key(identity(bytes_hash(data), request.box)) == key:
            self._keep(key, place, image_HWC)
        return image_HWC

    @property
    def num_missing(self) -> int:
        """Photos that are to be decoded yet; all where nothing is kept."""
        if self.folder is None or not self.places:
            return len(self.places)
        _, _, index = self._files()
        return sum(index["key"][place].tobytes() != key for key, place in self.places.values())

    @property
    def _size(self) -> int:
        return self.preprocess.height * self.preprocess.width * 3

    def _fitted(self, data: bytes, request: Request) -> NDArray[np.uint8]:
        return self.preprocess.fit(self.preprocess.decode(data, request.box))

    def _keep(self, key: bytes, place: int, image_HWC: NDArray[np.uint8]) -> None:
        # Written, not stored into the map: on a full disk that would end the process by a signal.
        data = np.ascontiguousarray(image_HWC).tobytes()
        record = np.array((key, zlib.crc32(data)), _RECORD).tobytes()
        assert self.folder is not None
        try:
            _, pixels_file, _ = self._files()
            _write_at(pixels_file.fileno(), data, place * self._size)
            with (self.folder / _INDEX).open("r+b") as file:
                _write_at(file.fileno(), record, place * _RECORD.itemsize)
        except OSError as error:
            warn(f"photos are decoded in each epoch: {self.folder}: {error.strerror}")
            self.folder = None

    def _files(self) -> tuple[mmap.mmap, IO[bytes], NDArray[Any]]:
        """The mapped pixels, the file to write them to, and the mapped records."""
        if self._open is None:
            assert self.folder is not None
            pixels_file = (self.folder / _PIXELS).open("r+b", buffering=0)
            pixels = mmap.mmap(pixels_file.fileno(), 0, access=mmap.ACCESS_READ)
            with (self.folder / _INDEX).open("rb") as file:
                records = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._open = pixels, pixels_file, np.frombuffer(records, _RECORD)
        return self._open


@contextmanager
def kept_photos(
    preprocess: Preprocess, wanted: Iterable[tuple[Request, str]], root: Path | None
) -> Iterator[Photos]:
    """Photos of a run, kept under `root` where there is room and no other run writes there.

    Args:
        wanted: requests with their identities; others are decoded at each call.
        root: directory for all geometries; None to keep nothing.
    """
    asked = dict(wanted)
    folder = None if root is None else root / _geometry(preprocess)
    if folder is None or not asked or not hasattr(os, "pwrite"):  # Windows has none
        yield Photos(preprocess)
        return
    lock = filelock.FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except (OSError, filelock.Timeout) as error:
        why = "another run uses it" if isinstance(error, filelock.Timeout) else str(error)
        say(f"photos are decoded in each epoch, {folder} is not to be had: {why}")
        yield Photos(preprocess)
        return
    try:
        yield _opened(preprocess, folder, asked)
    finally:
        lock.release()


def _opened(preprocess: Preprocess, folder: Path, asked: dict[Request, str]) -> Photos:
    size = preprocess.height * preprocess.width * 3
    try:
        records = _read_index(folder / _INDEX)
        known = {r["key"].tobytes(): i for i, r in enumerate(records)}
        empty = iter([i for i, r in enumerate(records) if r["key"].tobytes() == _NOBODY])
        places: dict[Request, tuple[bytes, int]] = {}
        end, num_new = len(records), 0
        for request, name in asked.items():
            key = _key(name)
            if (place := known.get(key)) is None:
                num_new += 1
                place = next(empty, end)
                end += place == end
                known[key] = place
            places[request] = key, place
        if not _make_room(folder, num_new * size):
            say(f"photos are decoded in each epoch: no room to keep {num_new} more in {folder}")
            return Photos(preprocess)
        for name, length in ((_PIXELS, end * size), (_INDEX, end * _RECORD.itemsize)):
            with (folder / name).open("ab") as file:
                file.truncate(length)
        os.utime(folder / _INDEX)  # when it was used last
        return Photos(preprocess, folder, places)
    except OSError as error:
        say(f"photos are decoded in each epoch: {folder}: {error.strerror}")
        return Photos(preprocess)


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def _read(request: Request) -> bytes:
    assert isinstance(request.source, str)
    return read_bytes(request.source)


def _read_index(path: Path) -> NDArray[Any]:
    data = path.read_bytes() if path.exists() else b""
    return np.frombuffer(data[: len(data) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def _geometry(preprocess: Preprocess) -> str:
    """A name for all that decides what `fit` gives."""
    facts = {k: v for k, v in preprocess.to_dict().items() if k not in ("mean", "std")}
    text = json.dumps([1, PIL.__version__, facts], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{preprocess.width}x{preprocess.height}-{digest}"


def _make_room(folder: Path, num_bytes: int) -> bool:
    """Whether so many more bytes may be written, perhaps after removing what is oldest."""
    others = sorted(
        (f for f in folder.parent.iterdir() if (f / _INDEX).exists() and f != folder),
        key=lambda f: (f / _INDEX).stat().st_mtime,
    )
    while True:
        disk = shutil.disk_usage(folder)
        used = sum(map(_bytes_of, (folder, *others)))
        if num_bytes + used <= LIMIT_BYTES and disk.free - num_bytes >= _FREE_SHARE * disk.total:
            return True
        if not num_bytes or not others:
            return not num_bytes
        _remove_unused(others.pop(0))


def _bytes_of(folder: Path) -> int:
    with suppress(OSError):
        return (folder / _PIXELS).stat().st_blocks * 512  # what it takes: it may have holes
    return 0


def _remove_unused(folder: Path) -> None:
    lock = filelock.FileLock(folder / _LOCK)
    with suppress(filelock.Timeout, OSError):
        lock.acquire(blocking=False)
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
