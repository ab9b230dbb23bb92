"""Which photos ranges are found on, and their inputs through the whole preprocessing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.compression._step import Calibration
from pocketlens.core.bundle import Bundle
from pocketlens.core.dataset import Dataset, Sample, make_dataset, photo_of
from pocketlens.core.errors import DataError, ImageError, UserError
from pocketlens.core.predictor import Predictor, Request, available_cores
from pocketlens.core.split import Split
from pocketlens.core.stream import batched, run_ahead
from pocketlens.explain.choice import Choice
from pocketlens.progress import track, warn
from pocketlens.workflows._calibration_choice import choose
from pocketlens.workflows.data import (
    DataLike,
    Hashed,
    as_dataset,
    as_hashed,
    identities,
)
from pocketlens.workflows.images import find_images

_BATCH: Final = 8


@dataclass(frozen=True)
class _Photos:
    requests: list[Request]
    identities: list[str]
    labels: list[tuple[str, ...]]
    source: str


def calibration_source(
    bundle: Bundle,
    data: DataLike | Hashed | None,
    calibration: DataLike | Hashed | None,
    scored: frozenset[str],
    choice: Choice = "random",
) -> Callable[[int, int], Calibration]:
    """Photos are read only when a method asks for them."""

    def find(num_images: int, seed: int) -> Calibration:
        photos = _pool(bundle, data, calibration, scored)
        chosen = choose(bundle, photos.requests, photos.labels, num_images, seed, choice)
        if len(chosen) < num_images:
            warn(f"only {len(chosen)} of {num_images} calibration photos are there; all are used")
        requests = [photos.requests[i] for i in chosen]
        split = mark_calibrated(bundle.split, [photos.identities[i] for i in chosen])
        return Calibration(
            lambda: _batches(bundle, requests),
            len(requests),
            photos.source,
            split,
            choice,
            _hash(photos),
        )

    return find


def _hash(photos: _Photos) -> str:
    return hashlib.sha256("\n".join(sorted(photos.identities)).encode()).hexdigest()[:32]


def _pool(
    bundle: Bundle,
    data: DataLike | Hashed | None,
    calibration: DataLike | Hashed | None,
    scored: frozenset[str],
) -> _Photos:
    if calibration is not None:
        return _without(_all_photos(hash_calibration(calibration)), bundle.split, scored)
    if data is not None:
        return _training_photos(as_hashed(data), bundle)
    raise UserError("this method needs photos: pass --data or --calibration")


def hash_calibration(calibration: DataLike | Hashed) -> Hashed:
    """Photos named for calibration: a data set (then class-balanced), or any images."""
    if isinstance(calibration, Hashed | Dataset):
        return as_hashed(calibration)
    try:
        dataset = as_dataset(calibration)
    except DataError:  # no data set: labels don't matter here, so images are enough
        files = find_images([calibration])
        samples = tuple(Sample(os.path.abspath(file), ("",)) for file in files)
        dataset = make_dataset(Path(calibration).resolve(), "images", samples)
    return identities(dataset)


def _all_photos(hashed: Hashed) -> _Photos:
    dataset = hashed.dataset
    return _Photos(
        [Request(dataset.file(s), s.box) for s in dataset.samples],
        list(hashed.identities),
        [s.labels for s in dataset.samples],
        f"{len(dataset)} samples of {dataset.root.name}",
    )


def _without(photos: _Photos, split: Split, scored: frozenset[str]) -> _Photos:
    """The photos that nothing is scored on: the test must not be one of what was seen."""
    # By the photo: a crop of a test photo is seen when the whole is.
    barred = set(map(photo_of, scored.union(split.val, split.test, split.tested_before)))
    kept = [i for i, key in enumerate(photos.identities) if photo_of(key) not in barred]
    if not kept:
        raise UserError(
            "all calibration photos are ones that the model is scored on; "
            "name others by --calibration"
        )
    if len(kept) < len(photos.identities):
        warn(f"{len(photos.identities) - len(kept)} calibration photos are scored, so not used")
    return _Photos(
        [photos.requests[i] for i in kept],
        [photos.identities[i] for i in kept],
        [photos.labels[i] for i in kept],
        photos.source,
    )


def _training_photos(hashed: Hashed, bundle: Bundle) -> _Photos:
    """The training part; for a bundle without a split, what the data calls its training part."""
    split = bundle.split
    dataset = hashed.dataset
    if split:
        parts = split.parts_of(hashed.identities)
        kept = [i for i, part in enumerate(parts) if part == "train"]
        if not kept:
            raise UserError(
                f"none of the photos in {dataset.root} is one that {bundle.path} was trained on; "
                "pass the same data, or photos by --calibration"
            )
    else:
        kept = [i for i, sample in enumerate(dataset.samples) if sample.part == "train"]
        if not kept:
            raise UserError(
                f"an imported model must not be calibrated on photos it is scored on, and "
                f"{dataset.root} has no training part: pass other photos by --calibration"
            )
    return _all_photos(
        Hashed(
            dataset.subset([dataset.samples[i] for i in kept]),
            [hashed.identities[i] for i in kept],
        )
    )


def mark_calibrated(split: Split, calibrated: list[str]) -> Split:
    """Remember photos that were looked at and belong to no part, so that none is ever scored."""
    known = split.part_of()
    extra = sorted({key for key in calibrated if known.get(key) not in ("train", "calibration")})
    return replace(split, calibration=tuple(sorted({*split.calibration, *extra})))


def _batches(bundle: Bundle, requests: list[Request]) -> Iterator[NDArray[np.float32]]:
    """Inputs through the bundle's own preprocessing; unreadable photos are left out and named."""
    predictor = Predictor(bundle.manifest, session=_never_called)

    def prepare(request: Request) -> NDArray[np.float32] | None:
        try:
            return predictor.prepare(request)
        except ImageError as error:
            warn(f"{request.source!s} was not calibrated on: {error}")
            return None

    ahead = run_ahead(prepare, requests, workers=available_cores(), depth=2 * _BATCH)
    found = (value for value in track(ahead, "calibrating", len(requests)) if value is not None)
    for batch in batched(found, _BATCH):
        yield np.stack(batch)


def _never_called(input_NCHW: NDArray[np.float32], /) -> NDArray[np.float32]:
    raise AssertionError("calibration prepares inputs only")
