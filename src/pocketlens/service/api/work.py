"""Jobs from requests: the durable way, and waiting for an answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import Header, Query, Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from pocketlens.service import blobs, jobs, spool
from pocketlens.service.api.problems import Problem
from pocketlens.service.api.state import Service
from pocketlens.service.api.views import job_view, json_response
from pocketlens.service.database import reading
from pocketlens.service.job_lists import waiting_bytes
from pocketlens.service.jobs import Job
from pocketlens.service.settings import User
from pocketlens.service.tables import new_id

_ID: Final = re.compile(r"[0-9a-f]{32}")
#: Seconds between two looks at a row: at first, and at most.
_LOOK: Final = (0.02, 0.25)

Wait = Annotated[
    float,
    Query(
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds to wait for the answer itself; 0 answers with the job at once.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A request with a key that came before gives the job it made then.",
    ),
]


def fingerprint(kind: str, parameters: Mapping[str, Any], files: Sequence[bytes]) -> str:
    """What tells whether two requests of one idempotency key are the same."""
    digests = [hashlib.sha256(data).hexdigest() for data in files]
    text = json.dumps([kind, parameters, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def submit(
    service: Service,
    user: User,
    kind: str,
    parameters: Mapping[str, Any],
    files: Sequence[bytes] = (),
    *,
    key: str | None = None,
) -> Job:
    """A durable job: its files in the spool, then its row, then its id in the queue.

    Whatever fails in between leaves at most files that maintenance takes away, or a row that the
    workers' sweep finds.

    Raises:
        Problem: 422, the idempotency key came with another request before; 429, too much of this
            user waits already.
    """
    size = sum(map(len, files))
    seal = None if key is None else fingerprint(kind, parameters, files)
    id = new_id()
    names = spool.put(service.storage, id, files) if files else []
    try:
        with service.database.begin() as connection:
            if size:  # one after the other, so that of many at once each counts those before it
                blobs.lock(connection, user.name)
            job, is_new = jobs.submit(
                connection,
                user.name,
                kind,
                {**parameters, "files": list(names)},
                now=time.time(),
                id=id,
                key=key,
                fingerprint=seal,
                spooled_bytes=size,
            )
            if is_new and size:
                _refuse_beyond(connection, user.name, service.settings.max_waiting_bytes)
    except jobs.IdempotencyConflictError:
        spool.drop(service.storage, id)
        raise Problem(
            422, "idempotency_key_reused", "this Idempotency-Key came with another request before"
        ) from None
    except BaseException:
        spool.drop(service.storage, id)
        raise
    if is_new:
        service.queue.put(job.id, kind)
    elif files:
        spool.drop(service.storage, id)
    return job


def _refuse_beyond(connection: Connection, owner: str, most: int) -> None:
    if waiting_bytes(connection, owner) > most:
        raise Problem(
            429,
            "too_much_waiting",
            f"more than {most / 1e6:g} MB would wait for an answer; ask again when jobs have ended",
            headers={"Retry-After": "10"},
        )


def find(service: Service, user: User, id: str) -> Job | None:
    """A user's job; None for what is no id at all, too."""
    if not _ID.fullmatch(id):  # PostgreSQL would refuse a text with NUL
        return None
    with reading(service.database) as connection:
        return jobs.get(connection, user.name, id)


async def wait_for(service: Service, user: User, job: Job, seconds: float) -> Job | None:
    """The job once it has ended, or as it is when the time is over; None: deleted meanwhile.

    The time is over too when the server stops: the job goes on without it.
    """
    until = time.monotonic() + seconds
    pause = _LOOK[0]
    found: Job | None = job
    while found is not None and not jobs.is_ended(found):
        left = until - time.monotonic()
        if left <= 0 or service.stopping.is_set():
            break
        await asyncio.sleep(min(pause, left))
        pause = min(1.5 * pause, _LOOK[1])
        found = await run_in_threadpool(find, service, user, job.id)
    return found


async def job_answer(service: Service, user: User, job: Job, wait: float) -> Response:
    """202 with the job, or what it came to where it ended within `wait` seconds."""
    found = await wait_for(service, user, job, wait) if wait > 0 else job
    if found is None:
        raise Problem(410, "job_deleted", "the job was deleted meanwhile", job_id=job.id)
    where = f"/v1/jobs/{found.id}"
    if wait > 0 and found.state == "Done":
        return json_response(
            {"job_id": found.id, "state": "Done", "result": found.result}, Location=where
        )
    if wait > 0 and found.state == "Failed":
        raise failed(found.id, found.code or "internal", found.reason or "it failed")
    return json_response({"job_id": found.id, "state": found.state}, 202, Location=where)


def failed(job_id: str, code: str, reason: str) -> Problem:
    """The answer of who waited for a job that failed: 422, or 500 where it was a fault of ours."""
    return Problem(500 if code == "internal" else 422, code, reason, job_id=job_id)


def view_of(job: Job | None) -> Response:
    """A job, or 404.

    Raises:
        Problem: there is none of this user.
    """
    if job is None:
        raise Problem(404, "not_found", "there is no such job")
    return json_response(job_view(job))
