"""The worker: how jobs end, who has them meanwhile, and what happens when it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from pocketlens.service import jobs, kinds, spool, worker
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.database import open_database, reading
from pocketlens.service.jobs import Job
from pocketlens.service.migrate import migrate
from pocketlens.service.queue import open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.storage import StorageUnavailableError
from pocketlens.service.tables import jobs as table
from pocketlens.service.worker import Parts, StuckError, run_worker
from support.databases import KINDS, FakeStorage, database_url

#: Seconds; nothing here takes so long unless it is broken.
PATIENCE = 20.0


class Place:
    """A service's parts without its processes; `run[kind]` is what a job of the kind does."""

    def __init__(self, home: Path, url: str, lease_seconds: float) -> None:
        settings = Settings(
            None, home, database=url, lease_seconds=lease_seconds, max_attempts=2, workers=2
        )
        self.storage = FakeStorage()
        self.engine = open_database(settings.database_url)
        migrate(self.engine)
        self.parts = Parts(settings, self.engine, open_queue(settings), self.storage, None)
        self.run: dict[str, Callable[[Job, Context], Any]] = {}
        self.lanes = {"train": "long"}

    def kind(self, name: str) -> Any:
        if name not in self.run:
            raise LookupError(name)
        return SimpleNamespace(run=self.run[name], LANE=self.lanes.get(name, "quick"))

    def submit(self, kind: str = "work", put: bool = True, **request: Any) -> str:
        with self.engine.begin() as connection:
            job, _ = jobs.submit(connection, "ann", kind, request, now=time.time())
        if put:
            self.parts.queue.put(job.id, kind)
        return job.id

    def row(self, id: str) -> Any:
        with reading(self.engine) as connection:
            return connection.execute(select(table).where(table.c.id == id)).one_or_none()

    def wait(self, id: str, *states: str) -> Any:
        until(lambda: self.row(id).state in (states or ("Done", "Failed")))
        return self.row(id)

    @contextmanager
    def working(self, grace_seconds: float = 5.0) -> Iterator[threading.Event]:
        stop = threading.Event()
        thread = threading.Thread(
            target=run_worker, args=(self.parts, stop), kwargs={"grace_seconds": grace_seconds}
        )
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


