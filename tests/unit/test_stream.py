"""Running ahead: in order, bounded, and over when something fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pocketlens.core.stream import batched, run_ahead


def test_order_is_kept_though_work_ends_in_another() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number

    assert list(run_ahead(work, range(40), workers=4, depth=6)) == [n * n for n in range(40)]


def test_at_most_depth_wait() -> None:
    taken = 0
    started = threading.Semaphore(0)

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    stream = run_ahead(lambda n: started.release() or n, items(), workers=2, depth=5)
    assert taken == 0
    for seen in range(20):
        assert next(stream) == seen
        assert taken <= seen + 1 + 5


def test_an_error_of_the_work_comes_at_its_place() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    seen = []
    with pytest.raises(ValueError, match="three"):
        for number in run_ahead(work, range(100), workers=2, depth=4):
            seen.append(number)  # noqa: PERF402
    assert seen == [0, 1, 2]


def test_an_error_of_the_source_comes_through() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(run_ahead(str, items(), workers=2, depth=4))


def test_threads_end_with_the_stream() -> None:
    before = threading.active_count()
    stream = run_ahead(str, range(1000), workers=3, depth=8)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_nothing() -> None:
    assert list(run_ahead(str, [], workers=2, depth=4)) == []
    assert list(run_ahead(str, [1], workers=2, depth=1)) == ["1"]


def test_batched() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []
