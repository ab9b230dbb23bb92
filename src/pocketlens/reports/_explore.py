"""The page of `explore`: what it says in words, and the values its templates lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pocketlens.core.exploration import Bin, Exploration, Mixed
from pocketlens.reports import _format, _plane
from pocketlens.reports._page import page
from pocketlens.reports._sections import Tile, image_url

#: Lines shown before the rest is folded away.
SHOWN: Final = 24
SHOWN_PAIRS: Final = 12
SHOWN_SUSPECTS: Final = 24


@dataclass(frozen=True)
class Pictures:
    """Small JPEGs in base64.

    Attributes:
        thumbnails: by index of a sample.
        sheets: class -> indices of the samples that show it.
        copies: indices of samples for each of the first groups of near duplicates.
        means: class -> mean picture; the empty name is that of all photos.
    """

    thumbnails: Mapping[int, str]
    sheets: Mapping[str, Sequence[int]]
    copies: Sequence[Sequence[int]]
    means: Mapping[str, str]


@dataclass(frozen=True)
class Bar:
    """A line of a bar chart; `size` is the percent of the longest."""

    label: str
    count: int
    size: float
    share: float


def render(found: Exploration, pictures: Pictures) -> str:
    """The text of `report.html`."""
    return page(
        "explore.html",
        e=found,
        pictures=pictures,
        thing=thing(found),
        title=headline(found),
        lead=lead(found),
        tiles=tiles(found),
        parts=tuple(found.class_counts_by_part.items()),
        classes=bars([Bin(n, c) for n, c in _by_count(found)], found.data["num_samples"]),
        charts=_charts(found),
        marks=_plane.MARKS,
        planes=_plane.planes(found, pictures.thumbnails),
        pairs=() if found.neighbours is None else found.neighbours.pairs,
        recalls=_recalls(found),
        pair_words=lambda pair: pair_words(pair, found),
        cluster_words=_cluster_words(found),
        image_url=image_url,
        shown=SHOWN,
        shown_pairs=SHOWN_PAIRS,
        shown_suspects=SHOWN_SUSPECTS,
        facts=_facts(found),
        f=_format,
    )


def thing(found: Exploration, number: int = 2) -> str:
    """What a sample is, in one word."""
    word = "photo" if found.box_sizes is None else "box"
    return word if number == 1 else {"photo": "photos", "box": "boxes"}[word]


def headline(found: Exploration) -> str:
    """The one sentence a reader takes along."""
    if found.neighbours is not None:
        words = found.neighbours.verdict
        return words[0].upper() + words[1:]
    number, classes = found.data["num_samples"], found.data["num_classes"]
    kinds = "label" if found.is_multi_label else "class"
    plural = {"label": "labels", "class": "classes"}[kinds] if classes != 1 else kinds
    return f"{number:,} {thing(found, number)} of {classes:,} {plural}"


def lead(found: Exploration) -> str:
    """What stands behind the headline."""
    near = found.neighbours
    if near is None:
        if found.is_multi_label:
            return (
                "A photo can have several labels here, so whether they can be told apart is for "
                "training to show; this page shows what there is to learn from."
            )
        return "What there is to learn from: counts, sizes, samples, copies."
    text = (
        f"Asked for the label of its {near.k} most similar other {thing(found)}, "
        f"{_format.number(near.balanced_accuracy, 0)} % of a class is named rightly on average "
        f"(guessing: {_format.number(near.chance, 0)} %). The network that says what is similar "
        "has not been trained on this data: training usually does better."
    )
    copies = found.duplicates.num_samples if found.duplicates else 0
    if copies >= 0.2 * found.data["num_looked_at"]:
        share = 100 * copies / found.data["num_looked_at"]
        text += f" But {share:.0f} % have a near copy among the others, which flatters the figure."
    if near.pairs and near.pairs[0].mixed >= 2:
        pair = near.pairs[0]
        a, b = (f"“{_called(name, found)}”" for name in (pair.a, pair.b))
        text += f" Most alike are {a} and {b}: {pair.verdict}."
    return text


def tiles(found: Exploration) -> list[Tile]:
    """The figures of the headline."""
    data = found.data
    detail = f"{data['num_classes']:,} {'labels' if found.is_multi_label else 'classes'}"
    groups = f"{data['num_groups']:,} groups" if data["num_groups"] else "no groups recognised"
    detail += f", {groups}"
    tiles = [Tile(thing(found).capitalize(), f"{data['num_samples']:,}", detail)]
    if found.imbalance is not None:
        many = found.imbalance >= 1.5
        words = "largest class by smallest" if many else "the classes are about equally large"
        words += ", to train on" if found.class_counts_by_part else ""
        figure = (
            f"{found.imbalance:.{0 if found.imbalance >= 10 else 1}f}".removesuffix(".0") + " : 1"
        )
        tiles.append(Tile("Imbalance", figure, words))
    near = found.neighbours
    if near is not None:
        figure = f"{_format.number(near.balanced_accuracy, 1)} %"
        tiles.append(Tile("Right by neighbours", figure, "mean over the classes, no training"))
    if found.duplicates is not None:
        number = found.duplicates.num_samples
        share = 100 * number / max(1, data["num_looked_at"])
        detail = f"{_format.number(share, 0)} % of those looked at" if number else "none found"
        tiles.append(Tile("With a near copy", f"{number:,}", detail))
    if found.suspects is not None:
        tiles.append(Tile("Doubtful labels", f"{len(found.suspects):,}", "worth a look, by eye"))
    return tiles


def pair_words(pair: Mixed, found: Exploration) -> str:
    """What becomes of two classes, in plain words."""
    a, b = (f"“{_called(name, found)}”" for name in (pair.a, pair.b))
    parts = []
    for one, other, share in ((a, b, pair.a_as_b), (b, a, pair.b_as_a)):
        if share > 0:
            parts.append(
                f"{_format.number(share, 0 if share >= 1 else 1)} % of {one} look most like {other}"
            )
    return "; ".join(parts)


def bars(bins: Sequence[Bin], total: int) -> list[Bar]:
    """Bins with the lengths of their bars."""
    most = max((b.count for b in bins), default=0) or 1
    return [
        Bar(b.label, b.count, 100 * b.count / most, 100 * b.count / max(1, total)) for b in bins
    ]


def _called(label: str, found: Exploration) -> str:
    """What a class is called in a sentence."""
    return _format.one_line(found.class_names.get(label, label), 40)


def _by_count(found: Exploration) -> list[tuple[str, int]]:
    return sorted(found.class_counts.items(), key=lambda item: (-item[1], item[0]))


def _charts(found: Exploration) -> list[tuple[str, str, list[Bar]]]:
    """Titles, facts and bars of the sizes."""
    charts = []
    for name, sizes in (("photo", found.photo_sizes), ("box", found.box_sizes)):
        if sizes is None:
            continue
        spread = (
            f"{sizes.width['min']:g} to {sizes.width['max']:g} wide (median "
            f"{sizes.width['median']:g}), {sizes.height['min']:g} to {sizes.height['max']:g} high "
            f"(median {sizes.height['median']:g})"
        )
        if len(sizes.common) == 1:
            spread = f"all {sizes.common[0]['width']} × {sizes.common[0]['height']} pixels"
        charts.append((f"Shorter side of a {name}", spread, bars(sizes.sides, sizes.num)))
        charts.append((f"Shape of a {name}", "width to height", bars(sizes.shapes, sizes.num)))
        if sizes.shares:
            text = "small boxes in large photos leave few pixels to see"
            charts.append(("Part of the photo in the box", text, bars(sizes.shares, sizes.num)))
    return charts


def _recalls(found: Exploration) -> list[tuple[str, int, float]]:
    """Classes with how many of them their neighbours name rightly, the worst first."""
    if found.neighbours is None:
        return []
    items = found.neighbours.by_class.items()
    return sorted(((n, r.num, r.recall) for n, r in items), key=lambda item: (item[2], item[0]))


def _cluster_words(found: Exploration) -> str:
    """What the clusters say of the labels."""
    clusters = found.clusters
    if clusters is None:
        return ""
    silhouette = clusters.silhouette
    firm = "clear" if silhouette >= 0.5 else "loose" if silhouette >= 0.15 else "hardly any"
    text = f"{clusters.k} clusters give the best silhouette ({silhouette:.2f}: {firm} borders)."
    rand = clusters.adjusted_rand_index
    if rand is None:
        return text
    if rand >= 0.7:
        words = "the clusters are nearly the classes"
    elif rand >= 0.3:
        words = "the clusters follow the classes in part"
    elif rand >= 0.1:
        words = "the clusters follow the classes a little"
    elif 2 * clusters.k < found.data["num_classes"]:
        words = "with so few clusters for so many classes that says little"
    else:
        words = (
            "what makes photos alike at first sight is something else than the classes (the place, "
            "the light, the camera), which a network may learn instead of them"
        )
    return f"{text} Against the labels: adjusted Rand index {rand:.2f}; {words}."


def _facts(found: Exploration) -> list[tuple[str, str]]:
    given = {**found.data, **(found.features or {}), **found.config}
    return [(label, text) for label, text in _format.facts(given) if text != _format.NONE]