@contextmanager
def opened(tmp_path: Path, url: str, patched: pytest.MonkeyPatch, lease: float) -> Iterator[Place]:
    made = Place(tmp_path, url, lease)
    patched.setattr(kinds, "load", made.kind)
    yield made
    made.parts.queue.close()
    made.engine.dispose()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with opened(tmp_path, f"sqlite:///{tmp_path / 'jobs.db'}", monkeypatch, 60.0) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Where a lease is over soon."""
    with opened(tmp_path, f"sqlite:///{tmp_path / 'jobs.db'}", monkeypatch, 0.4) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_are_done_and_their_files_dropped(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        database_url(kind, tmp_path) as url,
        opened(tmp_path, url, monkeypatch, 60.0) as place,
    ):
        place.run["work"] = lambda job, context: {
            "read": spool.read(context.storage, job.request["files"])[0].decode()
        }
        ids = []
        for number in range(10):
            [name] = spool.put(place.storage, f"{number:032x}", [f"photo {number}".encode()])
            ids.append(place.submit(files=[name]))
        with place.working():
            rows = [place.wait(id) for id in ids]
        assert [row.result for row in rows] == [{"read": f"photo {n}"} for n in range(10)]
        assert {row.attempt for row in rows} == {1}
        assert {(row.lease_until, row.progress) for row in rows} == {(None, None)}


def test_files_go_when_their_job_has_ended(place: Place) -> None:
    with place.engine.begin() as connection:
        id = "a" * 32
        names = spool.put(place.storage, id, [b"x"])
        jobs.submit(connection, "ann", "work", {"files": names}, now=time.time(), id=id)
    place.storage.delete_private = lambda name: [  # type: ignore[method-assign]
        place.storage.files.pop(key) for key in list(place.storage.files) if key.startswith(name)
    ]
    place.run["work"] = lambda *_: None
    place.parts.queue.put(id, "work")
    with place.working():
        place.wait(id)
        until(lambda: not place.storage.files)


def test_how_jobs_fail(place: Place) -> None:
    def refused(job: Job, context: Context) -> Any:
        raise JobFailed("no_usable_image", "none can be used")

    def broken(job: Job, context: Context) -> Any:
        raise RuntimeError("/secret/path is gone")

    place.run |= {"refused": refused, "broken": broken, "odd": lambda *_: {1, 2}}
    place.run["nan"] = lambda *_: float("nan")
    found = {}
    with place.working():
        for kind in ("refused", "broken", "odd", "nan"):
            row = place.wait(place.submit(kind))
            found[kind] = (row.state, row.code, row.attempt)
            assert "secret" not in row.reason
    assert found == {
        "refused": ("Failed", "no_usable_image", 1),
        "broken": ("Failed", "internal", 1),
        "odd": ("Failed", "internal", 1),
        "nan": ("Failed", "internal", 1),
    }


def waits(go: threading.Event) -> Callable[[Job, Context], Any]:
    """A job that goes on until `go`, and listens."""

    def run(job: Job, context: Context) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not go.wait(0.01):
            assert time.monotonic() < deadline
            context.beat({"step": "waiting"})
        return "done"

    return run


def test_cancelling_a_running_job(place: Place) -> None:
    place.run["work"] = waits(threading.Event())
    id = place.submit()
    with place.working():
        place.wait(id, "Running")
        until(lambda: place.row(id).progress == {"step": "waiting"})
        with place.engine.begin() as connection:
            jobs.cancel(connection, "ann", id, now=time.time())
        row = place.wait(id)
    assert (row.state, row.code) == ("Failed", "cancelled")


def test_deleting_while_it_runs(place: Place) -> None:
    go = threading.Event()
    place.run["work"] = waits(go)
    place.run["deaf"] = lambda j, at: go.wait(9) and at.storage.put_private(f"results/{j.id}", b"")
    listens, deaf = place.submit("work"), place.submit("deaf")
    with place.working():
        for id in (listens, deaf):
            place.wait(id, "Running")
            with place.engine.begin() as connection:
                assert jobs.remove(connection, "ann", id)
        go.set()
        place.wait(place.submit("work"))
    assert (place.row(listens), place.row(deaf), place.storage.files) == (None, None, {})


def test_a_training_does_not_hold_up_predictions(place: Place) -> None:
    go, at_once = threading.Event(), []

    def train(job: Job, context: Context) -> Any:
        at_once.append(len([t for t in trainings if place.row(t).state == "Running"]))
        return waits(go)(job, context)

    place.run |= {"train": train, "work": lambda *_: "quick"}
    trainings = [place.submit("train") for _ in range(2)]
    with place.working():
        until(lambda: bool(at_once))
        assert place.wait(place.submit("work")).result == "quick"
        go.set()
        for id in trainings:
            place.wait(id)
    assert at_once == [1, 1]


def test_stopping_ends_short_jobs_and_hands_back_long_ones(place: Place) -> None:
    go, began = threading.Event(), threading.Barrier(3)

    def first(job: Job, context: Context) -> Any:
        began.wait(PATIENCE)
        if job.kind == "train":
            return waits(threading.Event())(job, context)
        time.sleep(0.2)
        return "ended in time"

    place.run |= {"train": first, "work": first}
    long, short, waiting = place.submit("train"), place.submit("work"), place.submit("train")
    with place.working():
        began.wait(PATIENCE)
    assert place.row(short).result == "ended in time"
    for id, attempt in ((long, 1), (waiting, 0)):
        row = place.row(id)
        assert (row.state, row.attempt, row.lost) == ("Pending", attempt, 0)
    go.set()
    place.run["train"] = waits(go)
    with place.working():
        assert place.wait(long).result == "done"
        assert place.wait(waiting).result == "done"


def test_a_job_that_does_not_listen_is_handed_back(place: Place) -> None:
    go = threading.Event()
    place.run["work"] = lambda *_: go.wait(PATIENCE) and "too late"
    id = place.submit()
    with place.working(grace_seconds=0.2):
        place.wait(id, "Running")
    assert place.row(id).state == "Pending"
    place.run["work"] = lambda *_: "the second"
    with place.working():
        assert place.wait(id).result == "the second"
        go.set()
        place.wait(place.submit())
    assert place.row(id).result == "the second"


def test_a_long_job_keeps_its_lease(hasty: Place) -> None:
    began: list[int] = []

    def run(job: Job, context: Context) -> Any:
        began.append(job.attempt)
        time.sleep(1.2)  # without a sign of life of its own
        return job.attempt

    hasty.run["work"] = run
    id = hasty.submit()
    with hasty.working(), hasty.working():
        assert hasty.wait(id).result == 1
    assert began == [1]


def test_a_job_that_hangs_has_failed_and_its_worker_ends(
    hasty: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(kinds, "LIMIT_SECONDS", {"quick": 0.3})
    hasty.run |= {"deaf": lambda *_: go.wait(PATIENCE), "work": waits(threading.Event())}
    deaf, listens = hasty.submit("deaf"), hasty.submit("work")
    with pytest.raises(StuckError):
        run_worker(hasty.parts, threading.Event(), grace_seconds=0.2)
    for id in (deaf, listens):
        row = hasty.row(id)
        assert (row.state, row.code, row.attempt) == ("Failed", "timeout", 1)
    go.set()


def test_an_id_that_the_queue_lost(hasty: Place) -> None:
    hasty.run["work"] = lambda *_: "found"
    id = hasty.submit(put=False)
    with hasty.working():
        assert hasty.wait(id).result == "found"


def test_killed_after_the_result_and_before_the_commit(
    hasty: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    hasty.run["work"] = lambda job, _: ran.append(job.attempt) or job.attempt  # type: ignore[func-returns-value]
    complete = jobs.complete

    def dies_first(connection: Any, job: Job, result: Any, *, now: float) -> bool:
        done = complete(connection, job, result, now=now)
        if job.attempt == 1:
            raise RuntimeError("the process ends here")
        return done

    monkeypatch.setattr(worker.jobs, "complete", dies_first)
    id = hasty.submit()
    with hasty.working():
        row = hasty.wait(id)
    assert (row.state, row.result, row.attempt) == ("Done", 2, 2)
    assert ran == [1, 2]


def test_what_is_out_of_reach_too_often(hasty: Place) -> None:
    tries: list[int] = []

    def run(job: Job, context: Context) -> Any:
        tries.append(job.attempt)
        raise StorageUnavailableError("no answer")

    hasty.run["work"] = run
    id = hasty.submit()
    with hasty.working():
        row = hasty.wait(id)
    assert (row.state, row.code) == ("Failed", "unavailable")
    assert tries == [1, 2]


def test_a_fault_of_the_sweep_does_not_end_the_worker(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr(worker, "sweep", broken)
    place.run["work"] = lambda *_: "done"
    with place.working():
        assert place.wait(place.submit()).result == "done"
