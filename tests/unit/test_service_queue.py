"""The queue: ids go in and come out once, in order, in lanes; nothing on the wire is executed."""

from __future__ import annotations

import pickle
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pocketlens.core.errors import UserError
from pocketlens.service import kinds
from pocketlens.service.queue import Queue, open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.tables import new_id
from support.databases import KINDS, database_url
from support.redis_server import redis_url


@pytest.fixture(params=(*KINDS, "redis"))
def settings(request: Any, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "redis":
        with TemporaryDirectory() as place, redis_url(Path(place)) as url:
            yield Settings(None, tmp_path, queue=url)
        return
    with database_url(request.param, tmp_path) as url:
        yield Settings(None, tmp_path, database=url)


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    opened = open_queue(settings)
    for lane in opened._lanes.values():
        lane.read_timeout = 0.2  # of PostgreSQL, in seconds
    yield opened
    opened.close()


def test_ids_come_out_once_and_in_order(queue: Queue) -> None:
    ids = [new_id() for _ in range(5)]
    assert all(queue.put(id, "predict") for id in ids)
    assert queue.size() == 5
    assert [queue.get("quick", 1) for _ in ids] == ids
    assert queue.get("quick", 0) is None
    assert queue.size() == 0


def test_lanes_do_not_wait_for_each_other(queue: Queue) -> None:
    id = new_id()
    queue.put(id, "predict")
    assert queue.get("long", 0) is None
    assert queue.get("slow", 0) is None
    assert queue.get("quick", 0) == id


def test_one_that_waits_is_woken(queue: Queue) -> None:
    id, found = new_id(), []
    waiting = threading.Thread(target=lambda: found.append(queue.get("quick", 20)))
    waiting.start()
    began = time.monotonic()
    queue.put(id, "predict")
    waiting.join()
    assert found == [id]
    assert time.monotonic() - began < 5


def test_one_that_waits_is_stopped(queue: Queue) -> None:
    stop = threading.Event()
    stop.set()
    queue.put(new_id(), "predict")
    assert queue.get("quick", 20, stop) is None
    assert queue.size() == 1


def test_it_is_there_after_a_restart(settings: Settings, queue: Queue) -> None:
    id = new_id()
    queue.put(id, "predict")
    queue.close()
    again = open_queue(settings)
    assert again.get("quick", 0) == id
    again.close()


def test_many_threads_get_each_id_once(queue: Queue) -> None:
    ids = [new_id() for _ in range(60)]
    found: list[str] = []

    def take() -> None:
        while (id := queue.get("quick", 0.1)) is not None:
            found.append(id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for id in ids:
        queue.put(id, "predict")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(ids)


class Harm:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was executed",))


def test_what_is_no_id_is_thrown_away(queue: Queue) -> None:
    lane = queue._lanes["quick"]
    for data in (pickle.dumps(Harm()), b"../x", b"", b"A" * 32):
        lane.enqueue(data)
    id = new_id()
    queue.put(id, "predict")
    assert queue.get("quick", 0) == id


def test_a_queue_out_of_reach_loses_no_request(tmp_path: Path) -> None:
    queue = open_queue(Settings(None, tmp_path))
    queue._lanes["quick"]._timeout = 0.1  # type: ignore[attr-defined]
    queue.close()
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert not queue.put(new_id(), "predict")
    other.execute("ROLLBACK")
    assert queue.put(new_id(), "predict")


@pytest.mark.parametrize("url", ["amqp://a:secret@b", "sqlite://", "x:secret", ""])
def test_a_url_that_is_none_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--queue") as raised:
        open_queue(Settings(None, tmp_path, queue=url))
    assert "secret" not in str(raised.value)


def test_every_kind_has_a_lane_and_runs() -> None:
    assert "predict" in kinds.names()
    for kind in kinds.names():
        assert kinds.lane(kind) in kinds.LANES
        assert callable(kinds.load(kind).run)
    with pytest.raises(LookupError):
        kinds.load("../predict")
