"""How far two maps of one photo lie apart, and how much of a map lies within a part of it.

Correlation and the overlap of the strongest parts are two of the measures of Bylinskii et al.
(2019), "What do different evaluation metrics tell us about saliency models?"; the first is also
what Adebayo et al. (2018), "Sanity Checks for Saliency Maps", use (there of ranks).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketlens.explain.heat import strong

Edges = tuple[float, float, float, float]
_GRID = 128


def aligned(
    a_HW: NDArray[np.float32], b_HW: NDArray[np.float32], a_edges: Edges, b_edges: Edges
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Two maps of one photo on one grid, over what both networks see; None if that is nothing.

    Args:
        a_edges, b_edges: left, top, right, bottom of each map, as shares of the photo's sides.
    """
    left, top = (max(a_edges[i], b_edges[i]) for i in (0, 1))
    right, bottom = (min(a_edges[i], b_edges[i]) for i in (2, 3))
    if left >= right or top >= bottom:
        return None
    first, second = (
        _cut(map_HW, edges, (left, top, right, bottom))
        for map_HW, edges in ((a_HW, a_edges), (b_HW, b_edges))
    )
    return first, second


def _cut(map_HW: NDArray[np.float32], edges: Edges, part: Edges) -> NDArray[np.float32]:
    high, wide = map_HW.shape
    x, y = wide / (edges[2] - edges[0]), high / (edges[3] - edges[1])
    box = (
        (part[0] - edges[0]) * x, (part[1] - edges[1]) * y,
        (part[2] - edges[0]) * x, (part[3] - edges[1]) * y,
    )  # fmt: skip
    image = Image.fromarray(map_HW).resize((_GRID, _GRID), Image.Resampling.BILINEAR, box)
    return np.asarray(image)


def correlation(a_HW: NDArray[np.float32], b_HW: NDArray[np.float32]) -> float | None:
    """Pearson's correlation, -1 to 1; None where a map is flat."""
    a, b = (m.astype(np.float64).ravel() - float(m.mean()) for m in (a_HW, b_HW))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return None if norm < 1e-12 else float(a @ b / norm)


def overlap(a_HW: NDArray[np.float32], b_HW: NDArray[np.float32]) -> float | None:
    """Intersection over union of the strongest fifths (Jaccard's index); None where one is flat.

    Of two that have nothing to do with each other, 0.11 is to be expected.
    """
    a, b = strong(a_HW), strong(b_HW)
    if not a.any() or not b.any():
        return None
    return float((a & b).sum() / (a | b).sum())


def share_within(map_HW: NDArray[np.float32], part_HW: NDArray[np.bool_]) -> float | None:
    """Share of a map's sum that lies within a part, 0 to 1; None where the map is 0."""
    total = float(map_HW.sum(dtype=np.float64))
    return None if total <= 0 else float(map_HW[part_HW].sum(dtype=np.float64)) / total


def quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Lower quartile, median and upper quartile; None of nothing."""
    if not values:
        return None
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(low), float(middle), float(high)
