"""Jobs: what is true of each stands in one row, and each change is one conditional statement.

A worker holds a job by its lease, under the number of its attempt. What it reports is written only
where that attempt is still the row's, so a worker that was thought dead changes nothing, and a
job that was deleted stays deleted. `job_lists` lists jobs, `sweeping` finds those that were lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, case, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pocketlens.service.tables import ENDED, State, jobs, new_id


class IdempotencyConflictError(ValueError):
    """The key came before with another request."""


@dataclass(frozen=True)
class Job:
    """A row of `jobs`; see `tables.jobs` for its columns."""

    id: str
    owner: str
    kind: str
    state: State
    attempt: int
    created_at: float
    request: Mapping[str, Any]
    started_at: float | None = None
    ended_at: float | None = None
    cancel_requested: bool = False
    progress: Mapping[str, Any] | None = None
    result: Any = None
    code: str | None = None
    reason: str | None = None
    fingerprint: str | None = None
    lost: int = 0
    spooled_bytes: int = 0


#: What ends a job whose worker fell silent too often, and one that was cancelled.
WORKER_LOST: Final = "worker_lost"
CANCELLED: Final = "cancelled"
TIMEOUT: Final = "timeout"
TIMEOUT_REASON: Final = "it took longer than a job of its kind may"
LOST_REASON: Final = "the process that worked on it ended unexpectedly, each time it was tried"
CANCELLED_REASON: Final = "it was cancelled"

COLUMNS: Final = [jobs.c[name] for name in Job.__dataclass_fields__]

# Statements are made once: to put one together takes longer than SQLite needs to run it.
_now: Any = bindparam("b_now")
_ran_out = and_(jobs.c.state == "Running", jobs.c.lease_until < _now)
_held = and_(
    jobs.c.id == bindparam("b_id"),
    jobs.c.state == "Running",
    jobs.c.attempt == bindparam("b_attempt"),
)
_own = and_(jobs.c.id == bindparam("b_id"), jobs.c.owner == bindparam("b_owner"))
_GET = select(*COLUMNS).where(_own)
_CLAIM = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        or_(
            jobs.c.state == "Pending",
            and_(
                _ran_out,
                jobs.c.lost + 1 < bindparam("b_max_attempts"),
                jobs.c.cancel_requested.is_(False),
            ),
        ),
    )
    .values(
        state="Running",
        attempt=jobs.c.attempt + 1,
        lost=jobs.c.lost + case((jobs.c.state == "Running", 1), else_=0),
        worker=bindparam("b_worker"),
        lease_until=bindparam("b_lease_until"),
        heartbeat_at=_now,
        started_at=_now,
        progress=None,
    )
    .returning(*COLUMNS)
)
_BEAT = update(jobs).where(_held, jobs.c.cancel_requested.is_(False))
_BEAT = _BEAT.values(heartbeat_at=_now, lease_until=bindparam("b_lease_until"))
_BEAT_PROGRESS = _BEAT.values(progress=bindparam("b_progress", type_=jobs.c.progress.type))
_END = (
    update(jobs)
    .where(_held)
    .values(
        state=bindparam("b_state"),
        result=bindparam("b_result", type_=jobs.c.result.type),
        code=bindparam("b_code"),
        reason=bindparam("b_reason"),
        ended_at=_now,
        lease_until=None,
        progress=None,
    )
)
_RELEASE = update(jobs).where(_held, jobs.c.cancel_requested.is_(False))
_RELEASE = _RELEASE.values(
    state="Pending",
    lost=jobs.c.lost + bindparam("b_lost"),
    queued_at=_now,
    lease_until=None,
    started_at=None,
    worker=None,
    progress=None,
)


def submit(
    connection: Connection,
    owner: str,
    kind: str,
    request: Mapping[str, Any],
    *,
    now: float,
    id: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    spooled_bytes: int = 0,
) -> tuple[Job, bool]:
    """A new Pending job, or the one that this idempotency key has made already.

    Returns:
        The job, and whether it is new.

    Raises:
        IdempotencyConflictError: the key belongs to another request.
    """
    job = Job(
        id or new_id(),
        owner,
        kind,
        "Pending",
        0,
        now,
        dict(request),
        fingerprint=fingerprint,
        spooled_bytes=spooled_bytes,
    )
    row = _row(job) | {"queued_at": now, "idempotency_key": key}
    if key is None:
        connection.execute(insert(jobs), row)
        return job, True
    made = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    once = made(jobs).on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
    if connection.execute(once.values(row).returning(jobs.c.id)).first() is not None:
        return job, True
    same = and_(jobs.c.owner == owner, jobs.c.idempotency_key == key)
    found = Job(**connection.execute(select(*COLUMNS).where(same)).mappings().one())
    if found.fingerprint != fingerprint:
        raise IdempotencyConflictError(key)
    return found, False


def record(
    connection: Connection,
    owner: str,
    kind: str,
    request: Mapping[str, Any],
    *,
    now: float,
    started_at: float | None = None,
    result: Any = None,
    code: str | None = None,
    reason: str | None = None,
    id: str | None = None,
) -> Job:
    """A job that has ended already (Failed where there is a `code`), as one row."""
    started_at = now if started_at is None else started_at
    job = Job(
        id or new_id(),
        owner,
        kind,
        "Done" if code is None else "Failed",
        1,
        started_at,
        dict(request),
        started_at=started_at,
        ended_at=now,
        result=result,
        code=code,
        reason=reason,
    )
    connection.execute(insert(jobs), _row(job))
    return job


def get(connection: Connection, owner: str, id: str) -> Job | None:
    """A user's job; None where there is none, or it is another's."""
    row = connection.execute(_GET, {"b_id": id, "b_owner": owner}).mappings().one_or_none()
    return None if row is None else Job(**row)


def claim(
    connection: Connection,
    id: str,
    worker: str,
    *,
    now: float,
    lease_seconds: float,
    max_attempts: int,
) -> Job | None:
    """Take up a job that is Pending, or whose lease has run out; None where there is nothing to do.

    The job that is returned carries the number of the attempt, under which alone it can be ended.
    One that was lost `max_attempts` times, or is to be cancelled, is left to the sweep.
    """
    values = {
        "b_id": id,
        "b_worker": worker,
        "b_now": now,
        "b_lease_until": now + lease_seconds,
        "b_max_attempts": max_attempts,
    }
    row = connection.execute(_CLAIM, values).mappings().one_or_none()
    return None if row is None else Job(**row)


def heartbeat(
    connection: Connection,
    job: Job,
    *,
    now: float,
    lease_seconds: float,
    progress: Mapping[str, Any] | None = None,
) -> bool:
    """Renew the lease. False: the job is another's now, was cancelled or deleted; stop."""
    values = _mine(job, now) | {"b_lease_until": now + lease_seconds}
    if progress is None:
        return connection.execute(_BEAT, values).rowcount == 1
    return connection.execute(_BEAT_PROGRESS, values | {"b_progress": progress}).rowcount == 1


