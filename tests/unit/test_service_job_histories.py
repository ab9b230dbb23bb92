"""Any order of what workers, users and the sweep do: a job ends at most once, and by its holder.

Against a plain model of what should be true, on every database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select

from pocketlens.service import jobs
from pocketlens.service.database import open_database
from pocketlens.service.jobs import Job
from pocketlens.service.migrate import migrate
from pocketlens.service.settings import Settings
from pocketlens.service.sweeping import sweep
from pocketlens.service.tables import jobs as table
from support.databases import KINDS, database_url

LEASE, MOST = 10.0, 3


@dataclass
class Model:
    """What should be true of a job; `state` is None once it was deleted."""

    state: str | None = "Pending"
    attempt: int = 0
    lost: int = 0
    lease_until: float = 0.0
    cancel: bool = False
    code: str | None = None
    result: Any = None

    def is_held_by(self, claim: Job) -> bool:
        return self.state == "Running" and self.attempt == claim.attempt

    def has_run_out(self, now: float) -> bool:
        return self.state == "Running" and self.lease_until < now

    def end(self, state: str, code: str | None = None, result: Any = None) -> None:
        self.state, self.code, self.result = state, code, result


class Histories(RuleBasedStateMachine):
    """Users, three workers and the clock, in any order."""

    connect: Callable[[], Connection]
    ids = Bundle("ids")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.connection = self.connect()
        self.transaction = self.connection.begin()
        self.now = 1000.0
        self.models: dict[str, Model] = {}
        self.ends: Counter[str] = Counter()
        self.seen_ended: dict[str, Any] = {}
        self.steps = 0

    def teardown(self) -> None:
        self.nothing_is_forgotten()
        self.transaction.rollback()
        self.connection.close()

    @precondition(lambda self: len(self.models) < 3)  # few jobs, so that much happens to each
    @rule(target=ids)
    def submit(self) -> str:
        job, _ = jobs.submit(self.connection, "ann", "predict", {}, now=self.now)
        self.models[job.id] = Model()
        return job.id

    @rule(target=claims, id=ids, worker=st.sampled_from("abc"))
    def claim(self, id: str, worker: str) -> Any:
        return self._claim(id, worker)

    @rule(target=claims, claim=claims)
    def take_over(self, claim: Job) -> Any:
        self.now += LEASE + 1
        return self._claim(claim.id, "d")

    def _claim(self, id: str, worker: str) -> Any:
        model = self.models[id]
        free = model.has_run_out(self.now) and model.lost + 1 < MOST and not model.cancel
        found = jobs.claim(
            self.connection, id, worker, now=self.now, lease_seconds=LEASE, max_attempts=MOST
        )
        assert (found is not None) == (model.state == "Pending" or free)
        if found is None:
            return multiple()
        model.lost += model.state == "Running"
        model.state, model.attempt = "Running", model.attempt + 1
        model.lease_until = self.now + LEASE
        assert found.attempt == model.attempt
        return found

    @rule(claim=claims, progress=st.none() | st.just({"step": 1}))
    def heartbeat(self, claim: Job, progress: Any) -> None:
        model = self.models[claim.id]
        mine = model.is_held_by(claim) and not model.cancel
        found = jobs.heartbeat(
            self.connection, claim, now=self.now, lease_seconds=LEASE, progress=progress
        )
        assert found == mine
        if mine:
            model.lease_until = self.now + LEASE

    @precondition(lambda self: self.steps % 2 == 0)
    @rule(claim=claims, how=st.sampled_from(("complete", "fail")))
    def end(self, claim: Job, how: str) -> None:
        model = self.models[claim.id]
        mine = model.is_held_by(claim)
        if how == "complete":
            found = jobs.complete(self.connection, claim, {"n": claim.attempt}, now=self.now)
        else:
            found = jobs.fail(self.connection, claim, "bad", "it is bad", now=self.now)
        assert found == mine
        self.ends[claim.id] += found
        if mine and how == "complete":
            model.end("Done", result={"n": claim.attempt})
        elif mine:
            model.end("Failed", "bad")

    @precondition(lambda self: self.steps % 3 == 0)
    @rule(claim=consumes(claims), lost=st.booleans())
    def release(self, claim: Job, lost: bool) -> None:
        model = self.models[claim.id]
        mine = model.is_held_by(claim)
        found = jobs.release(self.connection, claim, now=self.now, lost=lost)
        assert found == (mine and not model.cancel)
        if found:
            model.state, model.lost = "Pending", model.lost + lost
        elif mine:
            model.end("Failed", "cancelled")
            self.ends[claim.id] += 1

    @precondition(lambda self: self.steps % 3 == 0)  # seldom, since little happens after
    @rule(id=ids)
    def cancel(self, id: str) -> None:
        model = self.models[id]
        found = jobs.cancel(self.connection, "ann", id, now=self.now)
        assert (found is None) == (model.state is None)
        if model.state == "Pending":
            model.end("Failed", "cancelled")
            self.ends[id] += 1
        elif model.state == "Running":
            model.cancel = True

    @precondition(lambda self: self.steps % 11 == 0)
    @rule(id=ids)
    def remove(self, id: str) -> None:
        there = self.models[id].state is not None
        assert jobs.remove(self.connection, "ann", id) == there
        self.models[id].state = None

    @rule(seconds=st.sampled_from((0.5, 11.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        swept = sweep(self.connection, now=self.now, lease_seconds=LEASE, max_attempts=MOST)
        gone = {
            id
            for id, model in self.models.items()
            if model.has_run_out(self.now) and (model.cancel or model.lost + 1 >= MOST)
        }
        assert set(swept.ended) == gone
        for id in gone:
            model = self.models[id]
            model.end("Failed", "cancelled" if model.cancel else "worker_lost")
            model.lost += 1
            self.ends[id] += 1
        for id, _ in swept.requeue:
            model = self.models[id]
            assert model.state == "Pending" or model.has_run_out(self.now)

    @invariant()
    def count(self) -> None:
        self.steps += 1

    @invariant()
    def the_rows_are_as_they_should_be(self) -> None:
        rows = {row.id: row for row in self.connection.execute(select(table))}
        assert set(rows) == {id for id, model in self.models.items() if model.state is not None}
        for id, row in rows.items():
            model = self.models[id]
            found = (row.state, row.attempt, row.lost, row.code, row.result)
            assert found == (model.state, model.attempt, model.lost, model.code, model.result)
            ended = row.state in ("Done", "Failed")
            assert self.ends[id] == ended, "ended once, or not yet"
            assert (row.ended_at is not None) == ended
            if ended:  # and then nothing of it changes any more
                assert self.seen_ended.setdefault(id, tuple(row)) == tuple(row)

    def nothing_is_forgotten(self) -> None:
        """Whatever hasn't ended is held by a lease, or the sweep gets to it."""
        late = self.now + 100 * LEASE
        swept = sweep(self.connection, now=late, lease_seconds=LEASE, max_attempts=MOST)
        reached = {id for id, _ in swept.requeue} | set(swept.ended)
        assert reached == {
            id for id, model in self.models.items() if model.state in ("Pending", "Running")
        }


@pytest.fixture(params=KINDS)
def connect(request: Any, tmp_path: Path) -> Iterator[Callable[[], Connection]]:
    with ExitStack() as stack:
        url = stack.enter_context(database_url(request.param, tmp_path))
        engine = open_database(Settings(None, tmp_path, database=url).database_url)
        stack.callback(engine.dispose)
        migrate(engine)
        yield engine.connect


def test_every_history_ends_each_job_at_most_once(connect: Callable[[], Connection]) -> None:
    machine = type("Machine", (Histories,), {"connect": staticmethod(connect)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),  # to find the shortest takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
