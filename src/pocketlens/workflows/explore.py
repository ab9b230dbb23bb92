"""`explore`: pictures of the data before anything is trained, and whether it can be learnt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Dataset, Sample
from pocketlens.core.directory import new_directory, refuse_existing
from pocketlens.core.errors import DataError, MissingExtraError, UserError
from pocketlens.core.exploration import Duplicates, Exploration, Place
from pocketlens.core.predictor import Request
from pocketlens.core.text import one_line
from pocketlens.explain import clusters, counts, neighbours
from pocketlens.explain.choice import class_balanced
from pocketlens.explain.features import Mean, features_of, look, mean_of
from pocketlens.extras import require, versions
from pocketlens.measures.photos import Photos, look_at
from pocketlens.progress import bar, say, warn
from pocketlens.workflows import _explore_files, _features, _findings
from pocketlens.workflows._copies import copy_groups, units_of
from pocketlens.workflows.data import DataLike, as_dataset, data_paths
from pocketlens.workflows.open import BundleLike, as_bundle

DEFAULT_MODEL = "tf_efficientnet_lite0"
_MAX_MEANS = 24
_MAX_SUSPECTS = 48
_MAX_UNREADABLE = 20
#: Where formats put the name of a class.
_NAME_KEYS = ("name", "dl_name")


@dataclass(frozen=True)
class Explored:
    """Where the files lie, and what they hold."""

    out: Path
    exploration: Exploration


@dataclass
class _Found:
    """What grows while the parts are worked out."""

    samples: tuple[Sample, ...]
    labels: list[str] | None
    units: list[str]
    distinct: NDArray[np.bool_]
    notes: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


def explore(
    data: DataLike,
    *,
    out: str | os.PathLike[str],
    bundle: BundleLike | None = None,
    model: str = DEFAULT_MODEL,
    weights: str = "auto",
    max_photos: int = 2_000,
    seed: int = 0,
    threads: int | None = None,
    overwrite: bool = False,
) -> Explored:
    """Look at the data: leaves `report.html`, `explore.json` and PNG files in `out`.

    Args:
        bundle: take features from this bundle's network instead of `model`.
        model: a network trained on ImageNet; where its weights can't be had, everything that
            needs features is left out and a note says so.
        max_photos: of more samples, a class-balanced choice is looked at; counts are of all.
        seed: the result is a function of it and of the data.

    Raises:
        UserError: the data or the bundle can't be used, or `out` can't be written.
    """
    if max_photos < 1:
        raise UserError("--max-photos must be at least 1")
    target = Path(out)
    read = [*data_paths(data), *([] if bundle is None else [as_bundle(bundle).path])]
    refuse_existing(target, overwrite=overwrite, inputs=read)
    dataset = as_dataset(data)
    extractor, notes = _extractor(bundle, model, weights, threads)
    chosen = _choose(dataset, max_photos, seed)
    if len(chosen) < len(dataset):
        notes.append(
            f"Counts are of all {len(dataset):,} samples; everything else is of {len(chosen):,}, "
            f"chosen class by class (--max-photos {max_photos})."
        )
    photos = look_at(chosen)
    faults = _findings.faults(chosen, photos)
    usable = tuple(s for s in chosen.samples if _findings.is_usable(s, faults))
    if not usable:
        (path, _), reason = next(iter(faults.items()))
        raise DataError(f"none of {len(chosen)} photos can be used: {one_line(path)}: {reason}")
    if faults:
        notes.append(f"{len(faults):,} photos or boxes can't be used and are left out.")
    groups, in_group = copy_groups(dataset.subset(usable), photos)
    multi = dataset.task == "multi_label"
    found = _Found(
        usable,
        None if multi else [s.labels[0] for s in usable],
        units_of(usable, photos, groups=dataset.split_groups != "inside"),
        ~in_group,
        notes,
    )
    mean, places = _look_closely(dataset, found, extractor, seed)
    by_part = _findings.counts_by_part(dataset)
    exploration = Exploration(
        data=_describe(dataset, usable),
        class_counts=dataset.class_counts(),
        class_names=_names(dataset),
        class_counts_by_part=by_part,
        imbalance=counts.imbalance(by_part.get("train", dataset.class_counts())),
        samples=places,
        photo_sizes=counts.sizes([photos.size(path) for path in dict.fromkeys(_paths(usable))]),
        box_sizes=_box_sizes(usable, photos),
        unreadable=tuple(
            {"filename": path, "reason": reason}
            for (path, _), reason in list(faults.items())[:_MAX_UNREADABLE]
        ),
        labels_per_photo=counts.labels_per_photo(dataset.samples) if multi else None,
        co_occurrence=counts.co_occurrence(dataset.samples) if multi else None,
        duplicates=Duplicates(int(in_group.sum()), len(groups), groups[:100]),
        notes=tuple(found.notes),
        config={
            "model": model if bundle is None else "",
            "bundle": "" if extractor is None or bundle is None else extractor.network,
            "max_photos": max_photos,
            "seed": seed,
            "split_groups": dataset.split_groups or "across",
            "versions": versions("numpy", "pillow", "scikit-learn", "torch", "timm"),
        },
        **found.values,
    )
    with new_directory(target, overwrite=overwrite) as folder:
        _explore_files.write(folder, dataset, usable, exploration, mean, seed)
    return Explored(target, exploration)


def _extractor(
    bundle: BundleLike | None, model: str, weights: str, threads: int | None
) -> tuple[_features.Extractor | None, list[str]]:
    """The network, or why there is none; a bundle that was named must be usable."""
    if bundle is not None:
        require("sklearn", extra="train")
        return _features.of_bundle(bundle, threads=threads), []
    try:
        require("sklearn", extra="train")
        return _features.pretrained(model, weights, threads=threads), []
    except (MissingExtraError, _features.NoWeightsError) as error:
        way = "" if isinstance(error, MissingExtraError) else "; or name a bundle with --bundle"
        note = (
            "Clusters, neighbours and likely label mistakes are left out, because no trained "
            f"network is at hand, and a random one would show nothing: {error}{way}."
        )
        warn(note)
        return None, [note]


def _choose(dataset: Dataset, most: int, seed: int) -> Dataset:
    """All samples, or a class-balanced choice in their own order."""
    if len(dataset) <= most:
        return dataset
    chosen = sorted(class_balanced([s.labels for s in dataset.samples], most, seed))
    return dataset.subset(tuple(dataset.samples[i] for i in chosen))


def _look_closely(
    dataset: Dataset, found: _Found, extractor: _features.Extractor | None, seed: int
) -> tuple[Mean, tuple[Place, ...]]:
    """One pass over the photos, then everything that follows from features."""
    requests = [Request(dataset.file(s), s.box) for s in found.samples]
    mean, seen = mean_of(found.samples, dataset.class_counts(), _MAX_MEANS)
    places = [Place(s.path, s.box and tuple(s.box), s.labels) for s in found.samples]
    if extractor is None:
        with bar("looking", len(requests)) as advance:
            look(requests, seen, advance=advance)
        return mean, tuple(places)
    say(f"features of {len(requests):,} samples by {extractor.network}")
    with bar("features", len(requests)) as advance:
        features_NF, kept = features_of(
            requests,
            extractor.preprocess,
            extractor.input,
            extractor.session,
            advance=advance,
            seen=seen,
        )
    found.values["features"] = {
        "network": extractor.network,
        "weights": extractor.weights,
        "num_features": int(features_NF.shape[1]),
    }
    if len(kept) < 3:
        found.notes.append(f"{len(kept)} samples are too few to compare with each other.")
        return mean, tuple(places)
    clustered = _fill_plane(found, features_NF, kept, places, seed)
    if clustered is None:
        found.notes.append("There are too few different samples for clusters.")
    if found.labels is not None and len(set(found.labels)) > 1:
        _fill_neighbours(found, features_NF, kept)
    return mean, tuple(places)


def _fill_plane(
    found: _Found,
    features_NF: NDArray[np.float32],
    kept: Sequence[int],
    places: list[Place],
    seed: int,
) -> object:
    """Put places and clusters into the samples; give the clusters, or None."""
    directions_ND, plane = clusters.reduce(features_NF, seed)
    labels = None if found.labels is None else [found.labels[i] for i in kept]
    clustered = clusters.cluster(directions_ND, labels, seed)
    found.values["plane"] = {"explained": list(plane.explained)}
    for row, i in enumerate(kept):
        x, y = (round(float(v), 5) for v in plane.places_N2[row])
        number = None if clustered is None else int(clustered[1][row])
        places[i] = replace(places[i], x=x, y=y, cluster=number)
    if clustered is None:
        return None
    summary = clustered[0]
    medoids = tuple(kept[row] for row in summary.medoids)
    found.values["clusters"] = replace(summary, medoids=medoids)
    return summary


def _fill_neighbours(found: _Found, features_NF: NDArray[np.float32], kept: Sequence[int]) -> None:
    """Separability and suspects; indices become those of all samples."""
    assert found.labels is not None
    labels, units = ([values[i] for i in kept] for values in (found.labels, found.units))
    indices_NK, distances_NK = neighbours.nearest(features_NF, units)
    summary = neighbours.separability(labels, indices_NK, found.distinct[list(kept)])
    if summary is None:
        found.notes.append(
            "All samples are of one group or photo, so neighbours tell nothing of the classes."
        )
        return
    odd = neighbours.suspects(labels, units, features_NF, indices_NK, distances_NK)
    found.values["neighbours"] = summary
    found.values["suspects"] = tuple(
        replace(s, sample=kept[s.sample], neighbours=tuple(kept[j] for j in s.neighbours))
        for s in odd[:_MAX_SUSPECTS]
    )
    if len(odd) > _MAX_SUSPECTS:
        found.notes.append(
            f"{len(odd):,} samples have neighbours of other labels only; the {_MAX_SUSPECTS} most "
            "suspicious are listed. With so many, it is the classes that are alike, rather than "
            "the labels that are wrong."
        )


def _describe(dataset: Dataset, usable: Sequence[Sample]) -> dict[str, Any]:
    groups = {s.group for s in dataset.samples if s.group is not None}
    return {
        "name": dataset.root.resolve().name,
        "format": dataset.format,
        "task": dataset.task,
        "num_samples": len(dataset),
        "num_classes": len(dataset.classes),
        "num_looked_at": len(usable),
        "num_unlabelled": sum(not s.labels for s in dataset.samples),
        "num_groups": len(groups),
    }


def _names(dataset: Dataset) -> dict[str, str]:
    """What classes are called, where their own names are codes."""
    found = {}
    for label, info in dataset.class_info.items():
        name = next((str(info[key]) for key in _NAME_KEYS if info.get(key)), label)
        if name != label:
            found[label] = name
    return found


def _paths(samples: Sequence[Sample]) -> list[str]:
    return [sample.path for sample in samples]


def _box_sizes(samples: Sequence[Sample], photos: Photos) -> Any:
    boxed = [s for s in samples if s.box is not None]
    boxes = [(s.box.width, s.box.height) for s in boxed if s.box is not None]
    return counts.sizes(boxes, [photos.size(s.path) for s in boxed])
