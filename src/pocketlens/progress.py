"""Progress and notices on stderr, so that stdout stays parseable."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol, TypeVar

T = TypeVar("T")

#: Seconds between two lines where nobody watches a bar: in a log, or through a pipe.
LINE_EVERY_S: Final = 30.0

_is_hidden: ContextVar[bool] = ContextVar("is_hidden", default=False)


class Advance(Protocol):
    """Called with the number of finished steps and, optionally, a new description."""

    def __call__(self, steps: int = 1, text: str | None = None) -> None:
        """Move the bar on."""
        ...


@contextmanager
def bar(text: str, total: int | None) -> Iterator[Advance]:
    """A progress bar with the time left; on a stderr that is no terminal, a line now and then."""
    if not is_terminal():
        yield _lines(text, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, force_jupyter=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as p:
        task = p.add_task(text, total=total)

        def advance(steps: int = 1, text: str | None = None) -> None:
            p.update(task, advance=steps, description=text)

        yield advance


def _lines(text: str, total: int | None) -> Advance:
    """Says how far it is every `LINE_EVERY_S` seconds, so that a log shows that it goes on."""
    began = last = time.monotonic()
    done, label = 0, text

    def advance(steps: int = 1, text: str | None = None) -> None:
        nonlocal last, done, label
        done, label = done + steps, text or label
        now = time.monotonic()
        if _is_hidden.get() or now - last < LINE_EVERY_S or done == total:
            return
        last = now
        of = "" if total is None else f" of {total:,}"
        say(f"{label}: {done:,}{of}, {now - began:.0f} s so far")

    return advance


def track(items: Iterable[T], text: str, total: int | None = None) -> Iterator[T]:
    """Pass items on with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(text, total) as advance:
        for item in items:
            yield item
            advance()


def say(text: str) -> None:
    """A line for the user, on stderr."""
    from rich.console import Console

    console = Console(
        stderr=True, highlight=False, markup=False, soft_wrap=True, force_jupyter=False
    )
    console.print(text)


def warn(text: str) -> None:
    """A warning for the user: something is used differently from what might be expected."""
    say(f"warning: {text}")


@contextmanager
def hidden() -> Iterator[None]:
    """No bars from this thread: a terminal has room for one, and a service does many things."""
    token = _is_hidden.set(True)
    try:
        yield
    finally:
        _is_hidden.reset(token)


def is_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty() and not _is_hidden.get()
