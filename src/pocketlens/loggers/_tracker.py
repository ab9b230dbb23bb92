"""What all trackers give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tracker:
    """A run that is being tracked.

    Attributes:
        run_id: by which a later process goes on with the same run.
        log: an epoch's figures; `epoch` among them counts from 1.
        close: whether the run came to its end.
    """

    run_id: str
    log: Callable[[Mapping[str, float]], None]
    close: Callable[[bool], None]
