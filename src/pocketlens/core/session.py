"""The seam to every runtime: one small call, with a fake for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Session(Protocol):
    """An opened network: `input_NCHW` float32 -> `logits_NK` float32."""

    def __call__(self, input_NCHW: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Run the network on a batch."""
        ...


@dataclass(frozen=True)
class SessionOptions:
    """How a runtime is opened. `threads` None: as many as this process may use cores."""

    threads: int | None = None


@dataclass
class FakeSession:
    """A session for tests: answers by a function and remembers the shapes it was given."""

    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def __post_init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, input_NCHW: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Answer for a batch."""
        self.shapes.append(input_NCHW.shape)
        return self.answer(input_NCHW)
