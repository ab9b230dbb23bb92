"""What the sections of the page show: values made ready, so that the templates only lay out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pocketlens.core.comparison import ClassDamage, Comparison, Flip, Row
from pocketlens.reports._format import (
    factor,
    facts,
    is_float,
    megabytes,
    metric,
    number,
    one_line,
    ordered,
    reference,
    significant,
)
from pocketlens.reports._machine import instructions

#: Classes, photos and pairs shown before the rest is folded away.
SHOWN_CLASSES, SHOWN_FLIPS, SHOWN_PAIRS = 20, 24, 3


@dataclass(frozen=True)
class Tile:
    """A figure of the headline: what it is, how large, compared with what."""

    label: str
    figure: str
    detail: str


def tiles(comparison: Comparison) -> list[Tile]:
    """The four figures of the model to ship: size, speed, score, proof."""
    best, base = comparison.best, reference(comparison)
    if best is None:
        return []
    found = []
    if best.size_bytes is not None:
        detail = "all files to ship"
        if base is not None and base.size_bytes and not is_float(best, base):
            share = number(100 * best.size_bytes / base.size_bytes, 0)
            detail = f"{share} % of the float model’s {megabytes(base.size_bytes)}"
        found.append(Tile("Size", megabytes(best.size_bytes), detail))
    if best.latency_ms is not None:
        times = []
        if best.speedup_float is not None and not is_float(best, base):
            times.append(
                f"{factor(best.speedup_float, noisy=best.noisy)}\u00a0× the fastest float model"
            )
        if best.speedup is not None and best.speedup != 1:
            times.append(f"{factor(best.speedup, noisy=best.noisy)}\u00a0×\u00a0PyTorch")
        detail = ", ".join(times) or "median for one image"
        figure = f"{significant(best.latency_ms, noisy=best.noisy)} ms"
        found.append(Tile("Time for an image", figure, detail))
    if best.score is not None:
        found.append(Tile(metric(best.metric), f"{number(best.score)} %", _samples(comparison)))
    if best.drop is not None and base is not None and not is_float(best, base):
        found.append(_drop_tile(best, comparison.limits.get("max_drop")))
    return found


def _drop_tile(best: Row, limit: float | None) -> Tile:
    parts = []
    if best.drop_low is not None and best.drop_high is not None:
        parts.append(f"95 %: {number(best.drop_low)} to {number(best.drop_high)}")
    if limit is not None:
        bound = "proven within" if best.proven else "not proven within"
        parts.append(f"{bound} the limit of {limit:g}")
    return Tile("Points lost", number(best.drop), "; ".join(parts) or "against the float model")


def _samples(comparison: Comparison) -> str:
    samples = comparison.data.get("num_test")
    return f"on {samples:,} test images" if isinstance(samples, int) else "on the test images"


@dataclass(frozen=True)
class Damage:
    """One variant's classes, worst first; `unit` is the percent of the bar a point takes."""

    row: Row
    metric: str
    shown: tuple[ClassDamage, ...]
    folded: tuple[ClassDamage, ...]
    summary: str


def damage(comparison: Comparison) -> tuple[list[Damage], float]:
    """Per-class damage by variant, and the largest change, which bars are scaled to."""
    groups: dict[str, list[ClassDamage]] = defaultdict(list)
    for item in comparison.damage:
        groups[item.row].append(item)
    largest = max(
        (abs(d) for d in map(_change, comparison.damage) if math.isfinite(d)), default=0.0
    )
    found = []
    for row in ordered(comparison.rows):
        items = sorted(groups.get(row.name, ()), key=lambda d: (_change(d), d.label))
        if not items:
            continue
        worse = sum(round(_change(d), 2) < 0 for d in items)
        better = sum(round(_change(d), 2) > 0 for d in items)
        summary = f"{worse} worse, {better} better, {len(items) - worse - better} unchanged"
        found.append(
            Damage(
                row,
                metric(items[0].metric),
                tuple(items[:SHOWN_CLASSES]),
                tuple(items[SHOWN_CLASSES:]),
                summary,
            )
        )
    return found, max(largest, 1.0)


