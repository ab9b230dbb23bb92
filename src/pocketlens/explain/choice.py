"""Choosing a few samples of many: by class, by cluster of features, or to cover them all.

Each choice is a function of its arguments and the seed. `by_clusters` needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heappop, heapreplace
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=Hashable)

Choice = Literal["random", "clusters", "k-centre"]

#: More clusters than this cost time and hold a photo or two each.
_MAX_CLUSTERS: Final = 64


def class_balanced(labels: Sequence[tuple[str, ...]], num: int, seed: int) -> list[int]:
    """Indices of `num` samples, as many of each class as there are, in a seeded order.

    Greedy: the next sample is always one of the class that the chosen ones have least. Samples
    without a label are a class of their own. Time grows with the number of labels.

    Args:
        labels: those of each sample.
    """
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    waiting: dict[str, list[int]] = {}
    for i in order:
        for label in labels[i] or ("",):
            waiting.setdefault(label, []).append(i)
    count = dict.fromkeys(waiting, 0)
    # A class's entry is put back when it comes up with a count that has grown meanwhile.
    heap = [(0, label) for label in sorted(waiting)]
    chosen: dict[int, None] = {}
    while heap and len(chosen) < num:
        seen, label = heap[0]
        queue = waiting[label]
        while queue and queue[-1] in chosen:
            queue.pop()
        if not queue:
            heappop(heap)
        elif seen < count[label]:
            heapreplace(heap, (count[label], label))
        else:
            chosen[queue[-1]] = None
            for name in labels[queue.pop()] or ("",):
                count[name] += 1
    return list(chosen)


def by_clusters(features_NF: NDArray[np.float32], num: int, seed: int) -> list[int]:
    """Indices of `num` samples, as many from each cluster of features, in a seeded order.

    Of each cluster samples are drawn at random, not the nearest to its centre: ranges of
    activations are made by what is unusual, too.
    """
    from sklearn.cluster import KMeans

    if len(features_NF) <= num:
        return list(range(len(features_NF)))
    k = min(_MAX_CLUSTERS, max(2, num // 4))
    clusters = KMeans(k, n_init=1, random_state=seed).fit_predict(features_NF).tolist()
    rng = np.random.default_rng(seed)
    return _in_turns(clusters, [int(i) for i in rng.permutation(len(clusters))], num)


def k_centre(features_NF: NDArray[np.float32], num: int, seed: int) -> list[int]:
    """Indices of `num` samples so that none is far from a chosen one.

    Greedy: from a random first, always the sample farthest from all chosen ones, which is at
    most twice as bad as the best choice (Gonzalez 1985). Outliers come first, by design.
    """
    total = len(features_NF)
    if not total or num < 1:
        return []
    chosen = [int(np.random.default_rng(seed).integers(total))]
    squares = np.einsum("nf,nf->n", features_NF, features_NF)
    nearest = np.full(total, np.inf)
    while len(chosen) < min(num, total):
        last = chosen[-1]
        distances = squares + squares[last] - 2 * (features_NF @ features_NF[last])
        nearest = np.minimum(nearest, distances)
        nearest[last] = -np.inf
        chosen.append(int(nearest.argmax()))
    return chosen


def _in_turns(keys: Sequence[T], order: Sequence[int], num: int) -> list[int]:
    """One of each key in turns, the keys sorted, those of one key in the reverse of `order`."""
    by_key: dict[T, list[int]] = {}
    for i in order:
        by_key.setdefault(keys[i], []).append(i)
    chosen: list[int] = []
    queues = [by_key[key] for key in sorted(by_key)]  # type: ignore[type-var]
    while len(chosen) < num and any(queues):
        for queue in queues:
            if queue and len(chosen) < num:
                chosen.append(queue.pop())
    return chosen
