"""Memory that stays with the process between steps, instead of being asked for and cleared anew.

Each layer's activations are blocks of megabytes. The C library returns such blocks to the system
at once, so each step's are new pages, which the system clears and maps one by one; on processors
that takes up to half of a step.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: glibc's malloc.h: what to change, to what for training, and what it is by default.
_SETTINGS: Final = (
    (-4, 0, 65536),  # M_MMAP_MAX: no block is mapped on its own
    (-1, 2**31 - 1, 128 * 2**10),  # M_TRIM_THRESHOLD: nothing is given back
    (-2, 64 * 2**20, 128 * 2**10),  # M_TOP_PAD: what is asked for at once
)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for the time of the block; only glibc (most Linux systems) can be told.

    Results are the same; the process holds its highest need until the block ends.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    for setting, value, _ in _SETTINGS:
        libc.mallopt(setting, value)
    try:
        yield
    finally:
        for setting, _, usual in _SETTINGS:
            libc.mallopt(setting, usual)
        libc.malloc_trim(0)
