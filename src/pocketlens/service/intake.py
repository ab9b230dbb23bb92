"""Labelled photos come in: each is checked, made anew, counted and entered, or refused.

What was taken in stays where a later photo is refused, and a photo that is there already is passed
over; so an upload that was interrupted is mended by sending it again. Where it is there with other
labels it is refused, or gets the new ones if that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select, update

from pocketlens.core.dataset import Task, bytes_hash, identity, photo_of
from pocketlens.core.decode import image_size
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.stream import run_ahead
from pocketlens.service import blobs, datasets, tables
from pocketlens.service.answers import reason
from pocketlens.service.blobs import QuotaExceededError
from pocketlens.service.database import reading
from pocketlens.service.marks import Incoming, Mark, Rejected, fault, is_plain, shown
from pocketlens.service.storage import Storage
from pocketlens.service.uploads import reencode

_MAX_GROUP: Final = 255
_MAX_INFO: Final = 20_000  # characters of JSON a class


class OtherTaskError(UserError):
    """One label a photo and any number of labels don't mix in one data set."""


@dataclass
class Outcome:
    """What became of an upload, in samples."""

    added: int = 0
    duplicates: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def take_in(
    engine: Engine,
    storage: Storage,
    owner: str,
    dataset: str,
    photos: Iterable[Incoming],
    *,
    task: Task,
    class_info: Mapping[str, Mapping[str, Any]] | None = None,
    max_pixels: int,
    quota_bytes: int | None,
    now: float,
    replace: bool = False,
) -> Outcome:
    """Add photos to a user's data set, which is made where there is none.

    Args:
        replace: what was there before with other labels gets those that are sent now. What one
            upload says of a photo first counts, else its end would hang on its order.

    Raises:
        OtherTaskError: the data set is of the other task.
        QuotaExceededError: there is no room for the first of the photos.
        StorageUnavailableError: files can't be written; what was taken in before stays.
    """
    with reading(engine) as connection:
        kept = datasets.find(connection, owner, dataset, count=False)
    _check_task(kept, task)
    outcome = Outcome()

    def prepare(photo: Incoming) -> _Prepared:
        # What has its labels already may be given others, and is compared when it is entered.
        return _prepare(engine, None if replace else kept, photo, task, max_pixels, now)

    workers = available_cores()
    full: QuotaExceededError | None = None
    said: set[str] | None = set() if replace else None
    for done in run_ahead(prepare, photos, workers=workers, depth=2 * workers):
        outcome.rejected += done.rejected
        outcome.duplicates += done.duplicates
        if not done.marks:
            continue
        if full is not None:
            outcome.rejected.append(Rejected(done.name, full.code, str(full)))
            continue
        entry = _Entry(owner, dataset, task, done, class_info or {}, now, said)
        try:
            stored = blobs.put(
                engine,
                storage,
                owner,
                done.data,
                done.suffix,
                quota_bytes=quota_bytes,
                now=now,
                then=entry.write,
            )
        except QuotaExceededError as error:
            full = error
            outcome.rejected.append(Rejected(done.name, error.code, str(error)))
            continue
        outcome.added += entry.added
        outcome.duplicates += entry.duplicates
        outcome.replaced += entry.replaced
        outcome.rejected += entry.rejected
        if not entry.added:  # another upload was quicker, and made another file of it
            with engine.begin() as connection:
                gone, _ = blobs.release(connection, owner, [stored])
            blobs.discard(engine, storage, owner, gone)
    if full is not None and not (outcome.added or outcome.duplicates or outcome.replaced):
        raise full
    return outcome


@dataclass
class _Prepared:
    """A photo that was looked at; `marks` are those that are still to be entered."""

    name: str
    photo_hash: str
    marks: list[Mark] = field(default_factory=list)
    data: bytes = b""
    suffix: str = ""
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def _prepare(
    engine: Engine,
    kept: datasets.Kept | None,
    photo: Incoming,
    task: Task,
    max_pixels: int,
    now: float,
) -> _Prepared:
    done = _Prepared(shown(photo.name), bytes_hash(photo.data))
    try:
        size = image_size(photo.data, max_pixels=max_pixels)
        for mark in photo.marks:
            if wrong := fault(mark, task, size):
                done.rejected.append(Rejected(done.name, *wrong))
            else:
                done.marks.append(mark)
        if kept is not None and done.marks:
            _pass_over_known(engine, kept, done, now)
        if done.marks:
            done.data, done.suffix = reencode(photo.data, max_pixels)
    except ImageError as error:
        return _Prepared(done.name, "", rejected=[Rejected(done.name, *reason(str(error)))])
    return done


def _pass_over_known(engine: Engine, kept: datasets.Kept, done: _Prepared, now: float) -> None:
    """Take out what the data set has already; photos that were sent again count as new."""
    with engine.begin() as connection:
        known = _known(connection, kept.id, [identity(done.photo_hash, m.box) for m in done.marks])
        _touch(connection, kept.owner, {blob for _, blob in known.values()}, now)
    done.marks = [mark for mark in done.marks if not _is_known(mark, done.photo_hash, known, done)]


def _touch(connection: Connection, owner: str, names: Collection[str], now: float) -> None:
    mine = tables.blobs.c.owner == owner
    again = update(tables.blobs).where(mine, tables.blobs.c.name.in_(names))
    connection.execute(again.values(used_at=now))


def _known(
    connection: Connection, dataset_id: str, identities: Sequence[str]
) -> dict[str, tuple[list[str], str]]:
    """Identity -> labels and stored photo, of those that are there."""
    columns = tables.samples.c
    rows = connection.execute(
        select(columns.identity, columns.labels, columns.blob).where(
            columns.dataset_id == dataset_id, columns.identity.in_(identities)
        )
    )
    return {row.identity: (row.labels, row.blob) for row in rows}


