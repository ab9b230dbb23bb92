"""Photos that several networks look at, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pocketlens.core.dataset import identity
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
    wanted = ((part.request(i), _key(part, i)) for part in parts for i in range(len(part)))
    with kept_photos(preprocess, wanted, cache_dir() / "photos" if keep else None) as photos:
        yield photos


def _key(part: Examples, index: int) -> str:
    """Identity of the file that is read, which of a copy is not the sample's."""
    sample = part.samples[index]
    digest = part.dataset.copies.get(sample.path)
    return part.identities[index] if digest is None else identity(digest, sample.box)