def complete(connection: Connection, job: Job, result: Any, *, now: float) -> bool:
    """Done, once. False: it is no longer this attempt's to end; the result is dropped."""
    return _end(connection, job, now, "Done", result=result)


def fail(connection: Connection, job: Job, code: str, reason: str, *, now: float) -> bool:
    """Failed, once, with a word for programs and a line for people."""
    return _end(connection, job, now, "Failed", code=code, reason=reason)


def _end(
    connection: Connection,
    job: Job,
    now: float,
    state: State,
    *,
    result: Any = None,
    code: str | None = None,
    reason: str | None = None,
) -> bool:
    values = {"b_state": state, "b_result": result, "b_code": code, "b_reason": reason}
    return connection.execute(_END, _mine(job, now) | values).rowcount == 1


def release(connection: Connection, job: Job, *, now: float, lost: bool = False) -> bool:
    """Hand a job back, Pending again, since its worker can't go on.

    Args:
        lost: whether that counts as one of its attempts; a worker that stops in order counts as
            none.

    Returns:
        False: it was not this attempt's any more, or is to be cancelled and was ended so.
    """
    values = _mine(job, now) | {"b_lost": int(lost)}
    if connection.execute(_RELEASE, values).rowcount == 1:
        return True
    fail(connection, job, CANCELLED, CANCELLED_REASON, now=now)
    return False


def cancel(connection: Connection, owner: str, id: str, *, now: float) -> Job | None:
    """Ask a job to stop: a Pending one is Failed (`cancelled`) at once, a Running one soon."""
    mine = and_(jobs.c.id == id, jobs.c.owner == owner)
    ended = {"state": "Failed", "code": CANCELLED, "reason": CANCELLED_REASON, "ended_at": now}
    connection.execute(update(jobs).where(mine, jobs.c.state == "Pending").values(ended))
    running = update(jobs).where(mine, jobs.c.state == "Running")
    connection.execute(running.values(cancel_requested=True))
    return get(connection, owner, id)


def remove(connection: Connection, owner: str, id: str) -> bool:
    """Delete a job in whatever state; a worker that still runs it can't bring it back."""
    mine = and_(jobs.c.id == id, jobs.c.owner == owner)
    return connection.execute(delete(jobs).where(mine)).rowcount == 1


def is_ended(job: Job) -> bool:
    """Whether nothing will change it any more."""
    return job.state in ENDED


def _mine(job: Job, now: float) -> dict[str, Any]:
    return {"b_id": job.id, "b_attempt": job.attempt, "b_now": now}


def _row(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}
