"""One pass over samples: features of a network, and what all photos look like on average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketlens.core.dataset import Sample
from pocketlens.core.errors import ImageError
from pocketlens.core.predictor import Request, available_cores, read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input, Session
from pocketlens.core.stream import batched, run_ahead

#: Side of a mean image in pixels; photos are stretched to it.
MEAN_SIDE: Final = 96
_BATCH: Final = 8


@dataclass
class Mean:
    """A running mean of pictures; memory is one picture a class."""

    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, picture_HWC: NDArray[np.uint8]) -> None:
        """One more picture of this kind."""
        if key not in self.sums:
            self.sums[key] = np.zeros(picture_HWC.shape)
            self.counts[key] = 0
        self.sums[key] += picture_HWC
        self.counts[key] += 1

    def image(self, key: str) -> Image.Image:
        """The mean so far."""
        return Image.fromarray(np.round(self.sums[key] / self.counts[key]).astype(np.uint8))


def features_of(
    requests: Sequence[Request],
    preprocess: Preprocess,
    input: Input,
    session: Session,
    *,
    advance: Callable[[], object] = lambda: None,
    seen: Callable[[int, NDArray[np.uint8]], None] | None = None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Features of the samples that can be read, each scaled to length 1, and their indices.

    Only features are kept; photos are decoded ahead, a few at a time.

    Args:
        input: what the session takes.
        session: gives features instead of logits.
        advance: called after each sample, for a progress bar.
        seen: is handed each decoded picture, to look at it in the same pass.
    """
    found: list[NDArray[np.float32]] = []
    kept: list[int] = []
    for batch in batched(_prepared(requests, preprocess, input, seen), _BATCH):
        usable = [(i, value) for i, value in batch if value is not None]
        if usable:
            features_NF = session(np.stack([value for _, value in usable]))
            for (i, _), row in zip(usable, features_NF.reshape(len(usable), -1), strict=True):
                length = float(np.linalg.norm(row))
                if np.isfinite(length) and length > 0:
                    found.append((row / length).astype(np.float32))
                    kept.append(i)
        for _ in batch:
            advance()
    empty = np.empty((0, 1), dtype=np.float32)
    return (np.stack(found) if found else empty), kept


def _prepared(
    requests: Sequence[Request],
    preprocess: Preprocess,
    takes: Input,
    seen: Callable[[int, NDArray[np.uint8]], None] | None,
) -> Iterator[tuple[int, NDArray[Any] | None]]:
    def prepare(
        item: tuple[int, Request],
    ) -> tuple[int, NDArray[np.uint8] | None, NDArray[Any] | None]:
        i, (source, box) = item
        assert not isinstance(source, np.ndarray)
        try:
            image_HWC = preprocess.decode(read_bytes(source), box)
        except ImageError:
            return i, None, None
        small = None if seen is None else stretched(image_HWC)
        return i, small, takes.of(preprocess.fit(image_HWC), preprocess)

    workers = max(2, available_cores())
    ahead = run_ahead(prepare, enumerate(requests), workers=workers, depth=2 * _BATCH)
    for i, small, value in ahead:
        if seen is not None and small is not None:
            seen(i, small)
        yield i, value


def look(
    requests: Sequence[Request],
    seen: Callable[[int, NDArray[np.uint8]], None],
    *,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """The same pass without a network: every readable picture is handed to `seen`."""
    spec = Preprocess(MEAN_SIDE, MEAN_SIDE, resize="stretch")

    def shrink(item: tuple[int, Request]) -> tuple[int, NDArray[np.uint8] | None]:
        i, (source, box) = item
        assert not isinstance(source, np.ndarray)
        try:
            return i, stretched(spec.decode(read_bytes(source), box))
        except ImageError:
            return i, None

    workers = max(2, available_cores())
    for i, small in run_ahead(shrink, enumerate(requests), workers=workers, depth=2 * _BATCH):
        if small is not None:
            seen(i, small)
        advance()


def stretched(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture stretched to the size of mean images."""
    image = Image.fromarray(np.ascontiguousarray(image_HWC))
    small = image.resize((MEAN_SIDE, MEAN_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small, dtype=np.uint8)


def mean_of(
    samples: Sequence[Sample], counts: Mapping[str, int], most: int
) -> tuple[Mean, Callable[[int, NDArray[np.uint8]], None]]:
    """An empty mean, overall (key empty) and of the largest classes, and how to fill it."""
    largest = sorted(counts, key=lambda name: (-counts[name], name))[:most]
    mean, wanted = Mean(), frozenset(largest)

    def seen(i: int, picture_HWC: NDArray[np.uint8]) -> None:
        mean.add("", picture_HWC)
        for label in samples[i].labels:
            if label in wanted:
                mean.add(label, picture_HWC)

    return mean, seen
