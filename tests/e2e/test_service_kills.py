"""Worker processes that are killed, stopped, stuck or cut off: each job ends once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from pocketlens.service import jobs, kinds
from pocketlens.service.database import is_unavailable, reading
from pocketlens.service.queue import open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.supervise import to_json
from pocketlens.service.worker_process import open_migrated
from support.databases import KINDS, database_url
from support.postgres import private_postgres

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PATIENCE = 60.0
WHOLE = pytest.param(1000, 20, marks=[pytest.mark.slow])


@pytest.mark.parametrize(("num_jobs", "kills"), [(40, 2), WHOLE])
@pytest.mark.parametrize("kind", KINDS)
def test_no_job_is_lost_and_none_ends_twice(
    kind: str, num_jobs: int, kills: int, tmp_path: Path
) -> None:
    with database_url(kind, tmp_path) as url:
        command = [sys.executable, BENCHMARKS / "job_kills.py", "--database", url]
        command += ["--jobs", str(num_jobs), "--kills", str(kills)]
        command += ["--workers", "1" if kind == "sqlite" else "2"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["done"] + found["failed"] == num_jobs
    assert (found["never"], found["twice"], found["wrong"]) == (0, 0, 0)
    assert found["kills"] == kills if kills > 2 else found["kills"] >= 1


@pytest.fixture(autouse=True)
def _more_kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(BENCHMARKS / "_job_kinds")])
    kinds.names.cache_clear()
    yield
    kinds.names.cache_clear()
    kinds.load.cache_clear()


class Place:
    """A database and a queue for worker processes that know `nap` and `deadly`."""

    def __init__(self, home: Path, url: str | None, **more: Any) -> None:
        self.settings = Settings(None, home, database=url, workers=2, **more)
        self.engine = open_migrated(self.settings)
        self.queue = open_queue(self.settings)

    def submit(self, kind: str = "nap", **request: Any) -> str:
        with self.engine.begin() as connection:
            job, _ = jobs.submit(connection, "ann", kind, request, now=time.time())
        self.queue.put(job.id, kind)
        return job.id

    def state(self, id: str) -> jobs.Job:
        with reading(self.engine) as connection:
            found = jobs.get(connection, "ann", id)
        assert found is not None
        return found

    def until(self, id: str, true: Callable[[jobs.Job], bool]) -> jobs.Job:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline, f"it took too long: {self.state(id)}"
            found = self.state_if_reached(id)
            if found is not None and true(found):
                return found
            time.sleep(0.01)

    def state_if_reached(self, id: str) -> jobs.Job | None:
        try:
            return self.state(id)
        except DBAPIError as error:
            if is_unavailable(error):
                return None
            raise

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, BENCHMARKS / "_job_worker.py"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(to_json(self.settings) + "\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def close(self) -> None:
        self.queue.close()
        self.engine.dispose()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, None, lease_seconds=0.7, max_attempts=2)
    yield made
    made.close()


def test_a_job_that_kills_its_worker(place: Place) -> None:
    id = place.submit("deadly")
    for _ in range(2):
        with place.worker() as process:
            assert process.wait(PATIENCE) == -signal.SIGKILL
    with place.worker():
        other = place.submit(answer=1)
        assert place.until(other, jobs.is_ended).result == {"answer": 1}
        found = place.until(id, jobs.is_ended)
    assert (found.state, found.code, found.attempt) == ("Failed", "worker_lost", 2)


def _is_stopped(pid: int) -> bool:
    """Whether each thread stands still; the signal takes a moment to reach all of them."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(text.rpartition(")")[2].split()[0] == "T" for text in stats)


