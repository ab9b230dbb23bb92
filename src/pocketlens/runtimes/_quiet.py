"""Libraries that tell the terminal of themselves: kept from the user, and asked what went wrong."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Final

#: A line of ExecuTorch's own log: where in its source, and what.
_NATIVE: Final = re.compile(r"^\[[\w.]+:\d+\] (.+)$")


class _Descriptor(io.TextIOBase):
    """Writes to the process's stderr, wherever that goes just then: a logger may keep it."""

    def write(self, text: str) -> int:
        os.write(2, text.encode(errors="replace"))
        return len(text)


@contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Keep what ExecuTorch, its backends and LiteRT say of themselves from the user.

    They write to Python's stderr and stdout, and to the process's stderr. All go to a file for the
    time being, also of other threads. Gives a function that tells the last line of ExecuTorch's
    log: its errors in Python are mere numbers.
    """
    root, disabled = logging.getLogger(), logging.root.manager.disable
    level, handlers = root.level, root.handlers[:]
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:

        def last_line() -> str:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()
            told = [found[1] for line in lines if (found := _NATIVE.match(line))]
            return told[-1][:200] if told else ""

        try:
            os.dup2(log.fileno(), 2)
            logging.disable(logging.ERROR)
            told = _Descriptor()
            with warnings.catch_warnings(), redirect_stderr(told), redirect_stdout(told):
                warnings.simplefilter("ignore")
                yield last_line
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            logging.disable(disabled)
            # Some backends set up logging for the whole process when they are imported.
            root.setLevel(level)
            root.handlers[:] = handlers


def first_line(error: Exception) -> str:
    """Of what a library says of an error, as much as fits into ours."""
    return (str(error).strip() or "no reason given").splitlines()[0][:200]
