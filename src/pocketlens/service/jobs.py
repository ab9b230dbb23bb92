"""Jobs: what is true of each stands in one row, and each change is one conditional statement.

A worker holds a job by its lease, under the number of its attempt. What it reports is written only
where that attempt is still the row's, so a worker that was thought dead changes nothing, and a
job that was deleted stays deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

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


_COLUMNS = [jobs.c[name] for name in Job.__dataclass_fields__]


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
) -> tuple[Job, bool]:
    """A new Pending job, or the one that this idempotency key has made already.

    Returns:
        The job, and whether it is new.

    Raises:
        IdempotencyConflictError: the key belongs to another request.
    """
    row = {
        "id": id or new_id(),
        "owner": owner,
        "kind": kind,
        "state": "Pending",
        "attempt": 0,
        "created_at": now,
        "request": dict(request),
        "idempotency_key": key,
        "fingerprint": fingerprint,
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(jobs).values(row))
    except IntegrityError:
        if key is None:
            raise
        same = and_(jobs.c.owner == owner, jobs.c.idempotency_key == key)
        found = _one(connection, same)
        if found is None:
            raise
        if found.fingerprint != fingerprint:
            raise IdempotencyConflictError(key) from None
        return found, False
    made = get(connection, owner, str(row["id"]))
    assert made is not None
    return made, True


def get(connection: Connection, owner: str, id: str) -> Job | None:
    """A user's job; None where there is none, or it is another's."""
    return _one(connection, and_(jobs.c.id == id, jobs.c.owner == owner))


def claim(
    connection: Connection, id: str, worker: str, *, now: float, lease_seconds: float
) -> Job | None:
    """Take up a job that is Pending, or whose lease has run out; None where there is nothing to do.

    The job that is returned carries the number of the attempt, under which alone it can be ended.
    """
    free = or_(jobs.c.state == "Pending", and_(jobs.c.state == "Running", jobs.c.lease_until < now))
    values = {
        "state": "Running",
        "attempt": jobs.c.attempt + 1,
        "worker": worker,
        "lease_until": now + lease_seconds,
        "heartbeat_at": now,
        "started_at": now,
        "progress": None,
    }
    done = update(jobs).where(jobs.c.id == id, free).values(values).returning(*_COLUMNS)
    row = connection.execute(done).mappings().one_or_none()
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
    values: dict[str, Any] = {"heartbeat_at": now, "lease_until": now + lease_seconds}
    if progress is not None:
        values["progress"] = dict(progress)
    mine = and_(_held(job), jobs.c.cancel_requested.is_(False))
    return connection.execute(update(jobs).where(mine).values(values)).rowcount == 1


def complete(connection: Connection, job: Job, result: Any, *, now: float) -> bool:
    """Done, once. False: it is no longer this attempt's to end; the result is dropped."""
    return _end(connection, job, {"state": "Done", "result": result}, now)


def fail(connection: Connection, job: Job, code: str, reason: str, *, now: float) -> bool:
    """Failed, once, with a word for programs and a line for people."""
    return _end(connection, job, {"state": "Failed", "code": code, "reason": reason}, now)


def _end(connection: Connection, job: Job, values: Mapping[str, Any], now: float) -> bool:
    values = {**values, "ended_at": now, "lease_until": None, "progress": None}
    return connection.execute(update(jobs).where(_held(job)).values(values)).rowcount == 1


def cancel(connection: Connection, owner: str, id: str, *, now: float) -> Job | None:
    """Ask a job to stop: a Pending one is Failed (`cancelled`) at once, a Running one soon."""
    mine = and_(jobs.c.id == id, jobs.c.owner == owner)
    ended = {"state": "Failed", "code": "cancelled", "reason": "cancelled", "ended_at": now}
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


def _held(job: Job) -> Any:
    """The row, as long as this attempt has it."""
    return and_(jobs.c.id == job.id, jobs.c.state == "Running", jobs.c.attempt == job.attempt)


def _one(connection: Connection, where: Any) -> Job | None:
    row = connection.execute(select(*_COLUMNS).where(where)).mappings().one_or_none()
    return None if row is None else Job(**row)
