"""The worker: takes ids from the queue, claims their jobs, runs them and writes how they ended.

Each lane has threads of its own. A job ends in one statement that holds only while the job is this
attempt's; whatever happens before, it is taken up again, and whatever happens after, it has ended.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, StatementError

from pocketlens.core.predictor import available_cores
from pocketlens.service import jobs, kinds, spool
from pocketlens.service.context import Cancelled, Context, JobFailed
from pocketlens.service.database import is_full, is_unavailable, reading
from pocketlens.service.holding import Heart, Held
from pocketlens.service.jobs import CANCELLED, CANCELLED_REASON, Job
from pocketlens.service.queue import Queue
from pocketlens.service.settings import Settings
from pocketlens.service.storage import StorageFullError, StorageUnavailableError, is_out_of_room
from pocketlens.service.sweeping import sweep
from pocketlens.service.tables import jobs as jobs_table

#: Seconds that jobs have to end by themselves when the worker is asked to stop.
GRACE_SECONDS: Final = 20.0
#: Seconds between two tries while the database can't be used: at first, and at most.
_PAUSE: Final = (0.05, 2.0)
_TEND_SECONDS: Final = 60.0

INTERNAL_REASON: Final = "something went wrong in the service; its log says what"
FULL: Final = "storage_full"
FULL_REASON: Final = "no room is left where the service works; its operator has to make some"
UNAVAILABLE_REASON: Final = "what the service needs was out of reach, each time it was tried"

log = logging.getLogger(__name__)


class StuckError(RuntimeError):
    """A job hangs in this process; only a new process is rid of it."""


@dataclass(frozen=True)
class Parts:
    """What a worker works with."""

    settings: Settings
    database: Engine
    queue: Queue
    storage: Any
    models: Any


@dataclass(frozen=True)
class _Ending:
    state: Literal["Done", "Failed", "back"]
    result: Any = None
    code: str = ""
    reason: str = ""


def run_worker(
    parts: Parts,
    stop: threading.Event,
    *,
    tend: Callable[[], object] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Work until `stop` is set; then end or hand back the jobs at hand, and return.

    Args:
        tend: what is to be done each minute beside.
        grace_seconds: how long jobs at hand may go on.

    Raises:
        StuckError: a job hangs, so this process should end; the next one begins without it.
    """
    settings = parts.settings
    threads = {"quick": settings.workers or available_cores()}
    name = f"{socket.gethostname()[:40]}-{os.getpid()}"
    with Heart(parts.database, settings.lease_seconds) as heart:
        slots = [
            threading.Thread(
                target=_slot, args=(parts, heart, lane, name, stop), name=f"{lane}-{i}", daemon=True
            )
            for lane in settings.lanes or kinds.LANES
            for i in range(threads.get(lane, 1))
        ]
        for slot in slots:
            slot.start()
        log.info("worker %s takes jobs", name)
        _look_after(parts, heart, stop, tend)
        log.info("worker %s is asked to stop", name)
        stuck = heart.is_stuck()
        _hand_back(parts, heart, slots, grace_seconds)
    if stuck:
        raise StuckError("a job hangs")
    log.info("worker %s has stopped", name)


def _slot(parts: Parts, heart: Heart, lane: str, name: str, stop: threading.Event) -> None:
    """One job after the other, until `stop`, whatever becomes of any."""
    while not stop.is_set():
        try:
            id = _patiently(lambda: parts.queue.get(lane, 1.0, stop), stop)
            job = None if id is None else _patiently(partial(_claim, parts, id, name), stop)
        except Exception:  # a damaged queue, say; without this the worker would live and do nothing
            log.exception("no job can be taken from lane %s", lane)
            stop.wait(_PAUSE[1])
            continue
        if job is not None:
            try:
                _work(parts, heart, job, stop)
            except Exception:  # a fault of ours; the job's lease runs out, and the slot goes on
                log.exception("job %s was left as it is", job.id)


def _claim(parts: Parts, id: str, name: str) -> Job | None:
    settings = parts.settings
    with parts.database.begin() as connection:
        return jobs.claim(
            connection,
            id,
            name,
            now=time.time(),
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
        )


def _work(parts: Parts, heart: Heart, job: Job, stop: threading.Event) -> None:
    """Run a job that was claimed, and write its end."""
    began = time.monotonic()
    limit = float("inf")
    with suppress(LookupError):  # of a kind that isn't known; running it will say so
        limit = kinds.LIMIT_SECONDS.get(kinds.lane(job.kind), limit)
    held = heart.hold(job, limit)
    try:
        ending = _run(parts, held)
        ended = _patiently(lambda: _end(parts, job, ending), stop, always=True)
    finally:
        heart.let_go(held)
    seconds = round(time.monotonic() - began, 3)
    about = {"job": job.id, "kind": job.kind, "attempt": job.attempt, "seconds": seconds}
    if not ended:
        log.info("job %s is not this worker's any more", job.id, extra=about)
        _drop_deleted(parts, job.id)
    elif ending.state == "back":
        log.info("job %s is handed back", job.id, extra=about)
        if not ending.code:  # else it waits for the sweep, and so for better times
            parts.queue.put(job.id, job.kind)
    else:
        log.info("job %s: %s", job.id, f"{ending.state} {ending.code}".rstrip(), extra=about)
        if job.request.get("files"):
            _drop(parts, job.id)


