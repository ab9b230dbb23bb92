"""Old models and comparisons go; never one that is still needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from pocketlens.service import clocks, retiring, tables
from pocketlens.service.clocks import DAY
from pocketlens.service.retiring import MOST_MODELS
from support.databases import KINDS
from support.gallery import TABLE, Gallery
from support.house import opened_house

_YEAR = 365 * DAY


@pytest.fixture(params=KINDS)
def gallery(request: Any, tmp_path: Path, encode: Callable[..., bytes]) -> Iterator[Gallery]:
    with opened_house(request.param, tmp_path, encode) as house:
        yield Gallery(house, tmp_path / "bundles")


@pytest.fixture
def first(gallery: Gallery) -> str:
    """The bundle that `serve` was given."""
    return gallery.give(gallery.bundle("first"))


def test_what_nobody_promoted_goes_when_it_is_old(gallery: Gallery, first: str) -> None:
    offered, rejected = gallery.train(), gallery.train("rejected")
    gallery.house.wait(29 * DAY)
    stale, new = gallery.train(parent="f" * 32), gallery.train(owner="bob")
    assert gallery.retired() == set()
    done = gallery.house.wait(DAY + 1)
    assert (done.models, done.comparisons) == (1, 2)
    assert gallery.retired() == {offered, rejected}
    assert gallery.here() == gallery.packed() == {first, stale, new}
    assert gallery.tables() == {stale, new}
    assert gallery.house.lines() == [
        ("ann", "comparisons", "age", 2),
        ("ann", "models", "age", 1),  # of a rejected one there were no files
    ]
    assert gallery.house.tend().models == 0
    done = gallery.house.wait(2 * DAY, keep_days=1)
    assert (done.models, done.comparisons) == (2, 2)
    assert gallery.here() == {first}


def test_the_account_counts_the_bytes(gallery: Gallery, first: str) -> None:
    gallery.train()
    database = gallery.house.database
    with database.begin() as connection:
        num, size = retiring.usable(connection, "ann")
        assert retiring.usable(connection, "bob") == (0, 0)
    folder = gallery.house.settings.home / "models" / gallery.made[0]
    assert num == 1
    assert 0 < size <= sum(file.stat().st_size for file in folder.iterdir())
    gallery.house.wait(31 * DAY)
    lines = select(tables.deletions.c.what, tables.deletions.c.size_bytes)
    with database.begin() as connection:
        found = {row.what: row.size_bytes for row in connection.execute(lines)}
        assert retiring.usable(connection, "ann") == (0, 0)
    assert found == {"models": size, "comparisons": len(json.dumps(TABLE, separators=(",", ":")))}


def test_what_answers_or_may_come_back_stays(gallery: Gallery, first: str) -> None:
    """However old: the current one, the one it replaced, and the one that `serve` was given."""
    one, two = gallery.change(), gallery.change()
    other = gallery.change()
    gallery.house.wait(31 * DAY)
    assert gallery.retired() == {one}
    gallery.promote(two)  # back
    gallery.house.wait(31 * DAY)
    assert gallery.retired() == {one}, "the one that was rolled back from is the way back"
    gallery.promote(first)
    gallery.house.wait(31 * DAY)
    assert gallery.retired() == {one, other}
    assert gallery.here() == {first, two}


def test_the_age_of_what_answered_begins_with_its_end(gallery: Gallery, first: str) -> None:
    one = gallery.change()
    gallery.house.wait(31 * DAY)
    gallery.change()
    gallery.house.wait(20 * DAY)
    gallery.change()
    gallery.house.wait(9 * DAY)
    assert gallery.retired() == set()
    gallery.house.wait(DAY + 1)
    assert gallery.retired() == {one}, "thirty days after it was replaced"


def test_another_bundle_for_serve(gallery: Gallery, first: str) -> None:
    """The one before goes with its comparison; given again, both are back."""
    with gallery.house.database.begin() as connection:
        table = {"id": "e" * 32, "owner": "(serve)", "name": "x", "created_at": gallery.house.now}
        connection.execute(insert(tables.comparisons).values(**table, table=TABLE))
        connection.execute(update(tables.models).values(comparison_id="e" * 32))
    gallery.house.wait(60)
    second = gallery.give(gallery.bundle("second"))
    gallery.house.wait(31 * DAY)
    assert gallery.retired() == set(), "the one before is the way back"
    gallery.change()
    done = gallery.house.wait(31 * DAY)
    assert (done.models, done.comparisons) == (1, 1)
    assert gallery.retired() == {first}
    gallery.change()
    gallery.house.wait(2 * DAY)
    assert gallery.states()[second] == "given", "a restart with it changes nothing"
    assert gallery.give(gallery.place / "first") == first == gallery.current
    assert gallery.states()[first] == "given"
    assert first in gallery.here() & gallery.packed()
    gallery.house.wait(2 * DAY)
    assert gallery.states()[first] == "given"
    with gallery.house.database.begin() as connection:
        [since] = connection.scalars(
            select(tables.models.c.retired_at).where(tables.models.c.id == first)
        )
    assert since is None


@pytest.mark.parametrize("states", [("Running",), ("Pending", "Done", "Failed")])
def test_what_a_training_compares_with_stays(
    gallery: Gallery, first: str, states: tuple[str, ...]
) -> None:
    """One that waits will look which is current then, and one that has ended is over."""
    before = gallery.change()
    gallery.house.wait(2 * DAY)
    compared = gallery.change()
    gallery.house.wait(2 * DAY)
    for state in states:
        gallery.job(state)
    gallery.house.now += 60
    gallery.change()
    gallery.house.now += 60
    gallery.change()
    gallery.house.wait(31 * DAY)
    assert gallery.retired() == {before} | (set() if "Running" in states else {compared})


def test_a_training_whose_clock_is_ahead(gallery: Gallery, first: str) -> None:
    compared = gallery.change()
    job = gallery.job("Running")
    with gallery.house.database.begin() as connection:
        mine = update(tables.jobs).where(tables.jobs.c.id == job)
        connection.execute(mine.values(started_at=gallery.house.now + 100 * DAY))
    gallery.change()
    gallery.change()
    gallery.house.wait(31 * DAY)
    assert compared not in gallery.retired()


def test_of_too_many_the_oldest_go(gallery: Gallery, first: str) -> None:
    """Each user's are counted; those that are needed count, and stay."""
    one = gallery.change()
    for _ in range(MOST_MODELS + 1):
        gallery.house.now += 60
        gallery.house.monotonic += 60
        gallery.train()
        gallery.train("rejected")
        gallery.train(owner="bob", parent="f" * 32)
    done = gallery.house.tend()
    mine, bobs = gallery.made[1::3], gallery.made[3::3]
    assert done.models == 2
    assert gallery.retired() == {mine[0], bobs[0]}
    assert gallery.current == one
    assert gallery.house.lines() == [
        (who, what, "quota", 1) for who in ("ann", "bob") for what in ("comparisons", "models")
    ]
    assert gallery.house.tend().models == 0


