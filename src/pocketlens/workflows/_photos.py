"""Photos that several networks look at, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pocketlens.core.directory import cache_dir
from pocketlens.core.examples import Examples
from pocketlens.core.preprocess import Preprocess
from pocketlens.training.photos import Photos, kept_photos


@contextmanager
def photos_of(
    preprocess: Preprocess, parts: Sequence[Examples], *, keep: bool = True
) -> Iterator[Photos]:
    """The photos of some parts at the network's size, kept in the cache where there is room.

    While this is open, nobody else adds to the kept photos of this geometry.
    """
    wanted = ((part.request(i), key) for part in parts for i, key in enumerate(part.identities))
    with kept_photos(preprocess, wanted, cache_dir() / "photos" if keep else None) as photos:
        yield photos
