"""A worker takes jobs from the lanes that it is told to, and no others."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from pocketlens import cli
from pocketlens.service import kinds, worker
from pocketlens.service.database import open_database
from pocketlens.service.migrate import migrate
from pocketlens.service.settings import Settings
from pocketlens.service.supervise import from_json, to_json
from pocketlens.service.worker import Parts, run_worker


class Queue:
    """Nothing ever waits in it; it remembers which lanes were looked at."""

    def __init__(self, enough: int, stop: threading.Event) -> None:
        self.asked: set[str] = set()
        self._enough, self._stop = enough, stop

    def get(self, lane: str, timeout: float, stop: threading.Event) -> None:
        self.asked.add(lane)
        if len(self.asked) >= self._enough:
            self._stop.set()
        stop.wait(0.01)

    def put(self, id: str, kind: str) -> bool:
        raise AssertionError("there are no jobs")


@pytest.mark.parametrize("lanes", [(), ("long",), ("quick", "slow")])
def test_lanes(lanes: tuple[str, ...], tmp_path: Path) -> None:
    given = Settings(None, tmp_path, threads=1, workers=1, lanes=lanes)
    assert from_json(to_json(given)) == given
    database = open_database(given.database_url)
    migrate(database)
    stop = threading.Event()
    expected = set(lanes or kinds.LANES)
    queue = Queue(len(expected), stop)
    deadline = threading.Timer(30, stop.set)
    deadline.start()
    run_worker(Parts(given, database, queue, None, None), stop)  # type: ignore[arg-type]
    deadline.cancel()
    database.dispose()
    assert queue.asked == expected


def test_a_queue_that_fails_does_not_end_a_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that lives and takes no jobs any more would be seen by nobody."""
    monkeypatch.setattr(worker, "_PAUSE", (0.01, 0.01))
    given = Settings(None, tmp_path, threads=1, workers=1, lanes=("slow",))
    database = open_database(given.database_url)
    migrate(database)
    stop = threading.Event()

    class Broken(Queue):
        def get(self, lane: str, timeout: float, stop: threading.Event) -> None:
            if not self.asked:
                self.asked.add("a first time")
                raise sqlite3.DatabaseError("file is not a database")
            super().get(lane, timeout, stop)

    queue = Broken(2, stop)
    deadline = threading.Timer(10, stop.set)
    deadline.start()
    run_worker(Parts(given, database, queue, None, None), stop)  # type: ignore[arg-type]
    deadline.cancel()
    database.dispose()
    assert queue.asked == {"a first time", "slow"}


def test_an_unknown_lane_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["worker", "--home", str(tmp_path / "home"), "--lanes", "quick,fast"]
    assert cli.run(command) == 2
    said = capsys.readouterr().err
    assert "'fast'" in said
    assert "quick, slow, long" in said
    assert not (tmp_path / "home").exists()
