"""Samples and data sets: what lies on disk, before any pixel is read."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pocketlens.core.errors import DataError

Task = Literal["single_label", "multi_label"]
Part = Literal["train", "val", "test"]
#: `across`: a group is in one part only; `inside`: each group is divided between the parts.
SplitGroups = Literal["across", "inside"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
#: Joins the labels of one photo in tables, of data as of predictions.
LABEL_SEPARATOR: Final = "|"


class Box(NamedTuple):
    """A rectangle in pixels of the upright photo; x and y are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in self)

    def fault(self, size: tuple[int, int]) -> str | None:
        """Why nothing can be cut out of a photo of this width and height, or None."""
        if not (self.width > 0 and self.height > 0):  # so that NaN is refused too
            return f"the box {self} has no area"
        inside_x = self.x < size[0] and self.x + self.width > 0
        inside_y = self.y < size[1] and self.y + self.height > 0
        if inside_x and inside_y:
            return None
        return f"the box {self} lies outside the photo of {size[0]}x{size[1]} pixels"


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to classify: a photo, or a box of one.

    Attributes:
        path: the file, relative to the data set's root (or absolute).
        labels: class names; exactly one when the task is single-label.
        box: the part of the photo that counts, or None for all of it.
        group: samples of one group (patient, fabric) never go to different splits.
        part: the split that the data's own layout gives, or None.
        extra: further columns, in the order of `Dataset.extra_columns`.
    """

    path: str
    labels: tuple[str, ...]
    box: Box | None = None
    group: str | None = None
    part: Part | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One kind of thing a person should look at, with a few of the places where it is."""

    kind: str
    message: str
    count: int
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "kind": self.kind,
            "message": self.message,
            "count": self.count,
            "examples": list(self.examples),
        }


@dataclass(frozen=True)
class Dataset:
    """Labelled samples under one root.

    Attributes:
        classes: all class names, sorted; the order is that of the network's outputs.
        class_info: what is known of a class beside its name, shown with predictions.
        problems: what the reader of the format met (missing photos, empty folders).
        split_groups: how groups are to be split; None leaves it to an earlier split, else to
            `across`.
        reading: how it was asked to be read, beside path and format; kept with results.
        copies: path -> hash of the file that lies there, where identities are of other bytes: of
            photos as they were uploaded, before they were made anew.
    """

    root: Path
    format: str
    task: Task
    classes: tuple[str, ...]
    samples: Sequence[Sample]
    class_info: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra_columns: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    split_groups: SplitGroups | None = None
    reading: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def file(self, sample: Sample) -> str:
        """The path to open."""
        return os.path.join(self.root, sample.path)

    def class_counts(self) -> dict[str, int]:
        """Samples a class, in the order of `classes`."""
        counts = Counter(label for sample in self.samples for label in sample.labels)
        return {name: counts[name] for name in self.classes}

    def subset(self, samples: Sequence[Sample]) -> Dataset:
        """The same data set with only these samples; classes stay as they are."""
        return replace(self, samples=samples)


def make_dataset(
    root: Path,
    format: str,
    samples: Sequence[Sample],
    *,
    task: Task = "single_label",
    class_info: Mapping[str, Mapping[str, Any]] | None = None,
    extra_columns: tuple[str, ...] = (),
    problems: Sequence[Problem] = (),
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Check what a reader found and put it into a `Dataset`.

    Raises:
        DataError: there is no sample.
    """
    if not samples:
        details = "; ".join(f"{p.message} ({p.count})" for p in problems[:3])
        raise DataError(
            f"no labelled photo found in {root} as {format}" + (f": {details}" if details else "")
        )
    names = {label for sample in samples for label in sample.labels}
    return Dataset(
        root=root,
        format=format,
        task=task,
        classes=tuple(sorted(names)) if classes is None else tuple(classes),
        samples=samples,
        class_info=class_info or {},
        extra_columns=extra_columns,
        problems=tuple(problems),
    )


def check_class_names(task: Task, classes: Sequence[str]) -> None:
    """Refuse class names that could not be told from several joined ones.

    Raises:
        DataError: a photo may have several labels, and a class name has a `|`.
    """
    if task == "single_label":
        return
    for name in classes:
        if LABEL_SEPARATOR in name:
            new = name.replace(LABEL_SEPARATOR, "/")
            raise DataError(
                f"the class name {name!r} has a {LABEL_SEPARATOR}, which joins the labels of a "
                f"photo with several; rename it, in data by `rename: {{{name!r}: {new!r}}}` of a "
                "YAML file that describes it"
            )


def file_hash(path: str) -> str:
    """128 bits of SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def bytes_hash(data: bytes) -> str:
    """What `file_hash` gives for a file with these bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def identity(photo_hash: str, box: Box | None) -> str:
    """What makes a sample the same sample wherever it lies: its photo's bytes and its box."""
    return photo_hash if box is None else f"{photo_hash}@{box}"


def photo_of(identity: str) -> str:
    """The hash of a sample's photo; crops of one photo have it in common."""
    return identity.split("@", 1)[0]