def _run(parts: Parts, held: Held) -> _Ending:
    job = held.job
    context = Context(
        parts.settings,
        parts.database,
        parts.storage,
        parts.models,
        logging.getLogger(f"pocketlens.service.kinds.{job.kind}"),
        held.beat,
    )
    try:
        return _Ending("Done", result=kinds.load(job.kind).run(job, context))
    except JobFailed as failed:
        return _Ending("Failed", code=failed.code, reason=failed.reason)
    except Cancelled:
        if held.wanted_back:
            return _Ending("back")
        return _Ending("Failed", code=CANCELLED, reason=CANCELLED_REASON)
    except Exception as error:
        if is_unavailable(error) or isinstance(error, StorageUnavailableError):
            log.warning("job %s can't go on now: %s", job.id, type(error).__name__)
            if job.lost + 1 < parts.settings.max_attempts:
                return _Ending("back", code="unavailable")
            if is_full(error) or isinstance(error, StorageFullError):
                return _Ending("Failed", code=FULL, reason=FULL_REASON)
            return _Ending("Failed", code="unavailable", reason=UNAVAILABLE_REASON)
        if is_out_of_room(error):  # it would take hours again to fill the same disk
            log.warning("job %s ran out of room: %s", job.id, error)
            return _Ending("Failed", code=FULL, reason=FULL_REASON)
        log.exception("job %s of kind %s failed by a fault of ours", job.id, job.kind)
        return _Ending("Failed", code="internal", reason=INTERNAL_REASON)


def _end(parts: Parts, job: Job, ending: _Ending) -> bool:
    now = time.time()
    with parts.database.begin() as connection:
        if ending.state == "Done":
            try:
                return jobs.complete(connection, job, ending.result, now=now)
            except StatementError as error:
                if isinstance(error, DBAPIError):
                    raise
                # What the kind gave is no JSON; no statement was sent.
                log.exception("the result of job %s can't be written", job.id)
                return jobs.fail(connection, job, "internal", INTERNAL_REASON, now=now)
        if ending.state == "Failed":
            return jobs.fail(connection, job, ending.code, ending.reason, now=now)
        return jobs.release(connection, job, now=now, lost=ending.code == "unavailable")


def _look_after(
    parts: Parts, heart: Heart, stop: threading.Event, tend: Callable[[], object] | None
) -> None:
    """Sweep, and tend the house, until `stop`; set it where a job hangs."""
    settings = parts.settings
    pause = min(settings.lease_seconds / 4, 15.0)
    tended = float("-inf")
    while True:
        try:
            with parts.database.begin() as connection:
                swept = sweep(
                    connection,
                    now=time.time(),
                    lease_seconds=settings.lease_seconds,
                    max_attempts=settings.max_attempts,
                )
            for id, kind in swept.requeue:
                log.info("job %s was lost, and is put into the queue again", id)
                with suppress(LookupError):  # of a kind that only newer workers know
                    parts.queue.put(id, kind)
            for id in swept.ended:
                log.warning("job %s has Failed: its worker was lost", id)
                _drop(parts, id)
            if tend is not None and time.monotonic() - tended >= _TEND_SECONDS:
                tended = time.monotonic()
                tend()
        except Exception as error:
            if is_unavailable(error) or isinstance(error, StorageUnavailableError):
                log.warning("nothing can be swept now: %s", type(error).__name__)
            else:
                log.exception("sweeping failed")
        if heart.is_stuck():
            stop.set()
        if stop.wait(pause):
            return


def _hand_back(
    parts: Parts, heart: Heart, slots: list[threading.Thread], grace_seconds: float
) -> None:
    """Let jobs end, or give them back: long ones at once, the others when their time is over."""
    until = time.monotonic() + grace_seconds
    for held in heart.held():
        if kinds.lane(held.job.kind) == "long":
            held.hand_back()
    for slot in slots:
        slot.join(max(0.0, until - time.monotonic() - grace_seconds / 4))
    for held in heart.held():
        held.hand_back()
    for slot in slots:
        slot.join(max(0.0, until - time.monotonic()))
    for held in heart.held():  # what doesn't listen; its thread dies with the process
        with suppress(Exception), parts.database.begin() as connection:
            if jobs.release(connection, held.job, now=time.time()):
                log.warning("job %s didn't stop, and is handed back", held.job.id)
        parts.queue.put(held.job.id, held.job.kind)


def _drop(parts: Parts, id: str) -> None:
    try:
        spool.drop(parts.storage, id)
    except StorageUnavailableError:
        log.warning("the files of job %s are left for maintenance", id)


def _drop_deleted(parts: Parts, id: str) -> None:
    """Remove what a job has written since it was deleted: with it all that belonged to it went."""
    try:
        with reading(parts.database) as connection:
            known = select(jobs_table.c.id).where(jobs_table.c.id == id)
            if connection.execute(known).first() is None:
                parts.storage.delete_private(f"results/{id}")
    except Exception as error:
        if not is_unavailable(error) and not isinstance(error, StorageUnavailableError):
            raise
        log.warning("the results of job %s are left for maintenance", id)


def _patiently(work: Callable[[], Any], stop: threading.Event, *, always: bool = False) -> Any:
    """What `work` gives, tried again while the database can't be used.

    Args:
        always: go on trying when the worker is asked to stop. Otherwise None then.
    """
    pause = _PAUSE[0]
    while True:
        try:
            return work()
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("the database or the queue is out of reach: %s", type(error).__name__)
        if always:
            time.sleep(pause)
        elif stop.wait(pause):
            return None
        pause = min(2 * pause, _PAUSE[1])
