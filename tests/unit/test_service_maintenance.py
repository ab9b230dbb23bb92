"""Nothing lies around for ever; the account says what went and why."""

from __future__ import annotations

import os
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from pocketlens.service import blobs, datasets, jobs, tables, worker_process
from pocketlens.service.clocks import DAY
from pocketlens.service.database import open_database
from pocketlens.service.settings import Settings
from pocketlens.service.storage import content_name, open_storage, owner_folder
from support.databases import KINDS
from support.house import House, opened_house
from support.places import place_url

_YEAR = 365 * DAY


@pytest.fixture(params=KINDS)
def house(request: Any, tmp_path: Path, encode: Callable[..., bytes]) -> Iterator[House]:
    with opened_house(request.param, tmp_path, encode) as made:
        yield made


def test_answers_go_when_their_time_is_over(house: House) -> None:
    old = house.answer()
    running = house.answer(state="Running")
    house.wait(29 * DAY)
    new = house.answer()
    assert house.ids() == {old, running, new}
    done = house.wait(DAY + 1)
    assert done.answers == 1
    assert house.ids() == {running, new}
    assert house.lines() == [("ann", "answers", "age", 1)]
    with house.database.connect() as connection:
        assert connection.scalars(select(tables.deletions.c.size_bytes)).all() == [5]
    assert {name for name in house.privates() if old in name} == set()
    assert f"results/{new}/map-0.png" in house.privates()
    house.wait(3 * DAY, keep_days=2)
    assert house.ids() == {running}


def test_uploads_go_only_where_that_was_asked_for(house: House) -> None:
    house.upload(1)
    house.wait(50 * DAY)
    assert house.samples() == 1
    house.upload(2, owner="bob")
    house.now += 1
    twice = house.upload(1)  # uploaded again: counts as new
    house.upload(3)
    house.wait(9 * DAY, keep_days=10)
    assert (house.samples(), house.samples("bob")) == (2, 1)
    house.upload(1)
    done = house.wait(DAY + 10, keep_days=10)
    assert done.photos == 2
    assert house.lines() == [("ann", "photos", "age", 1), ("bob", "photos", "age", 1)]
    assert (house.samples(), house.samples("bob")) == (1, 0)
    assert {name.rsplit("/", 1)[1] for name in house.files()} == {twice}
    house.agrees()
    with house.database.connect() as connection:
        assert datasets.list_all(connection, "bob") == []  # an empty one is nothing to keep


