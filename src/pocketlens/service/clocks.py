"""Whether the wall clock can be believed enough to delete by it.

A clock that jumps makes everything look old at once. So maintenance writes down when it ran, and
where that doesn't fit together, nothing is deleted by age for a day, in which people or a time
server can mend the clock.
"""

from __future__ import annotations

import time
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from pocketlens.service.tables import blobs, clock, comparisons, current, jobs, models, promotions

DAY: Final = 86_400.0
#: What clocks of several machines, and time servers that set them, differ by.
TOLERANCE: Final = 300.0
_WALL: Final = "wall"
_LATEST: Final = "latest"

#: Of this process: the wall and the monotonic clock, as they were last seen together.
_last: WeakKeyDictionary[Engine, tuple[float, float]] = WeakKeyDictionary()


def uptime() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def is_trusted(engine: Engine, now: float, monotonic: float) -> bool:
    """Whether things may be deleted by age, at this moment of the wall clock.

    They may not for a day after the clock was set back, or forward while this process watched, or
    after more than a day in which nobody did. (A clock that is set forward by less while nothing
    runs looks like a night, and is believed.)

    Args:
        now: seconds since 1970 by the wall clock.
        monotonic: as `uptime` gives it.
    """
    before = _last.get(engine)
    _last[engine] = (now, monotonic)
    with engine.begin() as connection:
        row = _row(connection, _WALL)
        latest = _row(connection, _LATEST)
        if row is None or latest is None:
            _begin(connection, now)
            return False
        drift = 0.0 if before is None else (now - before[0]) - (monotonic - before[1])
        forward = drift > TOLERANCE or now - row.seen_at > DAY
        back = drift < -TOLERANCE or now < row.seen_at - TOLERANCE
        if forward and row.seen_at < latest.seen_at - TOLERANCE:
            _redate(connection, row.trusted_from - DAY, row.seen_at, now)
        trusted_from = now + DAY if forward or back else row.trusted_from
        _write(connection, _WALL, now, trusted_from)
        if trusted_from <= now > latest.seen_at:
            _write(connection, _LATEST, now, trusted_from)
    return bool(now >= trusted_from)


def _begin(connection: Connection, now: float) -> None:
    try:
        with connection.begin_nested():
            for slot in (_WALL, _LATEST):
                values = {"slot": slot, "seen_at": now, "trusted_from": now + DAY}
                connection.execute(insert(clock).values(**values))
    except IntegrityError:  # another worker's first look, at this moment
        pass


def _redate(connection: Connection, first: float, last: float, now: float) -> None:
    """What was written while the clock was behind is from now on, not from long ago."""
    for column in (blobs.c.used_at, jobs.c.ended_at):
        wrong = column.between(first - TOLERANCE, last + TOLERANCE)
        connection.execute(update(column.table).where(wrong).values({column: now}))
    # Which came after which must stay, and which promotion made the current model current.
    for column in (
        *(models.c.created_at, models.c.retired_at, comparisons.c.created_at),
        *(promotions.c.at, current.c.changed_at),
    ):
        wrong = column.between(first - TOLERANCE, last + TOLERANCE)
        later = {column: column + (now - last)}
        connection.execute(update(column.table).where(wrong).values(later))


def _row(connection: Connection, slot: str) -> Any:
    return connection.execute(
        select(clock.c.seen_at, clock.c.trusted_from).where(clock.c.slot == slot).with_for_update()
    ).one_or_none()


def _write(connection: Connection, slot: str, seen_at: float, trusted_from: float) -> None:
    row = update(clock).where(clock.c.slot == slot)
    connection.execute(row.values(seen_at=seen_at, trusted_from=trusted_from))