def _is_known(
    mark: Mark,
    photo_hash: str,
    known: Mapping[str, tuple[list[str], str]],
    into: _Prepared | _Entry,
) -> bool:
    """Whether it is there, and if so, noted as a duplicate or as a contradiction."""
    found = known.get(identity(photo_hash, mark.box))
    if found is None:
        return False
    labels = found[0]
    if sorted(labels) == sorted(mark.labels):
        into.duplicates += 1
    else:
        way = "is there already as {}; send it with replace=true to give it these labels"
        into.rejected.append(_contradiction(into.name, labels, way))
    return True


def _contradiction(name: str, labels: Sequence[str], words: str) -> Rejected:
    there = shown(", ".join(labels)) or "without a label"
    return Rejected(name, "labelled_otherwise", f"the same photo {words.format(there)}")


class _Entry:
    """One photo's rows, written in the transaction that counts it."""

    def __init__(
        self,
        owner: str,
        dataset: str,
        task: Task,
        photo: _Prepared,
        class_info: Mapping[str, Mapping[str, Any]],
        now: float,
        said: set[str] | None,
    ) -> None:
        self._owner, self._dataset, self._task = owner, dataset, task
        self._photo, self._class_info, self._now = photo, class_info, now
        self.name = photo.name
        # Of what this upload has spoken of; None where labels aren't replaced.
        self._said = said
        self.added = 0
        self.duplicates = 0
        self.replaced = 0
        self.rejected: list[Rejected] = []

    def write(self, connection: Connection, blob: str) -> None:
        """Enter it; the user's lock is held, so nobody else makes or changes the data set."""
        kept = datasets.find(connection, self._owner, self._dataset, count=False)
        _check_task(kept, self._task)
        if kept is None:
            kept = _make(connection, self._owner, self._dataset, self._task, self._now)
        # The same pixels may have come in another file; both are one photo, in one part.
        same = select(tables.samples.c.identity).where(
            tables.samples.c.dataset_id == kept.id, tables.samples.c.blob == blob
        )
        first = connection.execute(same.order_by(tables.samples.c.created_at)).scalars().first()
        photo_hash = self._photo.photo_hash if first is None else photo_of(first)
        wanted = [identity(photo_hash, mark.box) for mark in self._photo.marks]
        known = _known(connection, kept.id, wanted)
        for key, mark in zip(wanted, self._photo.marks, strict=True):
            settled = self._is_replaced(connection, kept.id, key, mark, known)
            if not settled and not _is_known(mark, photo_hash, known, self):
                known[key] = (list(mark.labels), blob)
                row = self._row(kept.id, blob, key, mark)
                connection.execute(insert(tables.samples).values(row))
                self.added += 1
            if self._said is not None:
                self._said.add(key)
        if self._said is not None:
            _touch(connection, self._owner, {there for _, there in known.values()}, self._now)
        if self.added or self.replaced:
            datasets.changed(connection, kept.id)
            self._inform(connection, kept)

    def _is_replaced(
        self,
        connection: Connection,
        dataset_id: str,
        key: str,
        mark: Mark,
        known: dict[str, tuple[list[str], str]],
    ) -> bool:
        """Whether it was there with other labels, and those are settled now."""
        labels, blob = known.get(key, (list(mark.labels), ""))
        if self._said is None or sorted(labels) == sorted(mark.labels):
            return False
        if key in self._said:
            way = "comes twice in this upload, first as {}"
            self.rejected.append(_contradiction(self.name, labels, way))
            return True
        columns = tables.samples.c
        row = update(tables.samples).where(
            columns.dataset_id == dataset_id, columns.identity == key
        )
        connection.execute(row.values(labels=list(mark.labels)))
        known[key] = (list(mark.labels), blob)
        self.replaced += 1
        return True

    def _row(self, dataset_id: str, blob: str, key: str, mark: Mark) -> dict[str, Any]:
        group = mark.group
        if group is not None and len(group) > _MAX_GROUP:
            group = bytes_hash(group.encode("utf-8", "surrogatepass"))
        return {
            "id": tables.new_id(),
            "dataset_id": dataset_id,
            "blob": blob,
            "identity": key,
            "labels": list(mark.labels),
            "box": None if mark.box is None else list(mark.box),
            "group": group,
            "part": mark.part,
            "created_at": self._now,
        }

    def _inform(self, connection: Connection, kept: datasets.Kept) -> None:
        """Add what is known of the classes; the newest counts."""
        labels = {label for mark in self._photo.marks for label in mark.labels}
        new = {
            label: info
            for label in labels
            if (
                info := {
                    k: v for k, v in self._class_info.get(label, {}).items() if is_plain({k: v})
                }
            )
            and info != kept.class_info.get(label)
            and len(json.dumps(info)) <= _MAX_INFO
        }
        if new:
            row = update(tables.datasets).where(tables.datasets.c.id == kept.id)
            connection.execute(row.values(class_info={**kept.class_info, **new}))


def _check_task(kept: datasets.Kept | None, task: Task) -> None:
    if kept is not None and kept.task != task:
        said = {"single_label": "one label a photo", "multi_label": "a list of labels a photo"}
        raise OtherTaskError(
            f"this data set has {said[kept.task]}, and these photos {said[task]}; name another"
        )


def _make(connection: Connection, owner: str, name: str, task: Task, now: float) -> datasets.Kept:
    row = {"id": tables.new_id(), "owner": owner, "name": name, "task": task, "created_at": now}
    connection.execute(insert(tables.datasets).values(**row, version=0, class_info={}))
    made = datasets.find(connection, owner, name, count=False)
    assert made is not None
    return made
