"""Kinds of jobs: the folder is the registry.

Each file has `run(job, context) -> result` (JSON), and may name its `LANE`. They are imported when
a job of theirs is put into the queue, so what is heavy they import inside `run`.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final

#: Queues that don't wait for each other: what takes milliseconds, seconds, hours.
LANES: Final = ("quick", "slow", "long")
#: A job of the lane that takes longer hangs, and has failed; trainings may take what they need.
LIMIT_SECONDS: Final = {"quick": 600.0, "slow": 7_200.0}


@cache
def names() -> tuple[str, ...]:
    """All kinds."""
    found = (info.name for info in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


@cache
def load(kind: str) -> ModuleType:
    """A kind's module.

    Raises:
        LookupError: there is no such kind.
    """
    if kind not in names():
        raise LookupError(f"there is no job of kind {kind!r}")
    return import_module(f"{__name__}.{kind}")


def lane(kind: str) -> str:
    """The lane of a kind's jobs: its module's `LANE`, else `quick`."""
    found: str = getattr(load(kind), "LANE", "quick")
    assert found in LANES, found
    return found
