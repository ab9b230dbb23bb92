"""Libraries that tell the terminal of themselves: kept from the user, and asked what went wrong."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Final

#: A line of ExecuTorch's own log: where in its source, and what.
_NATIVE: Final = re.compile(r"^\[[\w.]+:\d+\] (.+)$")


#: What is redirected is the process's: the first that is quiet does it, the last undoes it.
_LOCK: Final = threading.Lock()
_depth, _log = 0, -1
_opened = ExitStack()


class _Descriptor(io.TextIOBase):
    """Writes to the process's stderr, wherever that goes just then: a logger may keep it."""

    def write(self, text: str) -> int:
        os.write(2, text.encode(errors="replace"))
        return len(text)


@contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Keep what ExecuTorch, its backends and LiteRT say of themselves from the user.

    They write to Python's stderr and stdout, and to the process's stderr. All go to a file for the
    time being, also of other threads; where several threads are quiet at once, until the last is
    done. Gives a function that tells the last line of ExecuTorch's log: its errors in Python are
    mere numbers.
    """
    global _depth, _log, _opened
    with _LOCK:
        if not _depth:
            _opened = ExitStack()
            _log = _opened.enter_context(_redirected())
        _depth += 1
        log = _log

    def last_line() -> str:
        # Without moving the place where the process goes on to write.
        size = os.fstat(log).st_size
        lines = os.pread(log, size, 0).decode(errors="replace").splitlines()
        told = [found[1] for line in lines if (found := _NATIVE.match(line))]
        return told[-1][:200] if told else ""

    try:
        yield last_line
    finally:
        with _LOCK:
            _depth -= 1
            if not _depth:
                _opened.close()


@contextmanager
def _redirected() -> Iterator[int]:
    """Everything into a file, whose descriptor is given."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    level, handlers = root.level, root.handlers[:]
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        try:
            os.dup2(log.fileno(), 2)
            logging.disable(logging.ERROR)
            told = _Descriptor()
            with warnings.catch_warnings(), redirect_stderr(told), redirect_stdout(told):
                warnings.simplefilter("ignore")
                yield log.fileno()
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
