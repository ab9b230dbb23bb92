"""The life of a job, one transition after the other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, update

from pocketlens.service import jobs
from pocketlens.service.database import open_database, reading
from pocketlens.service.job_lists import CursorError, page
from pocketlens.service.jobs import Job
from pocketlens.service.migrate import migrate
from pocketlens.service.settings import Settings
from pocketlens.service.sweeping import sweep
from pocketlens.service.tables import jobs as table
from support.databases import KINDS, database_url

LEASE = 60.0


@pytest.fixture(params=KINDS)
def engine(request: Any, tmp_path: Path) -> Iterator[Engine]:
    with database_url(request.param, tmp_path) as url:
        opened = open_database(Settings(None, tmp_path, database=url).database_url)
        migrate(opened)
        yield opened
        opened.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as opened:
        yield opened


def new(connection: Connection, now: float = 0.0, owner: str = "ann", **more: Any) -> Job:
    return jobs.submit(connection, owner, "predict", {"files": ["a"]}, now=now, **more)[0]


def take(connection: Connection, job: Job, now: float = 1.0, most: int = 3) -> Job | None:
    return jobs.claim(
        connection, job.id, "w", now=now, lease_seconds=LEASE, max_attempts=most
    )  # fmt: skip


def held(connection: Connection, job: Job, now: float = 1.0) -> Job:
    found = take(connection, job, now)
    assert found is not None
    return found


def swept(connection: Connection, now: float, most: int = 3) -> Any:
    return sweep(connection, now=now, lease_seconds=LEASE, max_attempts=most)


def seen(connection: Connection, job: Job) -> Job:
    found = jobs.get(connection, job.owner, job.id)
    assert found is not None
    return found


def test_from_pending_to_done(connection: Connection) -> None:
    job = new(connection)
    assert (job.state, job.attempt) == ("Pending", 0)
    assert seen(connection, job) == job
    running = held(connection, job)
    assert (running.state, running.attempt, running.started_at) == ("Running", 1, 1.0)
    assert running.request == {"files": ["a"]}
    progress = {"step": 1}
    assert jobs.heartbeat(connection, running, now=2.0, lease_seconds=LEASE, progress=progress)
    assert seen(connection, job).progress == {"step": 1}
    assert jobs.complete(connection, running, {"x": [1]}, now=3.0)
    done = seen(connection, job)
    assert (done.state, done.result, done.ended_at, done.progress) == (
        "Done",
        {"x": [1]},
        3.0,
        None,
    )
    assert jobs.is_ended(done)


def test_an_end_is_the_last(connection: Connection) -> None:
    job = new(connection)
    running = held(connection, job)
    assert jobs.fail(connection, running, "bad", "it is bad", now=2.0)
    assert not jobs.complete(connection, running, 1, now=3.0)
    assert not jobs.fail(connection, running, "other", "x", now=3.0)
    assert not jobs.heartbeat(connection, running, now=3.0, lease_seconds=LEASE)
    assert not jobs.release(connection, running, now=3.0)
    assert take(connection, job, now=9e9) is None
    cancelled = jobs.cancel(connection, "ann", job.id, now=4.0)
    assert cancelled == seen(connection, job)
    assert (cancelled.state, cancelled.code, cancelled.ended_at) == ("Failed", "bad", 2.0)


def test_while_its_lease_runs_nobody_else_takes_it(connection: Connection) -> None:
    job = new(connection)
    first = held(connection, job, now=0.0)
    assert take(connection, job, now=60.0) is None
    assert jobs.heartbeat(connection, first, now=50.0, lease_seconds=LEASE)
    assert take(connection, job, now=110.0) is None
    second = held(connection, job, now=110.5)
    assert second.attempt == 2
    assert not jobs.complete(connection, first, "late", now=111.0)
    assert not jobs.heartbeat(connection, first, now=111.0, lease_seconds=LEASE)
    assert jobs.complete(connection, second, "mine", now=112.0)
    assert seen(connection, job).result == "mine"


def test_a_lease_that_ran_out_can_be_renewed_until_another_takes_it(
    connection: Connection,
) -> None:
    first = held(connection, new(connection), now=0.0)
    assert jobs.heartbeat(connection, first, now=100.0, lease_seconds=LEASE)
    assert take(connection, first, now=150.0) is None


def test_a_job_that_kills_its_workers_ends(connection: Connection) -> None:
    job = new(connection)
    now = 0.0
    for attempt in (1, 2, 3):
        assert held(connection, job, now).attempt == attempt
        now += LEASE + 1
        assert (take(connection, job, now, most=attempt)) is None, "attempts are used up"
    assert swept(connection, now).ended == [job.id]
    failed = seen(connection, job)
    assert (failed.state, failed.code, failed.ended_at) == ("Failed", "worker_lost", now)
    assert "each time" in str(failed.reason)


def test_handing_back_loses_no_attempt(connection: Connection) -> None:
    job = new(connection)
    for turn in range(10):
        running = held(connection, job, now=float(turn))
        assert running.attempt == turn + 1
        assert jobs.release(connection, running, now=float(turn))
        assert seen(connection, job).state == "Pending"
        assert not jobs.complete(connection, running, 1, now=float(turn))
    held(connection, job, now=20.0)
    assert take(connection, job, now=20.0 + LEASE + 1) is not None


def test_cancelling(connection: Connection) -> None:
    waiting, running, lost, stopped = (new(connection) for _ in range(4))
    mine = held(connection, running)
    held(connection, lost)
    back = held(connection, stopped)
    for job in (waiting, running, lost, stopped):
        assert jobs.cancel(connection, "bob", job.id, now=2.0) is None
        assert jobs.cancel(connection, "ann", job.id, now=2.0) is not None
    assert seen(connection, waiting).code == "cancelled"
    assert take(connection, waiting) is None
    assert seen(connection, running).state == "Running"
    assert not jobs.heartbeat(connection, mine, now=3.0, lease_seconds=LEASE)
    assert jobs.fail(connection, mine, "cancelled", "it was cancelled", now=3.0)
    assert take(connection, lost, now=100.0) is None
    assert not jobs.release(connection, back, now=4.0)
    assert seen(connection, stopped).code == "cancelled"
    assert swept(connection, now=100.0).ended == [lost.id]
    assert seen(connection, lost).code == "cancelled"


def test_deleting_while_it_runs(connection: Connection) -> None:
    job = new(connection)
    running = held(connection, job)
    assert not jobs.remove(connection, "bob", job.id)
    assert jobs.remove(connection, "ann", job.id)
    assert not jobs.heartbeat(connection, running, now=2.0, lease_seconds=LEASE)
    assert not jobs.complete(connection, running, 1, now=2.0)
    assert not jobs.fail(connection, running, "x", "y", now=2.0)
    assert not jobs.release(connection, running, now=2.0)
    assert take(connection, job, now=1000.0) is None
    assert swept(connection, now=1000.0) == swept(connection, now=1000.0)
    assert jobs.get(connection, "ann", job.id) is None


def test_a_job_is_its_owners(connection: Connection) -> None:
    job = new(connection)
    assert jobs.get(connection, "bob", job.id) is None
    assert jobs.get(connection, "ann", "0" * 32) is None


def test_the_sweep_finds_what_the_queue_lost(connection: Connection) -> None:
    job = new(connection, now=0.0)
    assert swept(connection, now=LEASE).requeue == []
    assert swept(connection, now=LEASE + 1).requeue == [(job.id, "predict")]
    assert swept(connection, now=LEASE + 2).requeue == [], "it is in the queue again"
    times, now = [], LEASE + 2
    while now < 60 * LEASE:
        now += 10
        if swept(connection, now=now).requeue:
            times.append(now)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(b >= a - 10 for a, b in itertools.pairwise(pauses)), (
        "a long queue isn't filled with the same id"
    )
    assert pauses[-1] <= 16 * LEASE + 10, "and it is found for ever"


def test_the_sweep_finds_jobs_whose_worker_is_gone(connection: Connection) -> None:
    job = new(connection, now=0.0)
    held(connection, job, now=1.0)
    assert swept(connection, now=LEASE).requeue == []
    assert swept(connection, now=LEASE + 2).requeue == [(job.id, "predict")]
    assert swept(connection, now=LEASE + 3).requeue == []
    assert swept(connection, now=2 * LEASE + 4).requeue == [(job.id, "predict")]
    held(connection, job, now=2 * LEASE + 5)
    assert swept(connection, now=2 * LEASE + 6).requeue == []


def test_an_idempotency_key_makes_one_job(connection: Connection) -> None:
    first, is_new = jobs.submit(connection, "ann", "predict", {}, now=0, key="k", fingerprint="f")
    assert is_new
    again, is_new = jobs.submit(connection, "ann", "predict", {}, now=9, key="k", fingerprint="f")
    assert (again.id, is_new) == (first.id, False)
    other, is_new = jobs.submit(connection, "bob", "predict", {}, now=9, key="k", fingerprint="f")
    assert is_new
    assert other.id != first.id
    with pytest.raises(jobs.IdempotencyConflictError):
        jobs.submit(connection, "ann", "predict", {}, now=9, key="k", fingerprint="g")
    assert new(connection).id != new(connection).id


def test_one_job_of_many_requests_with_one_key_at_once(engine: Engine) -> None:
    found: list[tuple[Job, bool]] = []

    def ask() -> None:
        with engine.begin() as connection:
            found.append(jobs.submit(connection, "ann", "predict", {}, now=0, key="k"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in found}) == 1
    assert sum(is_new for _, is_new in found) == 1


def test_what_was_answered_at_once_is_one_row(connection: Connection) -> None:
    done = jobs.record(connection, "ann", "predict", {}, now=2.0, started_at=1.0, result={"a": 1})
    assert seen(connection, done) == done
    assert (done.state, done.attempt, done.created_at, done.ended_at) == ("Done", 1, 1.0, 2.0)
    bad = jobs.record(connection, "ann", "predict", {}, now=2.0, code="c", reason="r", id="f" * 32)
    assert seen(connection, bad) == bad
    assert (bad.id, bad.state, bad.code) == ("f" * 32, "Failed", "c")


def test_pages(connection: Connection) -> None:
    made = [new(connection, now=float(number // 2)) for number in range(7)]
    new(connection, owner="bob")
    held(connection, made[3])
    newest_first = sorted(made, key=lambda job: (job.created_at, job.id), reverse=True)
    found, after = [], None
    while True:
        part = page(connection, "ann", limit=3, after=after)
        found += [job.id for job in part.jobs]
        new(connection, now=99.0)
        if part.next is None:
            break
        after = part.next
    assert found == [job.id for job in newest_first]
    [running] = page(connection, "ann", state="Running").jobs
    assert running.id == made[3].id
    assert page(connection, "ann", kind="train").jobs == []
    assert page(connection, "eve").next is None
    for cursor in ("", "nan_0", "x_00", "1.0", "1.0_'; --", "inf_00"):
        with pytest.raises(CursorError):
            page(connection, "ann", after=cursor)


def test_of_many_workers_one_claims(engine: Engine) -> None:
    with engine.begin() as connection:
        job = new(connection)
    won: list[Job] = []

    def ask() -> None:
        with engine.begin() as connection:
            mine = take(connection, job)
            if mine is not None:
                won.append(mine)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    with reading(engine) as connection:
        assert seen(connection, job).attempt == 1


def test_a_row_without_the_time_of_queueing_is_swept(connection: Connection) -> None:
    job = new(connection)
    connection.execute(update(table).values(queued_at=None))
    assert swept(connection, now=LEASE + 1).requeue == [(job.id, "predict")]
