"""Run ahead of a consumer, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run_ahead(
    work: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int
) -> Generator[R, None, None]:
    """Yield `work(item)` in order while up to `depth` later items are worked on by threads.

    Decoding and resizing release Python's lock, so threads suffice. Who leaves before the end
    closes it (`contextlib.closing`): Ctrl-C while it is merely forgotten would be lost.
    """
    assert depth >= 1
    source = iter(items)
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode") as pool:
        try:
            for item in islice(source, depth):
                pending.append(pool.submit(work, item))
            while pending:
                result = pending.popleft().result()
                for item in islice(source, 1):
                    pending.append(pool.submit(work, item))
                yield result
        finally:
            for future in pending:
                future.cancel()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items."""
    assert size >= 1
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
