"""One pass over the photos of a data set: what each file holds, and whether it can be decoded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Dataset, bytes_hash
from pocketlens.core.decode import MAX_PIXELS, decode_image
from pocketlens.core.errors import ImageError
from pocketlens.core.predictor import available_cores, read_bytes
from pocketlens.core.stream import run_ahead
from pocketlens.measures.duplicates import HEIGHT, WIDTH, thumbnail
from pocketlens.progress import track


@dataclass
class Contents:
    """What different files hold: a row for each different content, however many files have it.

    Attributes:
        row: of a file's hash.
        sizes: width and height in pixels, upright; 0, 0 where it can't be decoded.
        errors: row -> why it can't be decoded.
    """

    row: dict[str, int] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    _thumbs: bytearray = field(default_factory=bytearray)

    def add(self, digest: str, size: tuple[int, int], thumb: bytes, error: str | None) -> None:
        """A further row."""
        row = self.row[digest] = len(self.sizes)
        self.sizes.append(size)
        self._thumbs += thumb
        if error is not None:
            self.errors[row] = error

    def thumbs(self) -> NDArray[np.uint8]:
        """Grey thumbnails NHW; zeros where there is no picture."""
        return np.frombuffer(self._thumbs, dtype=np.uint8).reshape(-1, HEIGHT, WIDTH)


@dataclass(frozen=True)
class Photos:
    """The files of a data set, each once.

    Attributes:
        hashes: path -> hash of the file's bytes, for the files that could be read.
        unopened: path -> why the file could not be read.
        contents: what the hashes stand for.
    """

    hashes: dict[str, str]
    unopened: dict[str, str]
    contents: Contents

    def error(self, path: str) -> str | None:
        """Why a photo can't be used, or None."""
        if path in self.unopened:
            return self.unopened[path]
        return self.contents.errors.get(self.contents.row[self.hashes[path]])

    def size(self, path: str) -> tuple[int, int]:
        """Width and height of a photo that can be used."""
        return self.contents.sizes[self.contents.row[self.hashes[path]]]


def look_at(dataset: Dataset, *, max_pixels: int = MAX_PIXELS) -> Photos:
    """Read, hash and decode every photo; the same bytes are decoded once, memory stays flat."""
    paths = list(dict.fromkeys(sample.path for sample in dataset.samples))
    photos = Photos({}, {}, Contents())
    for path, (digest, seen) in zip(paths, _looks(dataset, paths, max_pixels), strict=True):
        if digest is None:
            assert isinstance(seen, str)
            photos.unopened[path] = seen
            continue
        photos.hashes[path] = digest
        if isinstance(seen, tuple):
            photos.contents.add(digest, *seen)
    return photos


#: Size, thumbnail, error of a content; None where another file with it was looked at; the reason
#: alone where the file could not be read.
_Seen = tuple[tuple[int, int], bytes, str | None] | str | None


def _looks(
    dataset: Dataset, paths: Sequence[str], max_pixels: int
) -> Iterable[tuple[str | None, _Seen]]:
    taken: set[str] = set()
    lock = threading.Lock()

    def look(path: str) -> tuple[str | None, _Seen]:
        try:
            data = read_bytes(os.path.join(dataset.root, path))
        except ImageError as error:
            return None, str(error)
        digest = bytes_hash(data)
        with lock:
            if digest in taken:
                return digest, None
            taken.add(digest)
        try:
            image = decode_image(data, max_pixels=max_pixels)
        except ImageError as error:
            return digest, ((0, 0), bytes(HEIGHT * WIDTH), str(error))
        return digest, (image.size, thumbnail(image).tobytes(), None)

    workers = max(2, available_cores())
    ahead = run_ahead(look, paths, workers=workers, depth=4 * workers)
    return track(ahead, "looking at photos", len(paths))