def test_a_lowered_quota_costs_the_oldest(house: House) -> None:
    for seed in range(4):
        house.upload(seed, label=str(seed))
        house.upload(seed, owner="bob")
        house.now += 60
        house.monotonic += 60
    with house.database.connect() as connection:
        size = blobs.used_bytes(connection, "ann")[1]
    assert house.tend(quota_bytes=size).photos == 0
    done = house.tend(quota_bytes=size // 2)
    assert done.photos == 4
    assert house.lines() == [("ann", "photos", "quota", 2), ("bob", "photos", "quota", 2)]
    with house.database.connect() as connection:
        kept = datasets.find(connection, "ann", "pills")
        assert kept is not None
        assert datasets.class_counts(connection, kept.id) == {"2": 1, "3": 1}
        assert kept.version == 5
    house.agrees()


def test_photos_of_a_training_that_runs_stay(house: House) -> None:
    house.upload(1)
    house.upload(2, name="others")
    with house.database.begin() as connection:
        job, _ = jobs.submit(connection, "ann", "train", {"dataset": "pills"}, now=house.now)
        jobs.submit(connection, "bob", "train", {"dataset": "others"}, now=house.now)
    done = house.wait(3 * DAY, keep_days=2)
    assert done.photos == 1
    assert house.tend(keep_days=2, quota_bytes=0).photos == 0
    assert (house.samples(), house.samples(name="others")) == (1, 0)
    with house.database.begin() as connection:
        jobs.cancel(connection, "ann", job.id, now=house.now)
    assert house.tend(quota_bytes=0).photos == 1
    house.agrees()


def test_a_photo_of_two_data_sets_goes_from_both_at_once(house: House) -> None:
    house.upload(1)
    house.upload(1, name="others")
    assert house.wait(3 * DAY, keep_days=2).photos == 1
    assert (house.samples(), house.samples(name="others")) == (0, 0)
    house.agrees()


def test_killed_in_the_middle(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows went, files didn't: a later run finds them. Files that are needed stay."""
    house.upload(1)
    house.upload(1, owner="bob", name="kept")
    house.wait(2 * DAY)
    house.upload(1, owner="bob", name="kept")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "discard", die)
        with pytest.raises(KeyboardInterrupt):
            house.tend(keep_days=1)
    assert len(house.files()) == 2
    for file in Path(house.storage.root).rglob("*.png"):
        os.utime(file, (house.now, house.now))
    house.restart()
    assert house.tend().lost_photos == 0  # it could be one that is just being written
    done = house.wait(2 * DAY + 3600)
    assert done.lost_photos == 1
    house.agrees()
    assert house.samples("bob", "kept") == 1


def test_what_was_written_but_never_counted(house: House) -> None:
    kept = house.upload(1)
    name = content_name(b"never counted", ".jpg")
    house.storage.put_photo("ann", name, b"never counted")
    house.storage.put_photo("nobody", name, b"never counted")
    half = Path(house.storage.root) / "photos" / owner_folder("ann") / "aa" / ".x.tmp"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    for file in (Path(house.storage.root) / "photos").rglob("*"):
        os.utime(file, (house.now, house.now))
    house.restart()
    assert house.tend().lost_photos == 0
    assert house.wait(2 * DAY).lost_photos == 3
    assert {file.rsplit("/", 1)[1] for file in house.files()} == {kept}
    house.agrees()


def test_private_files_of_jobs_that_need_them_no_longer(house: House) -> None:
    ended, running = house.answer(), house.answer(state="Running")
    house.private("spool/" + "0" * 32 + "/0")  # its row is just being written
    house.private("results/" + "1" * 32 + "/map-0.png")
    house.restart()
    assert house.tend().lost_files == 1  # what the ended job's request came with
    assert house.privates() == {
        *(f"results/{ended}/map-0.png", f"results/{running}/map-0.png", f"spool/{running}/0"),
        *("spool/" + "0" * 32 + "/0", "results/" + "1" * 32 + "/map-0.png"),
    }
    assert house.wait(DAY + 7200).lost_files == 2
    assert len(house.privates()) == 3


def test_work_that_was_killed(house: House) -> None:
    running = house.answer(state="Running")
    work = house.settings.home / "work"
    for name in (running, house.answer(), "0" * 32, "upload-1"):
        (work / name / "data").mkdir(parents=True)
        os.utime(work / name, (house.now, house.now))
    house.restart()
    assert house.tend().work == 0
    assert house.wait(DAY + 7200).work == 3
    assert [path.name for path in work.iterdir()] == [running]


def test_what_went_is_logged_by_a_child_of_serve_too() -> None:
    """It runs as a program, so its name isn't the module's."""
    run = runpy.run_path(str(worker_process.__file__), run_name="as_a_program")
    assert run["log"].name == worker_process.__name__


def test_old_lines_of_the_account_go(house: House) -> None:
    with house.database.begin() as connection:
        for at in (house.now - _YEAR - 60, house.now):
            line = {"owner": "ann", "what": "photos", "why": "age", "count": 1, "size_bytes": 1}
            connection.execute(insert(tables.deletions).values(id=tables.new_id(), at=at, **line))
    house.tend()
    assert len(house.lines()) == 1


def test_in_a_bucket(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    with place_url("s3", tmp_path) as url:
        settings = Settings(bundle=None, home=tmp_path, storage=url)
        database = open_database(settings.database_url)
        tables.metadata.create_all(database)
        house = House(settings, database, open_storage(url), encode, now=time.time())
        house.tend()
        house.wait(DAY)
        house.now = time.time() + DAY  # where the server's clock is
        house.upload(1)
        house.storage.put_photo("ann", content_name(b"lost", ".jpg"), b"lost")
        old = house.answer()
        assert house.wait(2 * DAY, keep_days=10).lost_photos == 1
        house.agrees()
        house.wait(8 * DAY + 7200, keep_days=10)
        assert old not in house.ids()
        assert (house.files(), house.privates()) == (set(), set())
        database.dispose()