def _stop(process: subprocess.Popen[str], place: Place) -> None:
    """Stop it while it holds no lock of an SQLite file: nobody else could go on then."""
    deadline = time.monotonic() + PATIENCE
    while True:
        process.send_signal(signal.SIGSTOP)
        while not _is_stopped(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        try:
            for name in ("pocketlens.db", "queue.db"):
                with closing(sqlite3.connect(place.settings.home / name, timeout=0.05)) as db:
                    db.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            assert time.monotonic() < deadline
            process.send_signal(signal.SIGCONT)
            time.sleep(0.02)  # or it gets nowhere


def test_a_worker_that_is_stuck_loses_its_job(place: Place) -> None:
    id = place.submit(seconds=2, answer=1)
    with place.worker() as first:
        place.until(id, lambda job: job.state == "Running")
        _stop(first, place)
        with place.worker():
            done = place.until(id, jobs.is_ended)
            first.send_signal(signal.SIGCONT)
            other = place.submit(answer=2)
            place.until(other, jobs.is_ended)
            assert place.state(id) == done
    assert (done.state, done.attempt) == ("Done", 2)


def test_a_signal_ends_it_in_order_and_a_second_at_once(place: Place) -> None:
    id = place.submit(seconds=0.3, answer=1)
    with place.worker() as process:
        place.until(id, lambda job: job.state == "Running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert place.state(id).result == {"answer": 1}
    id = place.submit(seconds=50)
    with place.worker() as process:
        place.until(id, lambda job: job.state == "Running")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert any("is asked to stop" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == -signal.SIGTERM
    assert place.state(id).state == "Running", "until its lease is over"


def test_it_ends_with_its_parent(place: Place) -> None:
    with place.worker() as process:
        id = place.submit(answer=1)
        place.until(id, jobs.is_ended)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        process.stdin = None


def test_a_database_that_another_process_locks_for_a_while(place: Place) -> None:
    with place.worker() as process:
        ids = [place.submit(seconds=0.1, answer=n) for n in range(4)]
        place.until(ids[0], lambda job: job.state != "Pending")
        other = sqlite3.connect(place.settings.home / "pocketlens.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(1.0)  # what is tested is that it lasts
        other.execute("ROLLBACK")
        other.close()
        assert [place.until(id, jobs.is_ended).result for id in ids] == [
            {"answer": n} for n in range(4)
        ]
        assert process.poll() is None


@pytest.mark.skipif(
    not os.environ.get("POCKETLENS_POSTGRES"),
    reason="needs PostgreSQL: set POCKETLENS_POSTGRES to the URL of a database",
)
def test_connections_that_the_server_cuts(tmp_path: Path) -> None:
    with ExitStack() as stack:
        name = f"cut-{uuid.uuid4().hex}"
        given = stack.enter_context(database_url("postgresql", tmp_path))
        url = f"{given}&application_name={name}"
        place = Place(tmp_path, url, lease_seconds=2.0)
        stack.callback(place.close)
        admin = create_engine(
            Settings(None, tmp_path, database=os.environ["POCKETLENS_POSTGRES"]).database_url
        )
        stack.callback(admin.dispose)
        process = stack.enter_context(place.worker())
        ids = [place.submit(seconds=0.05, answer=n) for n in range(30)]
        for n in (3, 12):
            place.until(ids[n], jobs.is_ended)
            with admin.begin() as connection:
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                mine = text(f"{cut} application_name = :name")
                connection.execute(mine, {"name": name})
        found = [place.until(id, jobs.is_ended) for id in ids]
        assert [job.result for job in found] == [{"answer": n} for n in range(30)]
        assert process.poll() is None


@pytest.mark.slow
def test_a_server_that_is_restarted(tmp_path: Path) -> None:
    with private_postgres() as server, ExitStack() as stack:
        place = Place(tmp_path, server.url, lease_seconds=2.0)
        stack.callback(place.close)
        process = stack.enter_context(place.worker())
        ids = [place.submit(seconds=0.05, answer=n) for n in range(60)]
        place.until(ids[5], jobs.is_ended)
        server.stop()
        with pytest.raises(Exception) as raised:  # noqa: PT011 - what it is says the next line
            place.submit()
        assert is_unavailable(raised.value)
        server.start()
        found = [place.until(id, jobs.is_ended) for id in ids]
        assert [job.result for job in found] == [{"answer": n} for n in range(60)]
        assert process.poll() is None
