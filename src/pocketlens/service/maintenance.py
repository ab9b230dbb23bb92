"""Nothing lies around for ever: what is old goes, and what nobody knows of, with an account of it.

Rows go first, in the transaction that writes the account; files follow. Whoever is killed between
leaves files without a row, which a later run finds. Each step is safe with several at once.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, and_, delete, select

from pocketlens.service import blobs, datasets, retiring
from pocketlens.service.clocks import DAY, is_trusted
from pocketlens.service.database import reading
from pocketlens.service.settings import KEEP_ANSWERS_DAYS, Settings
from pocketlens.service.storage import Storage, owner_folder
from pocketlens.service.tables import ENDED, deletions, jobs, samples, usage
from pocketlens.service.tables import blobs as photos
from pocketlens.service.tables import datasets as sets

#: Rows that one transaction deletes, and transactions of one run; the next run goes on.
_BATCH: Final = 500
_MOST: Final = 20
#: How often private files and work in progress are looked through, and all photos.
_PRIVATE_SECONDS: Final = 3_600.0
_PHOTOS_SECONDS: Final = DAY
#: Lines of the account itself.
_KEEP_LINES_DAYS: Final = 365.0
#: Kinds of jobs that read a data set.
_READERS: Final = ("train", "check")
_JOB: Final = re.compile(r"[0-9a-f]{32}")
_PHOTO: Final = re.compile(r"([0-9a-f]{32})/[0-9a-f]{2}/([0-9a-f]{64}\.(?:jpg|png))")

#: Of this process: when it last looked through private files, and photos.
_looked: WeakKeyDictionary[Engine, dict[str, float]] = WeakKeyDictionary()


@dataclass
class Account:
    """What one run deleted.

    Attributes:
        trusted: whether the clock was believed; if not, nothing went by its age.
        answers, photos: with their rows.
        lost_photos, lost_files: files without a row, half-written ones included.
        work: directories of jobs that aren't any more.
        models, comparisons: retired, and deleted.
        lost_models: models whose files lay here, or in the storage, without need.
    """

    trusted: bool = False
    answers: int = 0
    photos: int = 0
    lost_photos: int = 0
    lost_files: int = 0
    work: int = 0
    models: int = 0
    comparisons: int = 0
    lost_models: int = 0

    @property
    def is_something(self) -> bool:
        """Whether anything was deleted."""
        return any(num for name, num in vars(self).items() if name != "trusted")


def tend(
    settings: Settings, engine: Engine, storage: Storage, now: float, monotonic: float
) -> Account:
    """Delete what has its time behind it; to be called each minute.

    Args:
        now: seconds since 1970 by the wall clock.
        monotonic: as `clocks.uptime()` gives it.

    Raises:
        StorageUnavailableError: files can't be listed or deleted now; a later run goes on.
    """
    done = Account(trusted=is_trusted(engine, now, monotonic))
    keep = KEEP_ANSWERS_DAYS if settings.keep_days is None else settings.keep_days
    before = now - keep * DAY if done.trusted else None
    if before is not None:
        done.answers = _old_answers(engine, storage, before, now)
        if settings.keep_days is not None:
            done.photos += _old_photos(engine, storage, now - settings.keep_days * DAY, now)
        with engine.begin() as connection:
            connection.execute(
                delete(deletions).where(deletions.c.at < now - _KEEP_LINES_DAYS * DAY)
            )
        retiring.forget_rows(engine, now)
    done.models, done.comparisons = retiring.retire(settings.home, engine, storage, before, now)
    if settings.quota_bytes is not None:
        done.photos += _beyond_quota(engine, storage, settings.quota_bytes, now)
    oldest = now - DAY if done.trusted else None
    looked = _looked.setdefault(engine, {})
    if monotonic - looked.get("private", float("-inf")) >= _PRIVATE_SECONDS:
        done.lost_files = _lost_files(engine, storage, oldest)
        done.work = _lost_work(settings, engine, oldest)
        done.lost_models = retiring.lost_models(settings.home, engine, storage, oldest)
        looked["private"] = monotonic
    if oldest is not None and monotonic - looked.get("photos", float("-inf")) >= _PHOTOS_SECONDS:
        done.lost_photos = _lost_photos(engine, storage, oldest)
        looked["photos"] = monotonic
    return done


def _old_answers(engine: Engine, storage: Storage, before: float, now: float) -> int:
    """Delete jobs that ended before a time, with their files."""
    old = and_(jobs.c.state.in_(ENDED), jobs.c.ended_at < before)
    num = 0
    for _ in range(_MOST):
        with reading(engine) as connection:
            chosen = select(jobs.c.id).where(old).order_by(jobs.c.ended_at).limit(_BATCH)
            ids = connection.scalars(chosen).all()
        if not ids:
            break
        sizes: defaultdict[str, int] = defaultdict(int)
        for file in storage.list_private("results"):
            sizes[file.name.split("/", 1)[0]] += file.size_bytes
        with engine.begin() as connection:
            gone = delete(jobs).where(jobs.c.id.in_(ids), old).returning(jobs.c.id, jobs.c.owner)
            of_owner: defaultdict[str, list[str]] = defaultdict(list)
            for id, owner in connection.execute(gone):
                of_owner[owner].append(id)
            for owner, mine in sorted(of_owner.items()):
                size = sum(sizes[id] for id in mine)
                datasets.note_deletion(
                    connection, owner, "answers", "age", len(mine), size, now=now
                )
        for id in (id for mine in of_owner.values() for id in mine):
            num += 1
            storage.delete_private(f"results/{id}")
            storage.delete_private(f"spool/{id}")
    return num


def _old_photos(engine: Engine, storage: Storage, before: float, now: float) -> int:
    """Delete photos that were last uploaded before a time, with their samples."""
    with reading(engine) as connection:
        owners = connection.scalars(
            select(photos.c.owner).where(photos.c.used_at < before).distinct()
        ).all()
    num = 0
    for owner in owners:
        for _ in range(_MOST):
            with engine.begin() as connection:
                blobs.lock(connection, owner)
                free = _free(connection, owner)
                chosen = select(photos.c.name).where(free, photos.c.used_at < before)
                names = connection.scalars(chosen.order_by(photos.c.used_at).limit(_BATCH)).all()
                gone = _forget(connection, owner, names, "age", now)
            blobs.discard(engine, storage, owner, gone)
            num += len(gone)
            if len(names) < _BATCH:
                break
    return num


def _beyond_quota(engine: Engine, storage: Storage, quota_bytes: int, now: float) -> int:
    """Delete the oldest photos of users who store more than they may, since that was lowered."""
    with reading(engine) as connection:
        over = select(usage.c.owner).where(usage.c.size_bytes > quota_bytes)
        owners = connection.scalars(over).all()
    num = 0
    for owner in owners:
        for _ in range(_MOST):
            with engine.begin() as connection:
                blobs.lock(connection, owner)
                excess = blobs.used_bytes(connection, owner)[1] - quota_bytes
                oldest = select(photos.c.name, photos.c.size_bytes).where(_free(connection, owner))
                oldest = oldest.order_by(photos.c.used_at, photos.c.created_at, photos.c.name)
                names: list[str] = []
                for name, size_bytes in connection.execute(oldest.limit(_BATCH)):
                    if excess <= 0:
                        break
                    names.append(name)
                    excess -= size_bytes
                gone = _forget(connection, owner, names, "quota", now)
            blobs.discard(engine, storage, owner, gone)
            num += len(gone)
            if excess <= 0 or not gone:
                break
    return num


def _free(connection: Connection, owner: str) -> Any:
    """A user's photos, but for those of data sets that a job reads, or is about to."""
    active = and_(jobs.c.owner == owner, jobs.c.kind.in_(_READERS), jobs.c.state.not_in(ENDED))
    requests = connection.scalars(select(jobs.c.request).where(active)).all()
    names = {request.get("dataset") for request in requests}
    held = (
        select(samples.c.blob)
        .join(sets, sets.c.id == samples.c.dataset_id)
        .where(sets.c.owner == owner, sets.c.name.in_([n for n in names if isinstance(n, str)]))
    )
    return and_(photos.c.owner == owner, photos.c.name.not_in(held))


