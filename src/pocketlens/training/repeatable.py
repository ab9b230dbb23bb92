"""Results that are the same to the last bit, each time on the same machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads for torch, for the time of the block; it knows one number a process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def repeatable(*, on: bool) -> Iterator[None]:
    """With `on`, operations that add in no fixed order are not used, or refused by torch.

    On processors training is repeatable anyway, with the same number of threads. On graphics cards
    it costs speed.
    """
    if not on:
        yield
        return
    import torch

    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    strict, tuned = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.backends.cudnn.benchmark = tuned
