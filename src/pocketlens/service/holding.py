"""The jobs that this process works on: each is held by its lease, which a thread renews.

The thread has no other work, so a job keeps its lease however long it takes, unless the process
as a whole is stuck: then another worker takes the job up, and what this one reports is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Engine

from pocketlens.service import jobs
from pocketlens.service.context import Cancelled
from pocketlens.service.database import is_unavailable
from pocketlens.service.jobs import TIMEOUT, TIMEOUT_REASON, Job

#: Seconds between two writes of a job that tells of its progress, at least.
_PROGRESS_SECONDS: Final = 0.5
#: Seconds between two renewals, at most; so soon a job also hears that it was cancelled.
_RENEW_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


class Held:
    """A job of this process.

    Attributes:
        until: when it has taken too long, by the heart's clock.
        ends: it was cancelled, deleted, lost, took too long, or is wanted back.
        wanted_back: the worker stops, and the job should be handed back.
    """

    def __init__(self, job: Job, heart: Heart, limit_seconds: float) -> None:
        self.job = job
        self.until = heart.monotonic() + limit_seconds
        self.ends = threading.Event()
        self.wanted_back = False
        self.progress: Mapping[str, Any] | None = None
        self.written = heart.monotonic()  # the lease began then
        self._heart = heart

    def beat(self, progress: Mapping[str, Any] | None = None) -> None:
        """See `Context.beat`."""
        if progress is not None:
            self.progress = progress
        if self._heart.monotonic() - self.written >= _PROGRESS_SECONDS:
            self._heart.renew(self)
        if self.ends.is_set():
            raise Cancelled

    def hand_back(self) -> None:
        """Ask for its end; the next `beat` raises `Cancelled`."""
        self.wanted_back = True
        self.ends.set()


class Heart:
    """Renews the leases of all jobs of this process. Use it in a `with` block."""

    def __init__(
        self,
        engine: Engine,
        lease_seconds: float,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.monotonic = monotonic
        self._engine = engine
        self._lease_seconds = lease_seconds
        self._now = now
        self._held: set[Held] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def hold(self, job: Job, limit_seconds: float = float("inf")) -> Held:
        """Keep a job that was claimed just now; it has failed when it takes longer than that."""
        held = Held(job, self, limit_seconds)
        with self._lock:
            self._held.add(held)
        return held

    def let_go(self, held: Held) -> None:
        """Renew it no more."""
        with self._lock:
            self._held.discard(held)

    def held(self) -> list[Held]:
        """What this process works on."""
        with self._lock:
            return list(self._held)

    def is_stuck(self) -> bool:
        """Whether a job still computes one lease after it was told that it takes too long."""
        latest = self.monotonic() - self._lease_seconds
        return any(held.until < latest for held in self.held())

    def renew(self, held: Held) -> None:
        """Write that a job goes on, with its progress; notice where it is no longer ours."""
        progress = held.progress
        began = self.monotonic()
        try:
            with self._engine.begin() as connection:
                ours = jobs.heartbeat(
                    connection,
                    held.job,
                    now=self._now(),
                    lease_seconds=self._lease_seconds,
                    progress=progress,
                )
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("the lease of job %s can't be renewed at the moment", held.job.id)
            if self.monotonic() - held.written > self._lease_seconds:
                held.ends.set()  # another may have it by now
            return
        held.written = began
        if held.progress is progress:
            held.progress = None
        if not ours:
            held.ends.set()

    def _beat(self) -> None:
        while not self._stop.wait(min(self._lease_seconds / 4, _RENEW_SECONDS)):
            for held in self.held():
                if held.ends.is_set():
                    continue
                try:
                    if self.monotonic() < held.until:
                        self.renew(held)
                    else:
                        self._give_up(held)
                except Exception:  # a fault of ours: the lease runs out, the thread goes on
                    log.exception("the lease of job %s can't be renewed", held.job.id)

    def _give_up(self, held: Held) -> None:
        """End a job that hangs; whatever its thread reports later is dropped."""
        with self._engine.begin() as connection:
            jobs.fail(connection, held.job, TIMEOUT, TIMEOUT_REASON, now=self._now())
        log.error("job %s of kind %s takes too long", held.job.id, held.job.kind)
        held.ends.set()
