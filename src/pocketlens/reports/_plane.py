"""The plane of features: a mark for each sample, pictures for the middles of clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pocketlens.core.area import Area
from pocketlens.core.exploration import Exploration, Place
from pocketlens.reports._format import number, one_line

#: Colours (`.k0` to `.k5` of the style) times marks: 6 and 7 have no common factor, so 42 pairs.
NUM_COLOURS: Final = 6
#: Paths of a mark around the origin, of about equal area.
MARKS: Final = (
    "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0 -6.8 0Z",
    "M-3 -3H3V3H-3Z",
    "M0 -4.4L4.1 2.9H-4.1Z",
    "M0 -4.3L4.3 0L0 4.3L-4.3 0Z",
    "M0 4.4L4.1 -2.9H-4.1Z",
    "M-1.3 -4H1.3V-1.3H4V1.3H1.3V4H-1.3V1.3H-4V-1.3H-1.3Z",
    "M0 -4.5L1.2 -1.4L4.4 -1.3L1.9 .7L2.7 3.8L0 2L-2.7 3.8L-1.9 .7L-4.4 -1.3L-1.2 -1.4Z",
)
_MOST_KINDS: Final = 12
_MOST_POINTS: Final = 1_500
_PADDING: Final = 16


class Size(NamedTuple):
    """A format of the picture, in units that are pixels when it is shown at full width."""

    width: int
    height: int
    picture: int
    points: int


WIDE: Final = Size(920, 560, 54, _MOST_POINTS)
NARROW: Final = Size(400, 400, 40, 600)


@dataclass(frozen=True)
class Kind:
    """A class (or cluster) with its colour and mark; `mark` -1 is the grey of all others."""

    name: str
    colour: int
    mark: int
    count: int


@dataclass(frozen=True)
class Medoid:
    """The most typical sample of a cluster: where it lies, and where its picture stands."""

    x: float
    y: float
    left: float
    top: float
    picture: str
    title: str


@dataclass(frozen=True)
class Plane:
    """Everything the template draws, in pixels; points are (x, y, index of kind)."""

    size: Size
    points: tuple[tuple[float, float, int], ...]
    kinds: tuple[Kind, ...]
    medoids: tuple[Medoid, ...]
    num_left_out: int
    title: str
    description: str


def planes(found: Exploration, thumbnails: Mapping[int, str]) -> list[Plane]:
    """The picture for wide and for narrow windows; none without features."""
    if found.plane is None:
        return []
    return [_plane(found, thumbnails, size) for size in (WIDE, NARROW)]


def _plane(found: Exploration, thumbnails: Mapping[int, str], size: Size) -> Plane:
    assert found.plane is not None
    shown = [place for place in found.samples if place.x is not None and place.y is not None]
    kinds = _kinds(found, shown)
    index = {kind.name: i for i, kind in enumerate(kinds) if kind.mark >= 0}
    xs = np.array([place.x for place in shown], dtype=float)
    ys = np.array([place.y for place in shown], dtype=float)
    spans = [max(float(np.ptp(v)), 1e-9) for v in (xs, ys)]

    def at(place: Place) -> tuple[float, float]:
        assert place.x is not None
        assert place.y is not None
        x = (place.x - float(xs.min())) / spans[0] * (size.width - 2 * _PADDING)
        y = (place.y - float(ys.min())) / spans[1] * (size.height - 2 * _PADDING)
        return round(_PADDING + x, 1), round(size.height - _PADDING - y, 1)

    step = max(1, -(-len(shown) // size.points))
    # Shuffled, or the class that is drawn last would hide the others.
    order = np.random.default_rng(0).permutation(len(shown))[::step]
    rest = len(kinds) - 1
    points = [(*at(shown[i]), index.get(_name(shown[i], found), rest)) for i in order]
    points.sort(key=lambda point: kinds[point[2]].mark >= 0)  # the grey ones below
    x, y = (number(share, 0) for share in found.plane["explained"])
    return Plane(
        size=size,
        points=tuple(points),
        kinds=kinds,
        medoids=tuple(_medoids(found, thumbnails, size, at)),
        num_left_out=len(shown) - len(points),
        title=f"{len(shown):,} samples on their two main directions",
        description=(
            f"Similar samples lie near each other. To the right the first main direction, with "
            f"{x} % of the variance, upwards the second, with {y} %. Kinds: "
            + ", ".join(f"{kind.name} ({kind.count:,})" for kind in kinds)
            + "."
        ),
    )


def _name(place: Place, found: Exploration) -> str:
    if found.is_multi_label:
        return "samples" if place.cluster is None else f"cluster {place.cluster + 1}"
    label = place.labels[0]
    name = found.class_names.get(label)
    return one_line(label if name is None else f"{label} {name}")


def _kinds(found: Exploration, shown: list[Place]) -> tuple[Kind, ...]:
    """The largest classes get a colour and a mark each, in the order of their names."""
    counts = Counter(_name(place, found) for place in shown)
    most = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_KINDS]
    kinds = [
        Kind(name, i % NUM_COLOURS, i % len(MARKS), counts[name])
        for i, name in enumerate(sorted(most))
    ]
    if rest := sum(counts.values()) - sum(kind.count for kind in kinds):
        kinds.append(Kind(f"{len(counts) - len(kinds)} other classes", 0, -1, rest))
    return tuple(kinds)


def _medoids(
    found: Exploration, thumbnails: Mapping[int, str], size: Size, at: object
) -> list[Medoid]:
    """Pictures beside their places; where two would cover each other, one moves aside."""
    assert callable(at)
    made: list[Medoid] = []
    taken: list[Area] = []
    side = size.picture
    for i, sample in enumerate(found.clusters.medoids if found.clusters else ()):
        if sample not in thumbnails:
            continue
        x, y = at(found.samples[sample])
        area = _free(x, y, side, size, taken)
        taken.append(area)
        assert found.clusters is not None
        told = ", ".join(
            f"{count} {one_line(label, 30)}"
            for label, count in list(found.clusters.composition[i].items())[:3]
        )
        title = f"Most typical of cluster {i + 1} ({told})"
        made.append(
            Medoid(x, y, round(area.left, 1), round(area.top, 1), thumbnails[sample], title)
        )
    return made


def _free(x: float, y: float, side: int, size: Size, taken: list[Area]) -> Area:
    """The nearest place for a picture that covers no other."""
    best: tuple[float, Area] | None = None
    for reach in (0.75, 1.1, 1.5, 2.0, 2.6):
        for angle in np.arange(12) * (np.pi / 6):
            left = min(max(x + reach * side * np.cos(angle) - side / 2, 2), size.width - side - 2)
            top = min(max(y + reach * side * np.sin(angle) - side / 2, 2), size.height - side - 2)
            area = Area(left, top, left + side, top + side)
            cost = sum(area.shared(other) for other in taken) * 10 + reach
            if best is None or cost < best[0]:
                best = (cost, area)
    assert best is not None
    return best[1]