def _forget(
    connection: Connection, owner: str, names: Collection[str], why: str, now: float
) -> list[str]:
    """Take photos out of all data sets of their owner; a data set that is empty then goes too."""
    if not names:
        return []
    mine = select(sets.c.id).where(sets.c.owner == owner)
    gone = delete(samples).where(samples.c.dataset_id.in_(mine), samples.c.blob.in_(names))
    touched = set(connection.scalars(gone.returning(samples.c.dataset_id)))
    for id in sorted(touched):
        datasets.changed(connection, id)
    left = select(samples.c.id).where(samples.c.dataset_id == sets.c.id).exists()
    connection.execute(delete(sets).where(sets.c.id.in_(touched), ~left))
    released, size = blobs.release(connection, owner, names)
    datasets.note_deletion(connection, owner, "photos", why, len(released), size, now=now)
    return released


def _lost_files(engine: Engine, storage: Storage, oldest: float | None) -> int:
    """Delete what requests came with and what results had, of jobs that need it no longer."""
    num = 0
    for place in ("spool", "results"):
        newest: defaultdict[str, float] = defaultdict(float)
        for file in storage.list_private(place):
            id = file.name.split("/", 1)[0]
            newest[id] = max(newest[id], file.modified_at)
        states = _states(engine, newest)
        for id, modified_at in newest.items():
            # Files are written before their row.
            is_lost = id not in states and oldest is not None and modified_at < oldest
            if is_lost or (place == "spool" and states.get(id) in ENDED):
                storage.delete_private(f"{place}/{id}")
                num += 1
    return num


