"""Progress and notices on stderr, so that stdout stays parseable."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")

_is_hidden: ContextVar[bool] = ContextVar("is_hidden", default=False)


class Advance(Protocol):
    """Called with the number of finished steps and, optionally, a new description."""

    def __call__(self, steps: int = 1, text: str | None = None) -> None:
        """Move the bar on."""
        ...


@contextmanager
def bar(text: str, total: int | None) -> Iterator[Advance]:
    """A progress bar with the time left; on a stderr that is no terminal, nothing moves."""
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
    with Progress(*columns, console=console, transient=True, disable=not is_terminal()) as p:
        task = p.add_task(text, total=total)

        def advance(steps: int = 1, text: str | None = None) -> None:
            p.update(task, advance=steps, description=text)

        yield advance


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
