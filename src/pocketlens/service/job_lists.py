"""A user's jobs, page by page, the newest first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, func, or_, select

from pocketlens.service.jobs import COLUMNS, Job
from pocketlens.service.tables import ENDED, State, jobs

#: What a page shows of each job; results may be large, and have a request of their own.
_SHOWN: Final = [column for column in COLUMNS if column.name not in ("result", "request")]


class CursorError(ValueError):
    """What a client gave as a cursor was never one."""


@dataclass(frozen=True)
class Page:
    """Jobs without request and result, and the cursor of the next page; None: it was the last."""

    jobs: list[Job]
    next: str | None


def page(
    connection: Connection,
    owner: str,
    *,
    state: State | None = None,
    kind: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Page:
    """Jobs of a user, the newest first; those made meanwhile don't move what comes after.

    Args:
        after: the cursor of the page before.

    Raises:
        CursorError: `after` is no cursor.
    """
    assert limit >= 1
    wanted = select(*_SHOWN).where(jobs.c.owner == owner)
    if state is not None:
        wanted = wanted.where(jobs.c.state == state)
    if kind is not None:
        wanted = wanted.where(jobs.c.kind == kind)
    if after is not None:
        created_at, id = _read(after)
        older = and_(jobs.c.created_at == created_at, jobs.c.id < id)
        wanted = wanted.where(or_(jobs.c.created_at < created_at, older))
    ordered = wanted.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit + 1)
    rows = connection.execute(ordered).mappings().all()
    found = [Job(**row, request={}) for row in rows[:limit]]
    return Page(found, _cursor(found[-1]) if len(rows) > limit else None)


def _cursor(job: Job) -> str:
    return f"{job.created_at!r}_{job.id}"


def _read(cursor: str) -> tuple[float, str]:
    number, _, id = cursor.partition("_")
    try:
        created_at = float(number)
    except ValueError:
        created_at = math.nan
    if not math.isfinite(created_at) or not id.isalnum() or not id.isascii():
        raise CursorError(cursor)
    return created_at, id


def waiting_bytes(connection: Connection, owner: str) -> int:
    """What a user's jobs that haven't ended came with, and is kept until they end."""
    total = select(func.coalesce(func.sum(jobs.c.spooled_bytes), 0))
    waiting = total.where(jobs.c.owner == owner, jobs.c.state.not_in(ENDED))
    return int(connection.execute(waiting).scalar_one())
