"""Any number of photos for a file that takes just so many at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.session import Session


def check_batch(batch: int | None) -> None:
    """Refuse a number of photos that is none.

    Raises:
        UserError: it is below 1.
    """
    if batch is not None and batch < 1:
        raise UserError(f"--batch must be at least 1, not {batch}")


def in_fixed_batches(run: Session, size: int) -> Session:
    """A session that fills the last batch up with zeros, whose answers are dropped."""

    def run_all(inputs: NDArray[Any]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(inputs), size):
            part = inputs[start : start + size]
            if len(part) == size:
                parts.append(run(part))
                continue
            padding = [(0, size - len(part))] + [(0, 0)] * (inputs.ndim - 1)
            parts.append(run(np.pad(part, padding))[: len(part)])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return run_all
