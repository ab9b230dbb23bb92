"""How many threads prepare photos is what the first steps say, and is kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from pocketlens.training.workers import Workers


def choose(seconds: Mapping[int, float]) -> int:
    """Steps that take as long as the present number of threads says."""
    workers = Workers(cores=4)
    steps = 0
    while workers.chosen is None:
        workers.step_took(seconds[workers._limit])
        steps += 1
        assert steps < 100
    assert workers._limit == workers.chosen
    workers.step_took(0.0)
    return workers.chosen


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({2: 1.0, 4: 1.0, 8: 1.0}, 4),
        ({2: 0.97, 4: 1.0, 8: 0.98}, 4),
        ({2: 0.5, 4: 1.0, 8: 2.0}, 2),
        ({2: 0.9, 4: 1.0, 8: 0.6}, 8),
    ],
)
def test_the_fastest_is_kept(seconds: Mapping[int, float], expected: int) -> None:
    assert choose(seconds) == expected


def test_who_waits_goes_on_when_more_may_work() -> None:
    workers = Workers(1)  # 2 are tried after one turn
    inside, leave = threading.Semaphore(0), threading.Event()

    def work() -> None:
        with workers:
            inside.release()
            leave.wait(10)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=5)
    assert not inside.acquire(timeout=0.1)
    for _ in range(6):
        workers.step_took(1.0)
    assert inside.acquire(timeout=5)
    leave.set()
    for thread in threads:
        thread.join()


def test_no_more_work_at_once_than_allowed() -> None:
    workers, inside, most = Workers(1, chosen=3), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(20):
            with workers:
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[0] <= 3


def test_one_core() -> None:
    workers = Workers(1)
    assert workers.most == 2