def _change(item: ClassDamage) -> float:
    change = item.score - item.score_float
    return 0.0 if math.isnan(change) else change


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: a line a true class, with the share of the line in each cell."""

    row: Row
    lines: tuple[tuple[str, int, tuple[tuple[int, int], ...]], ...]
    summary: str


def matrices(comparison: Comparison) -> list[Matrix]:
    """The confusion matrices in the order of the table."""
    labels = [one_line(label) for label in comparison.classes]
    found = []
    for row in ordered(comparison.rows):
        counts = comparison.confusion.get(row.name)
        if counts is None:
            continue
        lines = tuple(
            (label, sum(line), tuple((n, _share(n, sum(line))) for n in line))
            for label, line in zip(labels, counts, strict=True)
        )
        found.append(Matrix(row, lines, _confused(labels, counts)))
    return found


def _share(count: int, total: int) -> int:
    """Percent of the line; what is there at all stays visible."""
    return max(4, round(100 * count / total)) if count and total else 0


def _confused(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """The commonest mistakes in words, for those who can't see a matrix."""
    right = sum(line[i] for i, line in enumerate(counts))
    total = sum(map(sum, counts))
    pairs = sorted(
        ((n, i, j) for i, line in enumerate(counts) for j, n in enumerate(line) if i != j and n),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    told = [
        f"{one_line(labels[i], 40)} taken for {one_line(labels[j], 40)} "
        f"({n:,} of {sum(counts[i]):,})"
        for n, i, j in pairs[:SHOWN_PAIRS]
    ]
    text = f"{right:,} of {total:,} right."
    return f"{text} Most often confused: {'; '.join(told)}." if told else text


@dataclass(frozen=True)
class FlipGroup:
    """The photos one variant answers differently; `total` counts those not shown, too."""

    row: Row
    flips: tuple[tuple[Flip, str], ...]
    total: int
    summary: str


def flips(comparison: Comparison) -> list[FlipGroup]:
    """Flipped photos by variant."""
    groups: dict[str, list[Flip]] = defaultdict(list)
    for flip in comparison.flips:
        groups[flip.row].append(flip)
    found = []
    for row in ordered(comparison.rows):
        items = groups.get(row.name, [])
        total = max(comparison.num_flips.get(row.name, 0), len(items))
        if not total:
            continue
        ways = [_way(flip) for flip in items]
        names = _WAYS_OF_SETS if any(flip.changed for flip in items) else _WAYS
        told = ", ".join(f"{ways.count(way)} {text}" for way, text in names.items() if way in ways)
        summary = f"{total:,} {'photo' if total == 1 else 'photos'}"
        if 0 < len(items) < total:
            summary += f", {len(items)} of them here"
        summary += f": {told}" if told else ""
        found.append(FlipGroup(row, tuple(zip(items, ways, strict=True)), total, summary))
    return found


def no_flips(comparison: Comparison) -> str:
    """What to say where no photo can be shown: nothing flipped, or nobody kept it."""
    base = reference(comparison)
    shares = [r.agreement for r in comparison.rows if base is None or r.name != base.name]
    known = [share for share in shares if share is not None]
    if known and all(share == 100 for share in known):
        return "No photo: every model gives the float model’s answer to every test photo."
    return "No photos are kept in this comparison."


_WAYS: Final = {
    "lost": "right before only",
    "won": "right now only",
    "wrong": "wrong both times",
}
#: A set of labels is seldom right altogether, so its wrong labels are counted.
_WAYS_OF_SETS: Final = {
    "lost": "with more wrong labels",
    "won": "with fewer",
    "wrong": "with as many",
}


def _way(flip: Flip) -> str:
    if flip.changed:
        truth, before, after = (_set(text) for text in (flip.truth, flip.before, flip.after))
        more = len(after ^ truth) - len(before ^ truth)
        return "lost" if more > 0 else "won" if more < 0 else "wrong"
    if flip.before == flip.truth:
        return "lost"
    return "won" if flip.after == flip.truth else "wrong"


def _set(labels: str) -> set[str]:
    return set(labels.split(" | ")) - {"none"}


def was_given(flip: Flip) -> bool:
    """Whether the label that changed was given, or taken away."""
    return flip.changed in _set(flip.after)


def rightly(flip: Flip) -> bool:
    """Whether the label that changed was rightly given or taken away."""
    return was_given(flip) == (flip.changed in _set(flip.truth))


def image_url(base64: str) -> str:
    """A thumbnail as a data URL; the kind is told by the first bytes."""
    return f"data:image/{'png' if base64.startswith('iVBOR') else 'jpeg'};base64,{base64}"


def measured(comparison: Comparison) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the figures rest on: headings with their lines."""
    machine = {k: v for k, v in comparison.machine.items() if k != "cpu_flags"}
    lines = facts(machine)
    if flags := instructions(comparison.machine):
        lines.append(("instructions", flags))
    limits = facts({k: v for k, v in comparison.limits.items() if v is not None})
    groups = [("Machine", lines), ("Data", facts(comparison.data)), ("Limits", limits)]
    return [(heading, lines) for heading, lines in groups if lines]
