"""Features on a plane and in clusters, found without the labels and then held against them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.exploration import Clusters

Matrix = NDArray[np.float32]

#: Main directions that KMeans sees: more add noise and time, hardly any distance.
_NUM_DIRECTIONS: Final = 50
_MIN_K, _MAX_K, _LIMIT_K = 2, 10, 24
#: Samples that a silhouette is taken over; it needs all distances between them.
_SILHOUETTE_SAMPLES: Final = 2_000
#: Fewer samples a cluster than this are no clusters.
_MIN_PER_CLUSTER: Final = 3


@dataclass(frozen=True)
class Plane:
    """Places of N samples on their two main directions, and the variance along each in percent."""

    places_N2: Matrix
    explained: tuple[float, float]


def reduce(features_NF: Matrix, seed: int) -> tuple[Matrix, Plane]:
    """The main directions of features: many for clusters, the first two for the eye."""
    from sklearn.decomposition import PCA

    num = min(_NUM_DIRECTIONS, *features_NF.shape)
    pca = PCA(num, svd_solver="randomized" if num > 2 else "full", random_state=seed)
    with np.errstate(invalid="ignore", divide="ignore"):  # all alike: no variance to share
        directions_ND = pca.fit_transform(features_NF).astype(np.float32)
    shares = [float(100 * share) for share in np.nan_to_num(pca.explained_variance_ratio_)]
    places = directions_ND[:, :2]
    if places.shape[1] < 2:
        places, shares = np.pad(places, ((0, 0), (0, 1))), [*shares, 0.0]
    return directions_ND, Plane(places, (shares[0], shares[1]))


def cluster(
    directions_ND: Matrix, labels: Sequence[str] | None, seed: int
) -> tuple[Clusters, NDArray[np.int64]] | None:
    """KMeans with the number of clusters of the best silhouette; None for too few samples.

    Args:
        labels: one a sample, or None where a sample can have several.

    Returns:
        The clusters, the largest first, and the cluster of each sample.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    total = len(directions_ND)
    different = len(np.unique(directions_ND, axis=0))
    # As many as there are classes, and a few more, must be among the choices.
    classes = 0 if labels is None else min(len(set(labels)) + 4, _LIMIT_K)
    most = min(max(_MAX_K, classes), total // _MIN_PER_CLUSTER, different - 1)
    best: tuple[float, NDArray[np.int64], NDArray[np.float32]] | None = None
    silhouettes: dict[int, float] = {}
    for k in range(_MIN_K, most + 1):
        fitted = KMeans(k, n_init=4, random_state=seed).fit(directions_ND)
        if len(set(fitted.labels_.tolist())) < k:
            continue
        some = _SILHOUETTE_SAMPLES if total > _SILHOUETTE_SAMPLES else None
        score = silhouette_score(directions_ND, fitted.labels_, sample_size=some, random_state=seed)
        silhouettes[k] = float(score)
        if best is None or score > best[0]:
            best = (float(score), fitted.labels_.astype(np.int64), fitted.cluster_centers_)
    if best is None:
        return None
    silhouette, found, centres = best
    sizes = np.bincount(found)
    order = np.argsort(-sizes, kind="stable")
    renamed = np.argsort(order)[found]
    medoids = []
    for old in order:
        members = np.flatnonzero(found == old)
        distances = np.linalg.norm(directions_ND[members] - centres[old], axis=1)
        medoids.append(int(members[distances.argmin()]))
    rand = None if labels is None else float(adjusted_rand_score(list(labels), found))
    return (
        Clusters(
            k=len(order),
            silhouette=silhouette,
            silhouettes=silhouettes,
            adjusted_rand_index=rand,
            medoids=tuple(medoids),
            composition=_composition(renamed, labels, len(order)),
        ),
        renamed,
    )


def _composition(
    clusters: NDArray[np.int64], labels: Sequence[str] | None, k: int
) -> tuple[dict[str, int], ...]:
    """Labels in each cluster, the commonest first; without labels the sizes alone."""
    keys = ["samples"] * len(clusters) if labels is None else labels
    counts: list[Counter[str]] = [Counter() for _ in range(k)]
    for number, label in zip(clusters.tolist(), keys, strict=True):
        counts[number][label] += 1
    return tuple(dict(sorted(c.items(), key=lambda item: (-item[1], item[0]))) for c in counts)
