"""The nearest other samples: can classes be told apart, and which labels look wrong?

A sample is never compared with samples of its own unit (the same photo, the same group), since
those would name its label without having learnt anything about the class.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.exploration import Mixed, Neighbours, Recall, Suspect

K: Final = 5
#: Megabytes of distances held at a time.
_WORKING_MEMORY_MB: Final = 64
_NUM_PAIRS: Final = 40
_MIN_DISTINCT: Final = 20
#: A class needs this many samples in other units, else any of its samples would be suspicious.
_MIN_OWN: Final = 3

#: Mean share of two classes that is taken for the other, in percent, and what that means.
_PAIR_VERDICTS: Final = (
    (2.0, "told apart easily"),
    (10.0, "mostly told apart"),
    (25.0, "often mixed up"),
    (101.0, "hardly told apart"),
)


def nearest(features_NF: NDArray[np.float32], units: Sequence[str], k: int = K) -> tuple[
    NDArray[np.int64], NDArray[np.float32]
]:  # fmt: skip
    """Indices and cosine distances NK of the nearest samples of other units, nearest first.

    Where fewer than k are left, the rest has index -1 and an infinite distance. Distances are
    made block by block; memory doesn't grow with N squared.
    """
    from sklearn.metrics import pairwise_distances_chunked

    total = len(features_NF)
    _, number = np.unique(np.array(units, dtype=object).astype(str), return_inverse=True)
    k = min(k, max(0, total - 1))
    indices, distances = np.full((total, k), -1), np.full((total, k), np.inf, dtype=np.float32)
    if not k:
        return indices, distances

    def reduce(block: NDArray[np.float32], start: int) -> list[int]:
        rows = np.arange(start, start + len(block))
        block[number[rows][:, None] == number[None, :]] = np.inf
        some = np.argpartition(block, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(block, some, axis=1)
        # Equal distances in the order of the samples, so that a run can be repeated.
        order = np.lexsort((some, found), axis=1)
        indices[rows] = np.take_along_axis(some, order, axis=1)
        distances[rows] = np.take_along_axis(found, order, axis=1)
        return [0] * len(block)

    for _ in pairwise_distances_chunked(
        features_NF, metric="cosine", reduce_func=reduce, working_memory=_WORKING_MEMORY_MB
    ):
        pass
    indices[~np.isfinite(distances)] = -1
    return indices, distances


def separability(
    labels: Sequence[str], indices_NK: NDArray[np.int64], distinct: NDArray[np.bool_]
) -> Neighbours | None:
    """How often the majority of its neighbours names a sample's label; None if none has any.

    Args:
        distinct: which samples have no near duplicate.
    """
    guesses = [_majority([labels[j] for j in row if j >= 0]) for row in indices_NK]
    judged = [i for i, guess in enumerate(guesses) if guess is not None]
    names = sorted({labels[i] for i in judged})
    if len(names) < 2:
        return None
    right = np.array([guesses[i] == labels[i] for i in judged])
    totals = Counter(labels[i] for i in judged)
    hits = Counter(labels[i] for i, ok in zip(judged, right, strict=True) if ok)
    by_class = {name: Recall(totals[name], 100 * hits[name] / totals[name]) for name in names}
    balanced = float(np.mean([value.recall for value in by_class.values()]))
    alone = right[distinct[judged]]
    chance = 100 / len(names)
    return Neighbours(
        k=indices_NK.shape[1],
        num_samples=len(judged),
        accuracy=float(100 * right.mean()),
        balanced_accuracy=balanced,
        chance=chance,
        accuracy_distinct=float(100 * alone.mean())
        if _MIN_DISTINCT <= len(alone) < len(right)
        else None,
        by_class=by_class,
        pairs=_pairs([(labels[i], guesses[i] or "") for i in judged], totals),
        verdict=_verdict(balanced, chance),
    )


def suspects(
    labels: Sequence[str],
    units: Sequence[str],
    features_NF: NDArray[np.float32],
    indices_NK: NDArray[np.int64],
    distances_NK: NDArray[np.float32],
) -> tuple[Suspect, ...]:
    """Samples whose neighbours all carry another label, the most suspicious first.

    Suspicious is a sample that lies much nearer to others than to its own class, and whose
    neighbours agree on what it is.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    found = []
    for i, label in enumerate(labels):
        near = [int(j) for j in indices_NK[i] if j >= 0]
        if len(near) < min(_MIN_OWN, indices_NK.shape[1]) or any(labels[j] == label for j in near):
            continue
        own = [j for j in members[label] if units[j] != units[i]]
        if len(own) < _MIN_OWN:
            continue
        suggested = _majority([labels[j] for j in near])
        assert suggested is not None
        to_own = float(1 - (features_NF[own] @ features_NF[i]).max())
        margin = to_own - float(distances_NK[i, : len(near)].mean())
        share = 100 * sum(labels[j] == suggested for j in near) / len(near)
        found.append(Suspect(i, label, suggested, share, margin, tuple(near)))
    return tuple(sorted(found, key=lambda s: (-s.margin * s.share, s.sample)))


def _majority(near: Sequence[str]) -> str | None:
    """The commonest label; of equally common ones that of the nearest."""
    counts = Counter(near)  # in the order of nearness, which `max` keeps
    return max(counts, key=lambda name: counts[name]) if counts else None


def _pairs(guessed: Sequence[tuple[str, str]], totals: Counter[str]) -> tuple[Mixed, ...]:
    wrong = Counter(pair for pair in guessed if pair[0] != pair[1])
    found = []
    for a, b in {tuple(sorted(pair)) for pair in wrong}:
        a_as_b = 100 * wrong[a, b] / totals[a] if totals[a] else 0.0
        b_as_a = 100 * wrong[b, a] / totals[b] if totals[b] else 0.0
        mixed = (a_as_b + b_as_a) / 2
        verdict = next(words for limit, words in _PAIR_VERDICTS if mixed < limit)
        found.append(Mixed(a, b, a_as_b, b_as_a, mixed, verdict))
    return tuple(sorted(found, key=lambda pair: (-pair.mixed, pair.a, pair.b))[:_NUM_PAIRS])


def _verdict(balanced: float, chance: float) -> str:
    """What the figure promises: how far it lies on the way from guessing to perfect."""
    way = (balanced - chance) / (100 - chance)
    if way >= 0.9:
        return "the classes can be told apart well"
    if way >= 0.6:
        return "most classes can be told apart; training will have to do the rest"
    if way >= 0.25:
        return "the classes are hard to tell apart for a network that has never seen such photos"
    return "a network that has never seen such photos can hardly tell the classes apart"
