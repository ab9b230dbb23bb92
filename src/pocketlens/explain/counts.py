"""Counts of labels and of sizes: what can be said of data without any network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Final

import numpy as np

from pocketlens.core.dataset import Sample
from pocketlens.core.exploration import Bin, Sizes, Together

#: Upper ends of the bins of a shorter side, in pixels.
_SIDES: Final = (32, 64, 128, 256, 512, 1024, 2048)
#: Width by height: the lower end of each bin with its name.
_SHAPES: Final = (
    (0.0, "taller than 2:1"),
    (0.5, "tall, 4:3 to 2:1"),
    (0.75, "slightly tall"),
    (0.97, "square"),
    (1.03, "slightly wide"),
    (4 / 3 + 1e-6, "wide, 4:3 to 2:1"),
    (2.0 + 1e-6, "wider than 2:1"),
)
#: Percent of the photo's area.
_SHARES: Final = (1, 5, 10, 25, 50, 75)
_NUM_COMMON: Final = 5
_NUM_TOGETHER: Final = 200


def imbalance(counts: Mapping[str, int]) -> float | None:
    """The largest class by the smallest that has any sample; None with fewer than two."""
    present = [count for count in counts.values() if count]
    return max(present) / min(present) if len(present) > 1 else None


def sizes(
    found: Sequence[tuple[float, float]], photos: Sequence[tuple[float, float]] | None = None
) -> Sizes | None:
    """Of widths and heights in pixels; with `photos` they are boxes on these. None if empty."""
    if not found:
        return None
    width, height = np.array(found, dtype=float).T
    common = Counter((round(w), round(h)) for w, h in found).most_common(_NUM_COMMON)
    shares: tuple[Bin, ...] = ()
    if photos is not None:
        areas = [100 * w * h / (pw * ph) for (w, h), (pw, ph) in zip(found, photos, strict=True)]
        shares = _histogram(areas, _SHARES, " %")
    return Sizes(
        num=len(found),
        width=_spread(width),
        height=_spread(height),
        common=tuple({"width": w, "height": h, "count": n} for (w, h), n in common),
        sides=_histogram(np.minimum(width, height), _SIDES, " px"),
        shapes=_shapes(width / height),
        shares=shares,
    )


def labels_per_photo(samples: Sequence[Sample]) -> tuple[Bin, ...]:
    """How many samples have how many labels."""
    counts = Counter(len(sample.labels) for sample in samples)
    many = sum(n for number, n in counts.items() if number >= 8)
    last = min(7, max(counts, default=0))
    bins = [Bin(str(number), counts[number]) for number in range(last + 1)]
    return tuple(bins + ([Bin("8 or more", many)] if many else []))


def co_occurrence(samples: Sequence[Sample]) -> tuple[Together, ...]:
    """Pairs of labels that samples have both, the commonest first."""
    single: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        labels = sorted(set(sample.labels))
        single.update(labels)
        both.update(combinations(labels, 2))
    order = sorted(both.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Together(a, b, n, 100 * n / single[a], 100 * n / single[b])
        for (a, b), n in order[:_NUM_TOGETHER]
    )


def _spread(values: np.ndarray) -> dict[str, float]:
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
    }


def _histogram(values: Iterable[float], ends: Sequence[int], unit: str) -> tuple[Bin, ...]:
    """Bins between the ends; empty ones at either side are left out."""
    counts = Counter(int(np.searchsorted(ends, value, side="right")) for value in values)
    names = [
        f"below {ends[0]}{unit}",
        *(f"{a} to {b}{unit}" for a, b in pairwise(ends)),
        f"{ends[-1]}{unit} or more",
    ]
    used = range(min(counts), max(counts) + 1)
    return tuple(Bin(names[i], counts[i]) for i in used)


def _shapes(ratios: np.ndarray) -> tuple[Bin, ...]:
    lows = [low for low, _ in _SHAPES]
    counts = Counter(int(i) for i in np.searchsorted(lows, ratios, side="right") - 1)
    used = range(min(counts), max(counts) + 1)
    return tuple(Bin(_SHAPES[i][1], counts[i]) for i in used)
