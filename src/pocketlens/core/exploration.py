"""What `explore` found, as values: the page is drawn from them and `explore.json` holds them.

`explore.json` is one object; `schema` is 1. Shares and accuracies are in percent, 0 to 100, sizes
in pixels of the upright photo, file names relative to the data set's root. A part that makes no
sense for the data, or could not be computed, is `null`, and `notes` say why.

- `data`: `name, format, task, num_samples, num_classes, num_looked_at` (the sample that all but
  the counts rest on), `num_unlabelled`, `num_groups`
- `class_names`: class -> what people call it, where the data tells (classes may be codes)
- `class_counts`: name -> samples; `class_counts_by_part`: part -> name -> samples, where the data
  names parts; `imbalance`: largest by smallest class, of the training part where there are parts
  (empty ones not counted)
- `unreadable[]`: `filename, reason`
- `photo_sizes`, `box_sizes`: `num, width, height` (each `min, median, max`), `common[]` (`width,
  height, count`), `sides` (shorter side), `shapes` (width by height) and `shares` (of the photo
  that the box covers; boxes only): lists of `label, count`
- `labels_per_photo[]`: `label, count`; `co_occurrence[]`: `a, b, count, share_a, share_b` (share of
  the samples with a that have b, too); both for multi-label data only
- `duplicates`: `num_samples` (in any group), `groups[]`: `files[], labels[], conflict`
- `features`: `network, weights, num_features`
- `samples[]`: `filename, box, labels, x, y` (place on the plane), `cluster`
- `plane`: `explained` (share of the variance along x and y)
- `clusters`: `k, silhouette` (-1 to 1), `silhouettes` (k -> silhouette), `adjusted_rand_index`
  (0 as by chance, 1 as the labels; null for multi-label), `medoids[]` (index into `samples`),
  `composition[]` (one object a cluster: label -> count)
- `neighbours`: `k, num_samples, accuracy, balanced_accuracy, chance` (balanced accuracy of
  guessing), `accuracy_distinct` (samples without near duplicate; null if few), `by_class` (name ->
  `num, recall`), `pairs[]`: `a, b, a_as_b, b_as_a, mixed` (mean of both), `verdict`; `verdict`
- `suspects[]`: `sample` (index into `samples`), `label, suggested, share` (of the neighbours that
  say so), `margin` (how much nearer they are than the nearest of its own label, in cosine
  distance), `neighbours[]` (indices into `samples`)
- `notes[]`: what was left out and why; `config`: the resolved settings, `versions`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

SCHEMA: Final = 1


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram."""

    label: str
    count: int


@dataclass(frozen=True)
class Sizes:
    """Widths, heights and shapes of photos, or of boxes."""

    num: int
    width: Mapping[str, float]
    height: Mapping[str, float]
    common: tuple[Mapping[str, float], ...]
    sides: tuple[Bin, ...]
    shapes: tuple[Bin, ...]
    shares: tuple[Bin, ...] = ()


@dataclass(frozen=True)
class Together:
    """Two labels that some samples have both."""

    a: str
    b: str
    count: int
    share_a: float
    share_b: float


@dataclass(frozen=True)
class CopyGroup:
    """Photos with nearly the same picture."""

    files: tuple[str, ...]
    labels: tuple[str, ...]
    conflict: bool


@dataclass(frozen=True)
class Duplicates:
    """Near duplicates; only the first groups are listed."""

    num_samples: int
    num_groups: int
    groups: tuple[CopyGroup, ...]


@dataclass(frozen=True)
class Place:
    """One sample, and where it lies among the others."""

    filename: str
    box: tuple[float, ...] | None
    labels: tuple[str, ...]
    x: float | None = None
    y: float | None = None
    cluster: int | None = None


@dataclass(frozen=True)
class Clusters:
    """What KMeans makes of the features, without knowing the labels."""

    k: int
    silhouette: float
    silhouettes: Mapping[int, float]
    adjusted_rand_index: float | None
    medoids: tuple[int, ...]
    composition: tuple[Mapping[str, int], ...]


@dataclass(frozen=True)
class Recall:
    """How many samples of a class their neighbours name rightly."""

    num: int
    recall: float


@dataclass(frozen=True)
class Mixed:
    """Two classes that are taken for each other, in percent of each."""

    a: str
    b: str
    a_as_b: float
    b_as_a: float
    mixed: float
    verdict: str


@dataclass(frozen=True)
class Neighbours:
    """Labels guessed from the nearest other samples: can the classes be told apart?"""

    k: int
    num_samples: int
    accuracy: float
    balanced_accuracy: float
    chance: float
    accuracy_distinct: float | None
    by_class: Mapping[str, Recall]
    pairs: tuple[Mixed, ...]
    verdict: str


@dataclass(frozen=True)
class Suspect:
    """A sample all of whose nearest neighbours carry another label."""

    sample: int
    label: str
    suggested: str
    share: float
    margin: float
    neighbours: tuple[int, ...]


@dataclass(frozen=True)
class Exploration:
    """Everything; see the module's docstring for the meaning of each field."""

    data: Mapping[str, Any]
    class_counts: Mapping[str, int]
    imbalance: float | None
    samples: tuple[Place, ...]
    photo_sizes: Sizes | None = None
    box_sizes: Sizes | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    class_counts_by_part: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unreadable: tuple[Mapping[str, str], ...] = ()
    labels_per_photo: tuple[Bin, ...] | None = None
    co_occurrence: tuple[Together, ...] | None = None
    duplicates: Duplicates | None = None
    features: Mapping[str, Any] | None = None
    plane: Mapping[str, Any] | None = None
    clusters: Clusters | None = None
    neighbours: Neighbours | None = None
    suspects: tuple[Suspect, ...] | None = None
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def is_multi_label(self) -> bool:
        """Whether a sample can have any number of labels."""
        return bool(self.data.get("task") == "multi_label")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `explore.json` holds them."""
        return asdict(self)

    def to_json(self) -> str:
        """The text of `explore.json`."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
