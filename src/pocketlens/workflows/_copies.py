"""Samples that belong together: copies of a photo, and members of one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Dataset, Sample
from pocketlens.core.exploration import CopyGroup
from pocketlens.measures.duplicates import connected, near_duplicates
from pocketlens.measures.photos import Photos


def copy_groups(
    dataset: Dataset, photos: Photos
) -> tuple[tuple[CopyGroup, ...], NDArray[np.bool_]]:
    """Photos with the same or nearly the same picture, and which samples are in such a group.

    Groups under different labels come first, then the largest.
    """
    files: defaultdict[int, list[str]] = defaultdict(list)  # row of a content -> its files
    labels: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    boxed = set()
    for sample in dataset.samples:
        row = photos.contents.row[photos.hashes[sample.path]]
        if sample.path not in labels:
            files[row].append(sample.path)
        labels[sample.path].add(tuple(sorted(sample.labels)))
        if sample.box is not None:
            boxed.add(sample.path)
    rows = np.array(sorted(files))
    groups = [
        rows[group].tolist() for group in connected(near_duplicates(photos.contents.thumbs()[rows]))
    ]
    together = {row for group in groups for row in group}
    groups += [[row] for row in files if row not in together and len(files[row]) > 1]
    found = []
    for group in groups:
        names = [name for row in group for name in files[row]]
        told = {label for name in names for label in labels[name]}
        # Crops of one photo may differ in label by right.
        conflict = len(told) > 1 and not boxed & set(names)
        words = tuple(sorted({", ".join(label) or "no label" for label in told}))
        found.append(CopyGroup(tuple(names), words, conflict))
    found.sort(key=lambda group: (not group.conflict, -len(group.files), group.files))
    inside = {name for group in found for name in group.files}
    return tuple(found), np.array([s.path in inside for s in dataset.samples], dtype=np.bool_)


def units_of(samples: Sequence[Sample], photos: Photos, *, groups: bool = True) -> list[str]:
    """A name for each sample, the same for samples of one photo (or its copies) or one group.

    Args:
        groups: whether groups count; not where training may know them all.
    """
    first: dict[str, int] = {}
    pairs = []
    for i, sample in enumerate(samples):
        keys = [f"photo:{photos.hashes[sample.path]}"]
        keys += [] if sample.group is None or not groups else [f"group:{sample.group}"]
        pairs += [(first.setdefault(key, i), i) for key in keys]
    unit = [""] * len(samples)
    for number, members in enumerate(connected(np.array(pairs, dtype=np.int64))):
        for i in members:
            unit[i] = str(number)
    return unit
