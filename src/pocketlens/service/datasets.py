"""Data sets that users made of their uploads: what is in them, their end, copies to train from.

A sample is known by the photo's bytes as they were uploaded, which are not kept: what is stored is
made anew. So a split that a bundle remembers still tells which photos were tested on.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, delete, func, insert, literal, select, update

from pocketlens.core.dataset import Box, Dataset, Part, Sample, Task, photo_of
from pocketlens.core.errors import DataError
from pocketlens.core.stream import run_ahead
from pocketlens.service import blobs
from pocketlens.service.database import reading
from pocketlens.service.storage import Storage
from pocketlens.service.tables import datasets, deletions, new_id, samples
from pocketlens.workflows.data import Hashed

#: Of a data set's name, in characters.
MAX_NAME: Final = 100
_FORMAT: Final = "uploads"
_FILE: Final = "data.json"
#: A bucket answers each slowly but many at once.
_FETCHERS: Final = 8


@dataclass(frozen=True)
class Kept:
    """A row of `datasets`; `num_samples` is -1 where nobody counted them."""

    id: str
    owner: str
    name: str
    task: Task
    created_at: float
    version: int
    class_info: Mapping[str, Mapping[str, Any]]
    check_job_id: str | None
    check_version: int | None
    num_samples: int


_COLUMNS = [datasets.c[name] for name in Kept.__dataclass_fields__ if name != "num_samples"]
_WITH_NUMBER = (
    select(*_COLUMNS, func.count(samples.c.id).label("num_samples"))
    .select_from(datasets.outerjoin(samples, samples.c.dataset_id == datasets.c.id))
    .group_by(datasets.c.id)
)


def name_fault(name: str) -> str | None:
    """Why a data set can't be called so, or None; a name is text, and never becomes a path."""
    if not name.strip() or len(name) > MAX_NAME:
        return f"a data set's name has 1 to {MAX_NAME} characters"
    if not name.isprintable() or any(char in name for char in "/\\"):
        return "a data set's name has no slashes and no control characters"
    return None


def find(connection: Connection, owner: str, name: str, *, count: bool = True) -> Kept | None:
    """A user's data set; None where there is none, or it is another's.

    Args:
        count: whether to count its samples, which takes longer the more there are.
    """
    where = and_(datasets.c.owner == owner, datasets.c.name == name)
    return _one(connection, where, count=count)


def list_all(connection: Connection, owner: str) -> list[Kept]:
    """A user's data sets by name."""
    query = _grouped(datasets.c.owner == owner).order_by(datasets.c.name)
    return [_kept(row) for row in connection.execute(query).mappings()]


def class_counts(connection: Connection, id: str) -> dict[str, int]:
    """Samples a class, sorted by name."""
    counts: Counter[str] = Counter()
    for labels in connection.scalars(select(samples.c.labels).where(samples.c.dataset_id == id)):
        counts.update(labels)
    return dict(sorted(counts.items()))


def remove(engine: Engine, storage: Storage, owner: str, name: str, *, now: float) -> bool:
    """Delete a data set, and the photos that no other one of its owner has.

    Returns:
        Whether there was one.

    Raises:
        StorageUnavailableError: files couldn't be removed; they no longer count, and
            `maintenance` removes them later.
    """
    with engine.begin() as connection:
        blobs.lock(connection, owner)
        found = find(connection, owner, name, count=False)
        if found is None:
            return False
        mine = samples.c.dataset_id == found.id
        names = set(connection.scalars(select(samples.c.blob).where(mine)))
        connection.execute(delete(samples).where(mine))
        connection.execute(delete(datasets).where(datasets.c.id == found.id))
        gone, size = blobs.release(connection, owner, names)
        note_deletion(connection, owner, "photos", "request", len(gone), size, now=now)
    blobs.discard(engine, storage, owner, gone)
    return True


def note_deletion(
    connection: Connection, owner: str, what: str, why: str, count: int, size: int, *, now: float
) -> None:
    """A line of the account of what was deleted; nothing deleted is no line."""
    if count:
        line = {"what": what, "why": why, "count": count, "size_bytes": size}
        connection.execute(insert(deletions).values(id=new_id(), owner=owner, at=now, **line))


def changed(connection: Connection, id: str) -> None:
    """Count a change, so that what was found out about the data set is known to be old."""
    newer = update(datasets).where(datasets.c.id == id)
    connection.execute(newer.values(version=datasets.c.version + 1))


