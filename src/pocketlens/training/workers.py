"""How many threads prepare photos: found out while steps go on, so that it costs nothing.

Too few let the network wait; too many take the processor from it. Which is which depends on the
photos, the network and the machine, so each number gets some real steps.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from pocketlens.progress import say

#: Steps of a turn; the first of them still use what was prepared in the turn before.
_TURN: Final = 6
_SKIPPED: Final = 3
_ROUNDS: Final = 2
#: Another number than that of the cores must be this many times as fast, or noise would choose.
_WORTH: Final = 1.05


class Workers:
    """Lets so many threads work at once: `with workers: ...` in each of them.

    Attributes:
        chosen: the number, once it is known.
        most: the highest that is tried.
    """

    def __init__(self, cores: int, *, chosen: int | None = None) -> None:
        self.chosen = chosen
        self._candidates = [cores, *(n for n in (max(1, cores // 2), 2 * cores) if n != cores)]
        self.most = max(self._candidates) if chosen is None else chosen
        self._limit = cores if chosen is None else chosen
        self._busy = 0
        self._free = threading.Condition()
        self._times: dict[int, list[float]] = {n: [] for n in self._candidates}
        self._step = 0

    def __enter__(self) -> None:
        with self._free:
            self._free.wait_for(lambda: self._busy < self._limit)
            self._busy += 1

    def __exit__(self, *_: object) -> None:
        with self._free:
            self._busy -= 1
            self._free.notify()

    def step_took(self, seconds: float) -> None:
        """Count a step, and let the next number have its turn when this one's is over."""
        if self.chosen is not None:
            return
        turn, within = divmod(self._step, _TURN)
        if within >= _SKIPPED:
            self._times[self._candidates[turn % len(self._candidates)]].append(seconds)
        self._step += 1
        turn = self._step // _TURN
        if turn == _ROUNDS * len(self._candidates):
            self.chosen = self._fastest()
            say(f"photos are prepared by {self.chosen} threads")
        self._set(self.chosen or self._candidates[turn % len(self._candidates)])

    def _fastest(self) -> int:
        cores, *others = self._candidates
        medians = {n: float(np.median(times)) for n, times in self._times.items()}
        best = cores
        for n in others:
            if medians[n] * _WORTH < medians[cores] and medians[n] < medians[best]:
                best = n
        return best

    def _set(self, limit: int) -> None:
        with self._free:
            self._limit = limit
            self._free.notify_all()
