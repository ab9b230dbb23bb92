"""Find the jobs that nobody works on: their worker fell silent, or the queue lost their id.

Each worker sweeps now and then. What is lost is put into the queue again; what was lost too often
has ended. Many sweeps at once do no harm, since each row is changed where it is still so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, case, func, literal, or_, select, update

from pocketlens.service.jobs import CANCELLED, CANCELLED_REASON, LOST_REASON, WORKER_LOST
from pocketlens.service.tables import jobs

#: Jobs that one sweep puts back; the next one takes the rest.
MOST: Final = 1_000
#: A job that waits is put into the queue again after twice the time each time, up to this many
#: leases, so that a long queue isn't filled with the same ids.
_LONGEST_WAIT: Final = 16


@dataclass(frozen=True)
class Swept:
    """`requeue`: ids and kinds to put into the queue; `ended`: ids that are Failed now."""

    requeue: list[tuple[str, str]]
    ended: list[str]


def sweep(connection: Connection, *, now: float, lease_seconds: float, max_attempts: int) -> Swept:
    """End or put back what nobody works on; the caller puts the ids into the queue after commit.

    Args:
        lease_seconds: how long a job may be Pending before its id is thought lost.
    """
    ran_out = and_(jobs.c.state == "Running", jobs.c.lease_until < now)
    cancelled = jobs.c.cancel_requested.is_(True)
    ended = (
        update(jobs)
        .where(ran_out, or_(cancelled, jobs.c.lost + 1 >= max_attempts))
        .values(
            state="Failed",
            code=case((cancelled, CANCELLED), else_=WORKER_LOST),
            reason=case((cancelled, CANCELLED_REASON), else_=LOST_REASON),
            lost=jobs.c.lost + 1,
            ended_at=now,
            lease_until=None,
            progress=None,
        )
        .returning(jobs.c.id)
    )
    gone = list(connection.scalars(ended))
    waited = _between(connection, jobs.c.queued_at - jobs.c.created_at, lease_seconds)
    queued_long_ago = func.coalesce(jobs.c.queued_at, 0.0) + waited < now
    running_again = func.coalesce(jobs.c.queued_at, 0.0) + lease_seconds < now
    lost = or_(
        and_(jobs.c.state == "Pending", queued_long_ago),
        and_(ran_out, or_(running_again, jobs.c.queued_at < jobs.c.started_at)),
    )
    chosen = select(jobs.c.id).where(lost).order_by(jobs.c.created_at).limit(MOST)
    again = update(jobs).where(jobs.c.id.in_(chosen), lost).values(queued_at=now)
    rows = connection.execute(again.returning(jobs.c.id, jobs.c.kind, jobs.c.created_at)).all()
    oldest_first = sorted(rows, key=lambda row: row.created_at)
    return Swept([(row.id, row.kind) for row in oldest_first], gone)


def _between(connection: Connection, value: Any, lease_seconds: float) -> Any:
    """A value, at least one lease and at most so many."""
    postgres = connection.dialect.name == "postgresql"
    greatest, least = ("greatest", "least") if postgres else ("max", "min")
    at_least = getattr(func, greatest)(func.coalesce(value, 0.0), literal(lease_seconds))
    return getattr(func, least)(at_least, literal(_LONGEST_WAIT * lease_seconds))