def test_nothing_is_old_by_a_clock_that_jumped(gallery: Gallery, first: str) -> None:
    old = gallery.train()
    gallery.house.now += 100 * DAY
    assert gallery.house.tend().models == 0
    assert gallery.retired() == set()
    gallery.house.wait(DAY + 1)
    assert gallery.retired() == {old}


def test_a_clock_that_is_behind_costs_no_new_model(gallery: Gallery, first: str) -> None:
    """What was trained just now seems to be the oldest; what can't answer now goes."""
    for _ in range(MOST_MODELS):
        gallery.house.wait(3600)
        gallery.train()
    house = gallery.house
    house.now -= 20 * 365 * DAY
    open, stale = gallery.train(), gallery.train(parent="f" * 32)
    assert not house.tend().trusted
    assert gallery.retired() == {stale}
    gallery.promote(open)
    fresh = gallery.train()
    house.tend()
    assert gallery.retired() == {stale}
    house.now += 20 * 365 * DAY  # mended
    house.wait(2 * DAY)
    assert fresh not in gallery.retired(), "its date was mended, too"
    assert gallery.current == open
    same = tables.promotions.c.at == tables.current.c.changed_at
    with house.database.begin() as connection:
        assert connection.scalars(select(tables.promotions.c.model_id).where(same)).all() == [open]
    house.wait(31 * DAY)
    assert gallery.retired() == {*gallery.made} - {open}


def test_a_comparison_of_no_model_goes_when_it_is_old(gallery: Gallery, first: str) -> None:
    row = {"id": "c" * 32, "owner": "ann", "name": "x", "created_at": gallery.house.now}
    with gallery.house.database.begin() as connection:
        connection.execute(insert(tables.comparisons).values(**row, table=TABLE))
    gallery.house.wait(29 * DAY)
    assert gallery.tables() == {"c" * 32}
    assert gallery.house.wait(2 * DAY).comparisons == 1
    assert gallery.tables() == set()


def test_rows_of_retired_models_go_after_a_year(gallery: Gallery, first: str) -> None:
    one = gallery.change()
    gallery.change()
    last = gallery.change()
    gallery.house.wait(31 * DAY)
    assert gallery.retired() == {one}
    clocks._last.clear()
    with gallery.house.database.begin() as connection:  # a year in which workers ran
        connection.execute(
            update(tables.models).values(retired_at=tables.models.c.retired_at - _YEAR)
        )
        connection.execute(update(tables.promotions).values(at=tables.promotions.c.at - _YEAR))
        connection.execute(
            update(tables.current).values(changed_at=tables.current.c.changed_at - _YEAR)
        )
    gallery.house.tend()
    assert one not in gallery.states()
    assert (gallery.current, gallery.retired()) == (last, set())
    with gallery.house.database.begin() as connection:
        promoted = connection.scalars(select(tables.promotions.c.model_id)).all()
    assert set(promoted) == set(gallery.states()), "what was promoted and is known no more"


def test_nothing_before_the_first_model(gallery: Gallery) -> None:
    done = gallery.house.wait(31 * DAY)
    assert (done.models, done.comparisons) == (0, 0)
