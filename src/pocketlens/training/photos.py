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
import threading
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
from pocketlens.core.errors import ImageError
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
        places: request -> its 16-byte key and its place in the file (-1: none).
        is_writer: whether what is decoded may be kept; else only what is there is used.
        num_kept: photos that were decoded and kept here so far.
    """

    preprocess: Preprocess
    folder: Path | None = None
    places: dict[Request, tuple[bytes, int]] = field(default_factory=dict)
    is_writer: bool = True
    num_kept: int = 0
    _open: tuple[mmap.mmap, IO[bytes], NDArray[Any]] | None = field(default=None, repr=False)
    _checked: set[int] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_open", "_checked", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_open": None, "_checked": set(), "_lock": threading.Lock()}

    def __call__(self, request: Request) -> NDArray[np.uint8]:
        """Pixels of one photo or box.

        Raises:
            ImageError: it can't be read, or is another one than when the run began.
        """
        folder = self.folder  # another thread may find the disk full
        key, place = self.places.get(request, (_NOBODY, -1))
        if folder is None or not key.strip(b"\0"):
            return self._fitted(_read(request), request)
        if place >= 0 and (kept := self._kept(key, place, folder)) is not None:
            return kept
        data = _read(request)
        image_HWC = self._fitted(data, request)
        if _key(identity(bytes_hash(data), request.box)) != key:
            raise ImageError("the file was replaced after this run had begun")
        if place >= 0 and self.is_writer:
            self._keep(key, place, image_HWC, folder)
        return image_HWC

    def _kept(self, key: bytes, place: int, folder: Path) -> NDArray[np.uint8] | None:
        pixels, _, index = self._files(folder)
        if index["key"][place].tobytes() != key:
            return None
        kept = np.frombuffer(pixels, np.uint8, self._size, place * self._size)
        if not self.is_writer:  # the writer may give the place to another photo meanwhile
            kept = kept.copy()
            kept.flags.writeable = False
            if index["key"][place].tobytes() != key:
                return None
        if place not in self._checked or not self.is_writer:
            if zlib.crc32(kept.data) != index["sum"][place]:
                return None
            self._checked.add(place)
        return kept.reshape(self.preprocess.height, self.preprocess.width, 3)

    @property
    def _size(self) -> int:
        return self.preprocess.height * self.preprocess.width * 3

    def _fitted(self, data: bytes, request: Request) -> NDArray[np.uint8]:
        return self.preprocess.fit(self.preprocess.decode(data, request.box))

    def _keep(self, key: bytes, place: int, image_HWC: NDArray[np.uint8], folder: Path) -> None:
        # Written, not stored into the map: on a full disk that would end the process by a signal.
        data = np.ascontiguousarray(image_HWC).tobytes()
        record = np.array((key, zlib.crc32(data)), _RECORD).tobytes()
        try:
            _, pixels_file, _ = self._files(folder)
            with (folder / _INDEX).open("r+b") as file:
                at = place * _RECORD.itemsize
                _write_at(file.fileno(), bytes(_RECORD.itemsize), at)  # nobody's meanwhile
                _write_at(pixels_file.fileno(), data, place * self._size)
                _write_at(file.fileno(), record, at)
            self.num_kept += 1
        except OSError as error:
            with self._lock:
                first, self.folder = self.folder is not None, None
            if first:
                warn(f"photos are decoded in each epoch: {folder}: {error.strerror}")

    def _files(self, folder: Path) -> tuple[mmap.mmap, IO[bytes], NDArray[Any]]:
        """The mapped pixels, the file to write them to, and the mapped records."""
        with self._lock:
            if self._open is None:
                pixels_file = (folder / _PIXELS).open("r+b", buffering=0)
                pixels = mmap.mmap(pixels_file.fileno(), 0, access=mmap.ACCESS_READ)
                with (folder / _INDEX).open("rb") as file:
                    records = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._open = pixels, pixels_file, np.frombuffer(records, _RECORD)
            return self._open


@contextmanager
def kept_photos(
    preprocess: Preprocess, wanted: Iterable[tuple[Request, str]], root: Path | None
) -> Iterator[Photos]:
    """Photos of a run, kept under `root` where there is room.

    One run writes at a time; a second one uses what is there.

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
    except filelock.Timeout:
        yield _opened(preprocess, folder, asked, is_writer=False)
        return
    except OSError as error:
        say(f"photos are decoded in each epoch: {error}")
        yield Photos(preprocess)
        return
    try:
        yield _opened(preprocess, folder, asked, is_writer=True)
    finally:
        lock.release()


def _opened(
    preprocess: Preprocess, folder: Path, asked: dict[Request, str], *, is_writer: bool
) -> Photos:
    size = preprocess.height * preprocess.width * 3
    keys = {request: _key(name) for request, name in asked.items()}
    try:
        records = _read_index(folder / _INDEX)
        there = {r["key"].tobytes(): i for i, r in enumerate(records)}
        there.pop(_NOBODY, None)
        missing = list(dict.fromkeys(key for key in keys.values() if key not in there))
        end = len(records)
        if is_writer:
            empty = [i for i, r in enumerate(records) if r["key"].tobytes() == _NOBODY]
            if not _make_room(folder, len(missing) * size):  # then in place of others' photos
                needed = set(keys.values())
                empty += [i for key, i in there.items() if key not in needed]
                missing = missing[: len(empty)]
            end += max(0, len(missing) - len(empty))
            there |= zip(missing, [*empty, *range(len(records), end)], strict=False)
            for name, length in ((_PIXELS, end * size), (_INDEX, end * _RECORD.itemsize)):
                with (folder / name).open("ab") as file:
                    if name == _INDEX or file.tell() < length:  # others may have mapped pixels
                        file.truncate(length)
            os.utime(folder / _INDEX)  # when it was used last
        if not end:
            return Photos(preprocess)
        places = {request: (key, there.get(key, -1)) for request, key in keys.items()}
        return Photos(preprocess, folder, places, is_writer)
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
    sizes = list(map(_bytes_of, others))
    disk = shutil.disk_usage(folder)
    over = max(
        num_bytes + _bytes_of(folder) + sum(sizes) - LIMIT_BYTES,
        num_bytes + _FREE_SHARE * disk.total - disk.free,
    )
    if over > sum(sizes):  # nothing is gained by removing all
        return not num_bytes
    for other, size in zip(others, sizes, strict=True):
        if over <= 0:
            break
        over -= size if _remove_unused(other) else 0
    return over <= 0 or not num_bytes


def _bytes_of(folder: Path) -> int:
    with suppress(OSError):
        return (folder / _PIXELS).stat().st_blocks * 512  # what it takes: it may have holes
    return 0


def _remove_unused(folder: Path) -> bool:
    """Remove what no run uses; whether it is gone."""
    lock = filelock.FileLock(folder / _LOCK)
    with suppress(filelock.Timeout, OSError):
        lock.acquire(blocking=False)
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
    return not (folder / _INDEX).exists()
