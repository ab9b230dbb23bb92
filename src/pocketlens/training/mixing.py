"""Mixup and cutmix: pairs of photos of a batch become one, with a share of each one's label."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        input_NCHW: float32.
        truth: class indices N, or a 0/1 matrix NK.
        partner: truth of what was mixed in; None where nothing was.
        share: of `truth` in the loss; the rest is `partner`'s.
        rows, partner_rows: positions N of the samples, and of what was mixed in.
    """

    input_NCHW: NDArray[np.float32]
    truth: NDArray[Any]
    partner: NDArray[Any] | None = None
    share: float = 1.0
    rows: NDArray[np.int64] | None = None
    partner_rows: NDArray[np.int64] | None = None


def mix(batch: Batch, *, mixup: float, cutmix: float, rng: np.random.Generator) -> Batch:
    """Mix each photo with another of the batch; where both are asked for, one of them by chance.

    Zhang et al. (2018), "mixup"; Yun et al. (2019), "CutMix". The loss is linear in the label, so
    the loss of a mixed label is the mix of both losses.

    Args:
        mixup, cutmix: the parameter of Beta(a, a); 0 for none.
    """
    if not mixup and not cutmix:
        return batch
    blend = bool(mixup) and (not cutmix or bool(rng.integers(2)))
    share = float(rng.beta(mixup, mixup) if blend else rng.beta(cutmix, cutmix))
    order = rng.permutation(len(batch.truth))
    other_NCHW = batch.input_NCHW[order]
    if blend:
        mixed = batch.input_NCHW * np.float32(share) + other_NCHW * np.float32(1 - share)
    else:
        rows, columns = _piece(batch.input_NCHW.shape[2:], 1 - share, rng)
        mixed = batch.input_NCHW.copy()
        mixed[:, :, rows, columns] = other_NCHW[:, :, rows, columns]
        height, width = batch.input_NCHW.shape[2:]
        # The piece may reach beyond the edge, so its true share counts.
        inside = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - inside / (height * width)
    partner_rows = None if batch.rows is None else batch.rows[order]
    return Batch(mixed, batch.truth, batch.truth[order], share, batch.rows, partner_rows)


def _piece(size: tuple[int, ...], area: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A rectangle of this share of the area and the photo's shape, cut off at the edges."""
    found = []
    for length in size:
        side = round(length * area**0.5)
        start = int(rng.integers(length)) - side // 2
        found.append(slice(max(0, start), max(0, min(length, start + side))))
    return found[0], found[1]
