"""Photos that are counted: a row stands only for a file that lies there, within its user's quota.

A user's row of `usage` is the lock: writing, counting and removing of that user's photos go one
after the other, whichever process they happen in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from pocketlens.service.database import reading
from pocketlens.service.storage import Storage, StorageUnavailableError, content_name
from pocketlens.service.tables import blobs, datasets, samples, usage

_BATCH: Final = 100


class QuotaExceededError(StorageUnavailableError):
    """A user would store more than allowed; 507."""

    code = "quota_exceeded"
    status = 507


def put(
    engine: Engine,
    storage: Storage,
    owner: str,
    data: bytes,
    suffix: str,
    *,
    quota_bytes: int | None,
    now: float,
    then: Callable[[Connection, str], None] | None = None,
) -> str:
    """Store a photo and count it, once for each content and user.

    Args:
        data: as `uploads.reencode` made it.
        quota_bytes: of all that the user stores; None: no limit.
        then: what belongs into the same transaction, given the photo's name.

    Returns:
        The photo's name.

    Raises:
        QuotaExceededError: there is no room for it; nothing is stored.
        StorageUnavailableError: it can't be written; nothing is counted.
    """
    name = content_name(data, suffix)
    mine = _mine(owner, name)
    with reading(engine) as connection:
        is_known = connection.execute(select(blobs.c.name).where(mine)).first() is not None
        used = connection.scalar(select(usage.c.size_bytes).where(usage.c.owner == owner)) or 0
    if not is_known:
        if quota_bytes is not None and used + len(data) > quota_bytes:
            raise QuotaExceededError(_full(quota_bytes))
        storage.put_photo(owner, name, data)
    with engine.begin() as connection:
        lock(connection, owner)
        fits = _count(connection, owner, name, len(data), quota_bytes, now)
        if fits:
            if not storage.has_photo(owner, name):  # removed since, by who held the lock before
                storage.put_photo(owner, name, data)
            if then is not None:
                then(connection, name)
    if not fits:
        assert quota_bytes is not None
        discard(engine, storage, owner, [name])
        raise QuotaExceededError(_full(quota_bytes))
    return name


def _count(
    connection: Connection, owner: str, name: str, size: int, quota_bytes: int | None, now: float
) -> bool:
    """Make the row of a photo unless it is there; False where the quota has no room."""
    known = update(blobs).where(_mine(owner, name)).values(used_at=now)
    if connection.execute(known).rowcount:
        return True
    room = usage.c.owner == owner
    if quota_bytes is not None:
        room = and_(room, usage.c.size_bytes + size <= quota_bytes)
    counted = update(usage).where(room).values(size_bytes=usage.c.size_bytes + size)
    if not connection.execute(counted).rowcount:
        return False
    row = {"owner": owner, "name": name, "size_bytes": size, "created_at": now, "used_at": now}
    connection.execute(insert(blobs).values(row))
    return True


def release(connection: Connection, owner: str, names: Collection[str]) -> tuple[list[str], int]:
    """Take the rows of photos away that no sample of the user needs any more.

    The files go afterwards, by `discard`; where that doesn't happen, `maintenance` finds them.

    Returns:
        The names, and how many bytes they counted.
    """
    lock(connection, owner)
    needed = (
        select(samples.c.id)
        .join(datasets, datasets.c.id == samples.c.dataset_id)
        .where(datasets.c.owner == owner, samples.c.blob == blobs.c.name)
    )
    gone: list[str] = []
    size = 0
    for batch in _batches(names):
        free = and_(blobs.c.owner == owner, blobs.c.name.in_(batch), ~needed.exists())
        removed = delete(blobs).where(free).returning(blobs.c.name, blobs.c.size_bytes)
        for name, size_bytes in connection.execute(removed):
            gone.append(name)
            size += size_bytes
    less = {"size_bytes": usage.c.size_bytes - size}
    connection.execute(update(usage).where(usage.c.owner == owner).values(less))
    return gone, size


def discard(engine: Engine, storage: Storage, owner: str, names: Iterable[str]) -> None:
    """Remove the files of photos that have no row; one that was stored again stays."""
    for batch in _batches(names):
        with engine.begin() as connection:
            lock(connection, owner)
            here = and_(blobs.c.owner == owner, blobs.c.name.in_(batch))
            counted = set(connection.scalars(select(blobs.c.name).where(here)))
            storage.delete_photos(owner, [name for name in batch if name not in counted])


def used_bytes(connection: Connection, owner: str) -> tuple[int, int]:
    """How many photos a user stores, and their bytes."""
    number = connection.scalar(
        select(func.count()).select_from(blobs).where(blobs.c.owner == owner)
    )
    size = connection.scalar(select(usage.c.size_bytes).where(usage.c.owner == owner))
    return number or 0, size or 0


def lock(connection: Connection, owner: str) -> None:
    """Hold a user's row of `usage` until the transaction ends."""
    row = select(usage.c.owner).where(usage.c.owner == owner).with_for_update()
    if connection.execute(row).first() is not None:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(usage).values(owner=owner, size_bytes=0))
    except IntegrityError:  # another has just made it
        connection.execute(row).one()


def _mine(owner: str, name: str) -> ColumnElement[bool]:
    return and_(blobs.c.owner == owner, blobs.c.name == name)


def _full(quota_bytes: int) -> str:
    return (
        f"this would exceed the {quota_bytes:,} bytes that one user may store; "
        "delete a data set, or ask for more room"
    )


def _batches(names: Iterable[str]) -> Iterable[list[str]]:
    every = sorted(set(names))
    return (every[i : i + _BATCH] for i in range(0, len(every), _BATCH))
