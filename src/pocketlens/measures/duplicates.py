"""Photos that are there twice: the same bytes, or the same picture saved, scaled or coded again.

A photo's signature is a grey thumbnail of 16 x 17 pixels. Its difference hash (256 bits: is the
right neighbour clearly brighter?) finds candidates, the thumbnails themselves confirm them. Two
photos from one rig that differ by a visible defect are no near duplicates.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

T = TypeVar("T", bound=Hashable)

Thumbs = NDArray[np.uint8]  # N, 16, 17
Pairs = NDArray[np.int64]  # P, 2

HEIGHT: Final = 16
WIDTH: Final = 17

#: A step between neighbours counts from here; less is the noise of a flat area.
_MIN_STEP: Final = 3
#: Bits of 256 that may differ. Sixteen bands of 32 bits find every pair up to 7 and nearly all
#: up to 16; JPEG at quality 50 and halving a photo change 3 to 12.
_MAX_BITS: Final = 20
_NUM_MIXES: Final = 2
#: Measured on six data sets: copies reach 0.987 and more, other photos of one rig up to 0.965.
_MIN_CORRELATION: Final = 0.985
#: Grey levels of 255 by which the whole and, after that, any place may differ.
_MAX_BRIGHTER: Final = 16
_MAX_STEP: Final = 24
#: In larger buckets (thousands of alike photos) a photo is compared with a few neighbours only,
#: and only a few of its pairs are kept; that still connects what belongs together.
_MAX_BUCKET: Final = 128
_MAX_NEIGHBOURS: Final = 16
_MAX_PAIRS: Final = 4
_CHUNK: Final = 50_000
_SMALL_CHUNK: Final = 4_000


def thumbnail(image: Image.Image) -> Thumbs:
    """The signature of an RGB image, 16 x 17 uint8."""
    grey = image.convert("L") if image.width * image.height < 65_536 else _shrunk(image)
    small = grey.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.uint8)


def same(keys: Iterable[T | None]) -> list[list[int]]:
    """Positions of equal keys, a list for each key that is there more than once; None is none."""
    groups: dict[T, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def near_duplicates(thumbs_NHW: Thumbs) -> Pairs:
    """Pairs of photos with nearly the same picture, sorted.

    Not all pairs of a large group: equal thumbnails give a star around their first photo, so
    50,000 copies give 49,999 pairs, and of many alike photos each is paired with a few. Time and
    memory grow about linearly with N.
    """
    num = len(thumbs_NHW)
    if num < 2:
        return np.empty((0, 2), dtype=np.int64)
    flat = thumbs_NHW.reshape(num, HEIGHT * WIDTH)
    # 64-bit hashes of the rows: comparing them is a tenth of comparing the rows' bytes.
    keys = np.fromiter((hash(row.tobytes()) for row in flat), dtype=np.int64, count=num)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    stars = np.stack([first[inverse], np.arange(num)], axis=1)
    order = np.sort(first)
    if len(order) < num:
        flat = flat[order]
    found = order[_close(_difference_bits(flat), flat)]
    pairs = np.concatenate([stars[stars[:, 0] != stars[:, 1]], found])
    return np.unique(pairs, axis=0).astype(np.int64)


def connected(pairs: Pairs) -> list[list[int]]:
    """Groups of positions that pairs connect, each sorted, the groups by their first."""
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        while parent.setdefault(i, i) != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs.tolist():
        parent[root(b)] = root(a)
    groups: dict[int, list[int]] = {}
    for i in sorted(parent):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def _shrunk(image: Image.Image) -> Image.Image:
    # A large photo is averaged in whole blocks first: the same result to a level, much faster.
    factor = max(1, min(image.width // (4 * WIDTH), image.height // (4 * HEIGHT)))
    return image.reduce(factor).convert("L")


def _difference_bits(flat: Thumbs) -> NDArray[np.bool_]:
    bits = np.empty((len(flat), HEIGHT * (WIDTH - 1)), dtype=np.bool_)
    for at in range(0, len(flat), _SMALL_CHUNK):
        some = flat[at : at + _SMALL_CHUNK].reshape(-1, HEIGHT, WIDTH).astype(np.int16)
        steps = some[:, :, 1:] - some[:, :, :-1]
        bits[at : at + _SMALL_CHUNK] = (steps >= _MIN_STEP).reshape(len(some), -1)
    return bits


def _close(bits: NDArray[np.bool_], flat: Thumbs) -> Pairs:
    """Pairs within the limits that share a band of 32 bits."""
    num = len(bits)
    words_NW = np.packbits(bits, axis=1).view(np.uint64)
    codes = np.empty(0, dtype=np.int64)  # left * num + right
    random = np.random.default_rng(0)
    for _ in range(_NUM_MIXES):
        # Mixed, so that each band has bits from all over the photo: a plain border fills no band.
        mixed = np.ascontiguousarray(bits[:, random.permutation(bits.shape[1])])
        for key in np.packbits(mixed, axis=1).view(np.uint32).T:
            found = [codes]
            for pairs in _in_bucket(key, words_NW):
                pairs = pairs[_alike(flat, pairs)]
                pairs = np.sort(pairs[_first_few(pairs[:, 0])], axis=1)
                found.append(pairs[:, 0] * num + pairs[:, 1])
            codes = np.unique(np.concatenate(found))
    return np.stack([codes // num, codes % num], axis=1)


def _in_bucket(key: NDArray[np.uint32], words_NW: NDArray[np.uint64]) -> Iterator[Pairs]:
    """Pairs with the same key and few differing bits, those of one left photo together."""
    # Photos that are alike beyond the key too lie near each other.
    order = np.lexsort((*words_NW.T, key))
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    sizes = np.diff(np.r_[starts, len(key)])
    reach = np.repeat(starts + sizes, sizes) - np.arange(len(key)) - 1
    crowded = np.repeat(sizes > _MAX_BUCKET, sizes)
    reach[crowded] = np.minimum(reach[crowded], _MAX_NEIGHBOURS)
    total = np.cumsum(reach)
    begin = 0
    while begin < len(reach):
        base = total[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, base + _CHUNK)))
        counts = reach[begin:end]
        left = np.repeat(np.arange(begin, begin + len(counts)), counts)
        right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs = np.stack([order[left], order[right]], axis=1)
        differing = words_NW[pairs[:, 0]] ^ words_NW[pairs[:, 1]]
        yield pairs[np.bitwise_count(differing).sum(axis=1) <= _MAX_BITS]
        begin = end


def _first_few(left: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the first few of each run of equal values."""
    starts = np.flatnonzero(np.r_[True, np.diff(left) != 0])[: len(left)]
    rank = np.arange(len(left)) - np.repeat(starts, np.diff(np.r_[starts, len(left)]))
    result: NDArray[np.bool_] = rank < _MAX_PAIRS
    return result


def _alike(flat: Thumbs, pairs: Pairs) -> NDArray[np.bool_]:
    """Whether the thumbnails show one picture: the same up to brightness and coding noise."""
    result = np.empty(len(pairs), dtype=np.bool_)
    for at in range(0, len(pairs), _SMALL_CHUNK):
        some = slice(at, at + _SMALL_CHUNK)
        a = flat[pairs[some, 0]].astype(np.float32)
        b = flat[pairs[some, 1]].astype(np.float32)
        mean_a, mean_b = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
        a -= mean_a
        b -= mean_b
        norms = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
        # Plain photos have no picture to compare: equal ones were found before.
        correlated = (a * b).sum(axis=1) >= _MIN_CORRELATION * np.maximum(norms, 1e-3)
        near = np.abs(a - b).max(axis=1) <= _MAX_STEP
        result[some] = correlated & near & (np.abs(mean_a - mean_b)[:, 0] <= _MAX_BRIGHTER)
    return result
