"""Samples made ready for a network: what to read, and the truth in the order of its classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Dataset, Sample, photo_of
from pocketlens.core.errors import DataError
from pocketlens.core.predictor import Request


@dataclass(frozen=True)
class Examples:
    """N samples of a data set, with their truth.

    Attributes:
        samples: what they are; `requests` what to read for each.
        identities: by which a split knows them.
        truth: class indices N (single-label) or a 0/1 matrix NK (multi-label).
        unknown_classes: classes of the data that the network doesn't know, left out.
        num_dropped: samples left out for that reason.
        num_only_unknown: samples with several labels, all of them unknown: they stay, as showing
            none of the network's classes.
    """

    dataset: Dataset
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    identities: tuple[str, ...]
    truth: NDArray[Any]
    unknown_classes: tuple[str, ...] = ()
    num_dropped: int = 0
    num_only_unknown: int = 0

    @property
    def untested_classes(self) -> tuple[str, ...]:
        """Classes of the network that no sample here has; nothing is known of how well they do."""
        if self.truth.ndim == 2:
            seen = set(np.flatnonzero(self.truth.sum(axis=0)).tolist())
        else:
            seen = set(self.truth.tolist())
        return tuple(name for i, name in enumerate(self.classes) if i not in seen)

    def __len__(self) -> int:
        return len(self.samples)

    def request(self, index: int) -> Request:
        """What to read for one sample."""
        sample = self.samples[index]
        return Request(self.dataset.file(sample), sample.box)

    @property
    def units(self) -> list[str]:
        """The photo each sample is of; crops of one photo are not independent."""
        return list(map(photo_of, self.identities))

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Examples:
        """Only these, in this order."""
        return Examples(
            self.dataset,
            self.classes,
            tuple(self.samples[i] for i in indices),
            tuple(self.identities[i] for i in indices),
            self.truth[np.asarray(indices, dtype=np.int64)],
            self.unknown_classes,
            self.num_dropped,
            self.num_only_unknown,
        )


def make_examples(
    dataset: Dataset,
    identities: Sequence[str],
    classes: tuple[str, ...],
    *,
    only: Collection[str] | None = None,
) -> Examples:
    """Match labels by class name.

    Args:
        identities: one a sample of `dataset`.
        classes: the network's, in its order.
        only: identities to keep; all when None.

    Raises:
        DataError: data and network have no class in common.
    """
    number = {name: i for i, name in enumerate(classes)}
    if not number.keys() & set(dataset.classes):
        raise DataError(
            f"data and model have no class in common: the data has {_some(dataset.classes)}, "
            f"the model {_some(classes)}"
        )
    multi = dataset.task == "multi_label"
    kept: list[int] = []
    num_dropped = 0
    for i, sample in enumerate(dataset.samples):
        if only is not None and identities[i] not in only:
            continue
        if not multi and sample.labels[0] not in number:
            num_dropped += 1
            continue
        kept.append(i)
    samples = tuple(dataset.samples[i] for i in kept)
    truth: NDArray[Any]
    num_only_unknown = 0
    if multi:
        truth = np.zeros((len(samples), len(classes)), dtype=np.uint8)
        for row, sample in enumerate(samples):
            truth[row, [number[name] for name in sample.labels if name in number]] = 1
            num_only_unknown += bool(sample.labels) and number.keys().isdisjoint(sample.labels)
    else:
        truth = np.array([number[s.labels[0]] for s in samples], dtype=np.int64)
    unknown = tuple(name for name in dataset.classes if name not in number)
    return Examples(
        dataset,
        classes,
        samples,
        tuple(identities[i] for i in kept),
        truth,
        unknown,
        num_dropped,
        num_only_unknown,
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
