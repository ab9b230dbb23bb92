"""`compress`: one compression step on a bundle."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.compression._step import Calibration, Context
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.dataset import Dataset, Sample, make_dataset, photo_of
from pocketlens.core.directory import refuse_existing
from pocketlens.core.errors import DataError, ImageError, UserError
from pocketlens.core.predictor import Predictor, Request, available_cores
from pocketlens.core.split import Split
from pocketlens.core.stream import batched, run_ahead
from pocketlens.explain.choice import Choice
from pocketlens.explain.choice import class_balanced as class_balanced
from pocketlens.progress import say, track, warn
from pocketlens.workflows._calibration_choice import check_choice, choose
from pocketlens.workflows._probe import with_probe
from pocketlens.workflows._thresholds import own_thresholds
from pocketlens.workflows.convert import export
from pocketlens.workflows.data import (
    DataLike,
    Hashed,
    as_dataset,
    as_hashed,
    data_paths,
    identities,
)
from pocketlens.workflows.images import find_images
from pocketlens.workflows.open import BundleLike, as_bundle, load

#: Where the lineage keeps the hash of the photos that calibration photos were chosen from.
CALIBRATION_HASH: Final = "calibration_hash"

_BATCH = 8


def compress(
    bundle: BundleLike,
    *,
    method: str,
    out: str | os.PathLike[str],
    data: DataLike | Hashed | None = None,
    calibration: DataLike | Hashed | None = None,
    calibration_choice: Choice = "random",
    overwrite: bool = False,
    scored: Collection[str] = (),
    **options: Any,
) -> Bundle:
    """Make one compression step.

    A method that needs the ONNX file of a torch bundle has it exported first.

    Args:
        data: the bundle's data; ranges are found on its training part, class-balanced, and the
            thresholds of a multi-label bundle on its validation part.
        calibration: other photos for that; their labels don't matter.
        calibration_choice: which of them: `random` (class-balanced), as many from each of the
            `clusters` of the network's own features, or by `k-centre` so that all are near one.
        scored: identities of photos that ranges must not be found on, beside the validation and
            test photos of the bundle's own split.
        options: those of the method's `Config`.

    Raises:
        UserError: the method doesn't take this bundle, or photos it needs were not named.
    """
    source = as_bundle(bundle)
    target = Path(out)
    read = [source.path, *data_paths(data), *data_paths(calibration)]
    refuse_existing(target, overwrite=overwrite, inputs=read)
    plugin = plugins.load("compression", method)
    config = plugins.configure(plugin, options)
    choice = check_choice(calibration_choice)
    if plugin.NEEDS_CALIBRATION and data is None and calibration is None:
        raise UserError(
            f"{method} finds its ranges on photos: pass --data (the photos it was trained on) or "
            "--calibration (other photos like those it will see)"
        )
    multi = source.manifest.task == "multi_label"
    if multi and data is not None:
        data = as_hashed(data)  # once, for ranges and for thresholds
    with tempfile.TemporaryDirectory() as folder:
        prepared = _as_taken(source, method, plugin.TAKES, Path(folder) / "step")
        context = Context(
            out=Path(folder) / "made" / target.name,
            overwrite=overwrite,
            calibration=_calibration_source(source, data, calibration, frozenset(scored), choice),
        )
        made: Bundle = plugin.apply(prepared, config, context)
        manifest = made.manifest
        if multi:
            manifest = own_thresholds(made, source, None if data is None else as_hashed(data))
        with load(made) as predictor:
            manifest = with_probe(manifest, predictor)
        files = {name: made.path / name for name in manifest.files}
        return write_bundle(target, manifest, files, overwrite=overwrite)


def _as_taken(bundle: Bundle, method: str, takes: tuple[str, str], folder: Path) -> Bundle:
    """The bundle in the form a method takes, by an export where that is unambiguous."""
    runtime, precision = takes
    manifest = bundle.manifest
    if manifest.precision != precision:
        raise UserError(
            f"{method} takes a {precision} model, {bundle.path} is {manifest.precision}; "
            "give it the bundle that this one was made from"
        )
    if manifest.runtime == runtime:
        return bundle
    say(f"{method} works on {runtime} files, so {bundle.path} is exported first")
    return export(bundle, runtime=runtime, out=folder)


@dataclass(frozen=True)
class _Photos:
    requests: list[Request]
    identities: list[str]
    labels: list[tuple[str, ...]]
    source: str


def _calibration_source(
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


def calibration_hash(
    bundle: Bundle,
    data: DataLike | Hashed | None,
    calibration: DataLike | Hashed | None,
    scored: frozenset[str],
) -> str:
    """Of the photos that calibration photos are chosen from; it stands in the lineage."""
    return _hash(_pool(bundle, data, calibration, scored))


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
    barred = set(map(photo_of, scored.union(split.val, split.test)))
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
