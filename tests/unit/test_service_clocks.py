"""Nothing is deleted early, whatever the clock does (FAULTS 43)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pocketlens.service import clocks
from pocketlens.service.clocks import DAY
from support.databases import KINDS
from support.house import House, opened_house

_YEAR = 365 * DAY


@pytest.fixture(params=KINDS)
def house(request: Any, tmp_path: Path, encode: Callable[..., bytes]) -> Iterator[House]:
    with opened_house(request.param, tmp_path, encode) as made:
        yield made


@pytest.mark.parametrize("jump", [_YEAR, 2 * 3600.0, 30 * _YEAR])
def test_a_clock_that_jumps_forward(house: House, jump: float) -> None:
    """FAULTS 43: nothing early; the clock is mended within the day."""
    house.upload(1)
    answer = house.answer()
    due = 5 * DAY
    house.wait(due - 3600, keep_days=5)
    house.now += jump  # while the process runs
    done = house.wait(20 * 3600, keep_days=5)
    assert (done.trusted, done.photos, done.answers) == (False, 0, 0)
    house.now -= jump
    assert not house.tend(keep_days=5).trusted
    assert house.samples() == 1
    assert answer in house.ids()
    done = house.wait(2 * DAY, keep_days=5)  # then it goes on as ever
    assert (done.photos, done.answers) == (1, 1)


def test_a_clock_that_jumps_while_nothing_runs(house: House) -> None:
    house.upload(1)
    house.restart()
    house.now += _YEAR
    house.monotonic = 5.0
    assert not house.tend(keep_days=5).trusted
    house.now -= _YEAR
    assert not house.tend(keep_days=5).trusted
    house.restart()
    house.now += 0.9 * DAY  # a night
    assert not house.tend(keep_days=5).trusted
    assert house.wait(0.2 * DAY, keep_days=5).trusted
    house.restart()
    house.now += 0.9 * DAY
    assert house.tend(keep_days=5).trusted
    assert house.samples() == 1


def test_a_clock_that_jumps_back(house: House) -> None:
    """What is written while it is behind isn't old when it is set right."""
    early = house.upload(1)
    house.now -= 10 * _YEAR
    house.restart()
    assert not house.tend(keep_days=5).trusted
    house.wait(3 * DAY, keep_days=5)
    behind = house.upload(2)
    answer = house.answer()
    house.wait(DAY, keep_days=5)
    house.now += 10 * _YEAR
    done = house.wait(3 * DAY, keep_days=5)
    assert (done.trusted, done.photos) == (True, 1)  # the early one is seven days old
    assert {name.rsplit("/", 1)[1] for name in house.files()} == {behind}
    assert early != behind
    assert answer in house.ids()
    done = house.wait(3 * DAY, keep_days=5)
    assert (done.photos, done.answers) == (1, 1)


def test_a_clock_that_nobody_sets() -> None:
    assert 0 <= clocks.uptime() <= clocks.uptime()