def _lost_work(settings: Settings, engine: Engine, oldest: float | None) -> int:
    """Delete directories of jobs and uploads that were killed on this machine."""
    top = settings.home / "work"
    if oldest is None or not top.is_dir():
        return 0
    found = {path.name: path for path in top.iterdir() if path.lstat().st_mtime < oldest}
    states = _states(engine, [name for name in found if _JOB.fullmatch(name)])
    num = 0
    for name, path in found.items():
        if states.get(name, "Done") in ENDED:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            num += 1
    return num


def _lost_photos(engine: Engine, storage: Storage, oldest: float) -> int:
    """Delete photos that were written but never counted, and halves of files."""
    with reading(engine) as connection:
        owners = {owner_folder(owner): owner for owner in connection.scalars(select(usage.c.owner))}
    lost: defaultdict[str, list[str]] = defaultdict(list)
    other: list[str] = []
    for file in storage.list_photos():
        if file.modified_at < oldest:
            found = _PHOTO.fullmatch(file.name)
            if found is None or found[1] not in owners:
                other.append(file.name)
            else:
                lost[owners[found[1]]].append(found[2])
    num = len(other)
    storage.delete_listed(other)
    for owner, names in lost.items():
        with reading(engine) as connection:
            mine = select(photos.c.name).where(photos.c.owner == owner)
            counted = set(connection.scalars(mine))
        gone = [name for name in names if name not in counted]
        blobs.discard(engine, storage, owner, gone)
        num += len(gone)
    return num


def _states(engine: Engine, ids: Collection[str]) -> dict[str, str]:
    """The states of the jobs that there are."""
    found: dict[str, str] = {}
    with reading(engine) as connection:
        for batch in _batches(sorted(ids)):
            rows = connection.execute(select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(batch)))
            found |= {row.id: row.state for row in rows}
    return found


def _batches(ids: list[str]) -> Iterator[list[str]]:
    return (ids[i : i + _BATCH] for i in range(0, len(ids), _BATCH))