def materialise(engine: Engine, storage: Storage, id: str, folder: Path) -> Hashed:
    """Local copies of a data set's photos in a new folder, and what is known of them.

    Identities are those of the bytes that were uploaded, not of the copies.

    Args:
        folder: below `settings.home / "work" / JOB_ID`; the caller removes it.

    Raises:
        DataError: there is no such data set any more, or nothing in it.
        StorageUnavailableError: the photos can't be had.
    """
    columns = [samples.c[n] for n in ("blob", "identity", "labels", "box", "group", "part")]
    with reading(engine) as connection:
        kept = _one(connection, datasets.c.id == id, count=False)
        rows = connection.execute(
            select(*columns).where(samples.c.dataset_id == id).order_by(samples.c.identity)
        ).all()
    if kept is None or not rows:
        raise DataError("the data set was deleted, or nothing is left in it; upload photos")
    root = folder / "photos"
    for prefix in {row.blob[:2] for row in rows}:
        (root / prefix).mkdir(parents=True, mode=0o700, exist_ok=True)
    names = sorted({row.blob for row in rows})

    def fetch(name: str) -> bool:
        try:
            storage.fetch_photo(kept.owner, name, root / name[:2] / name)
        except FileNotFoundError:  # deleted a moment ago
            return False
        return True

    fetched = run_ahead(fetch, names, workers=_FETCHERS, depth=2 * _FETCHERS)
    missing = {name for name, there in zip(names, fetched, strict=True) if not there}
    values: dict[str, Any] = {
        "task": kept.task,
        "class_info": kept.class_info,
        "samples": [
            [_path(row.blob), row.labels, row.box, row.group, row.part, row.identity]
            for row in rows
            if row.blob not in missing
        ],
        "unreadable": [[_path(name), "deleted meanwhile"] for name in sorted(missing)],
    }
    (folder / _FILE).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return _hashed(root, values)


def read_materialised(folder: Path) -> Hashed:
    """What `materialise` made of this folder, for a process without the database.

    Raises:
        DataError: nothing is left in it.
    """
    values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return _hashed(folder / "photos", values)


def num_photos(hashed: Hashed) -> dict[str, int]:
    """Different photos a class: what can be divided between training and tests."""
    photos: dict[str, set[str]] = {name: set() for name in hashed.dataset.classes}
    for sample, key in zip(hashed.dataset.samples, hashed.identities, strict=True):
        for label in sample.labels:
            photos[label].add(photo_of(key))
    return {name: len(found) for name, found in photos.items()}


def _hashed(root: Path, values: Mapping[str, Any]) -> Hashed:
    found: list[Sample] = []
    identities: list[str] = []
    for path, labels, box, group, part, key in values["samples"]:
        found.append(Sample(path, tuple(labels), _box(box), group, _part(part)))
        identities.append(key)
    if not found:
        raise DataError("the data set was deleted, or nothing is left in it; upload photos")
    classes = sorted({label for sample in found for label in sample.labels})
    dataset = Dataset(
        root=root,
        format=_FORMAT,
        task=values["task"],
        classes=tuple(classes),
        samples=found,
        class_info={name: values["class_info"].get(name, {}) for name in classes},
        # A blob is called after the SHA-256 of what is stored.
        copies={sample.path: Path(sample.path).stem[:32] for sample in found},
    )
    unreadable = tuple((path, reason) for path, reason in values["unreadable"])
    return Hashed(dataset, identities, unreadable)


def _path(blob: str) -> str:
    return os.path.join(blob[:2], blob)


def _box(values: Sequence[float] | None) -> Box | None:
    return None if values is None else Box(*values)


def _part(value: str | None) -> Part | None:
    parts: dict[str, Part] = {"train": "train", "val": "val", "test": "test"}
    return parts.get(value or "")


def _grouped(where: Any) -> Any:
    # Grouped by the id alone, which the other columns depend on; a JSON column can't be grouped.
    return _WITH_NUMBER.where(where)


def _one(connection: Connection, where: Any, *, count: bool = True) -> Kept | None:
    without = select(*_COLUMNS, literal(-1).label("num_samples")).where(where)
    query = _grouped(where) if count else without
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _kept(row)


def _kept(row: Any) -> Kept:
    return Kept(**row)
