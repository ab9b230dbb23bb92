"""Models and comparisons that nobody needs any more.

A model is retired in one transaction, with the line of the account and the end of its comparison;
its row stays a year, in the state `retired`. Its files go afterwards. Whoever is killed between
leaves files that a later run finds, and so do other machines, which have copies of their own.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, and_, delete, func, select, update

from pocketlens.service import datasets, model_files
from pocketlens.service.clocks import DAY, TOLERANCE
from pocketlens.service.database import reading
from pocketlens.service.promotion import (
    BY_SERVE,
    Current,
    current_model,
    hold_models,
    last_given,
)
from pocketlens.service.storage import Storage
from pocketlens.service.tables import ENDED, comparisons, jobs, models, promotions

#: Trained models of one user that have files; of more the oldest go, whatever their age.
MOST_MODELS: Final = 10
#: How long the row of a retired model stays, and the record of its promotions.
KEEP_ROWS_DAYS: Final = 365.0
#: Rows that one transaction changes; the next run goes on.
_BATCH: Final = 500
#: States of models that need no files.
_WITHOUT_FILES: Final = ("retired", "rejected")
_FOLDER: Final = "models"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_PACKED: Final = re.compile(r"([0-9a-f]{32})\.zip")
#: What somebody who was killed was writing or removing.
_HALF: Final = re.compile(r"\.[0-9a-f]{32}\.(?:\d+|zip\.[0-9a-f]{32})\.tmp")


def retire(
    home: Path, engine: Engine, storage: Storage, before: float | None, now: float
) -> tuple[int, int]:
    """Retire models that are old or too many; comparisons go with them, or at the same age.

    Never the model that answers, the one it replaced, the one that `serve` was given last, nor one
    that a training may be comparing with.

    Args:
        home: of this machine, where models lie.
        before: what was of use last before this time is old; None: the clock isn't trusted, and
            nothing is old.

    Returns:
        How many models that had files, and how many comparisons.

    Raises:
        StorageUnavailableError: packed copies can't be deleted now; `lost_models` will do it.
    """
    with reading(engine) as connection:
        if not _chosen(connection, before, now) and not _alone(connection, before):
            return 0, 0
    with engine.begin() as connection:
        hold_models(connection)
        current_model(connection, hold=True)
        why = _chosen(connection, before, now)
        alone = _alone(connection, before)
        ids, tables = _retire_rows(connection, why, now)
        num_comparisons = _drop_comparisons(connection, tables | dict.fromkeys(alone, "age"), now)
    for id in ids:
        _forget(home, engine, storage, id)
    return len(ids), num_comparisons


def forget_rows(engine: Engine, now: float) -> None:
    """Delete rows of models that were retired long ago, and records of their promotions."""
    before = now - KEEP_ROWS_DAYS * DAY
    old = and_(models.c.state == "retired", models.c.retired_at < before)
    unknown = promotions.c.model_id.not_in(select(models.c.id))
    with engine.begin() as connection:
        connection.execute(delete(models).where(old))
        connection.execute(delete(promotions).where(unknown, promotions.c.at < before))


def lost_models(home: Path, engine: Engine, storage: Storage | None, oldest: float | None) -> int:
    """Delete files of models that need none: on this machine, and packed ones in the storage.

    Args:
        storage: None: look at this machine alone.
        oldest: files without a row, and halves of files, go where they were written before this;
            None: the clock isn't trusted, and none of these goes.

    Returns:
        Of how many models, or halves.
    """
    written: dict[str, float] = {}
    num = 0
    place = home / _FOLDER
    for path in list(place.iterdir()) if place.is_dir() else ():
        try:
            modified_at = path.lstat().st_mtime
        except FileNotFoundError:  # another process has just finished it, or removed it
            continue
        if _ID.fullmatch(path.name):
            written[path.name] = modified_at
        elif _HALF.fullmatch(path.name) and _is_old(modified_at, oldest):
            shutil.rmtree(path, ignore_errors=True)
            num += 1
    halves = []
    for file in () if storage is None else storage.list_private(_FOLDER):
        if packed := _PACKED.fullmatch(file.name):
            written[packed[1]] = max(file.modified_at, written.get(packed[1], 0.0))
        elif _HALF.fullmatch(file.name) and _is_old(file.modified_at, oldest):
            halves.append(file.name)
    if storage is not None:
        storage.delete_listed(halves, f"private/{_FOLDER}")
    with reading(engine) as connection:
        needless = _needless(connection, written, oldest)
    num += sum(_forget(home, engine, storage, id, is_old=is_old) for id, is_old in needless.items())
    return num + len(halves)


def usable(connection: Connection, owner: str) -> tuple[int, int]:
    """How many trained models of a user have files, and their bytes, each counted once."""
    mine = select(models.c.about).where(models.c.owner == owner, models.c.state == "offered")
    found = connection.scalars(mine).all()
    return len(found), sum(_size(about) for about in found)


def _chosen(connection: Connection, before: float | None, now: float) -> dict[str, str]:
    """Models to retire, the oldest first, and why: `age` or `quota`."""
    serving = current_model(connection)
    if serving is None:
        return {}
    kept = _kept(connection, serving, now)
    answered = set(connection.scalars(select(promotions.c.model_id).distinct()))
    latest = func.max(promotions.c.at)
    replaced_at: dict[str | None, float] = {
        row[0]: row[1]
        for row in connection.execute(
            select(promotions.c.replaced_id, latest).group_by(promotions.c.replaced_id)
        )
    }
    columns = (models.c.id, models.c.owner, models.c.state, models.c.created_at, models.c.parent_id)
    here = select(*columns).where(models.c.state != "retired")
    chosen: dict[str, str] = {}
    num_of: Counter[str] = Counter()
    for row in connection.execute(here.order_by(models.c.created_at.desc(), models.c.id)):
        is_trained = row.owner != BY_SERVE and row.state == "offered"
        num_of[row.owner] += is_trained
        if row.id in kept:
            continue
        if before is not None and max(row.created_at, replaced_at.get(row.id, 0.0)) < before:
            chosen[row.id] = "age"
        elif is_trained and num_of[row.owner] > MOST_MODELS:
            # By a clock that is behind, what was trained just now seems to be the oldest.
            is_open = row.parent_id == serving.model_id and row.id not in answered
            if before is not None or not is_open:
                chosen[row.id] = "quota"
    oldest_first = list(reversed(chosen.items()))
    return dict(oldest_first[:_BATCH])


def _kept(connection: Connection, serving: Current, now: float) -> set[str | None]:
    """Models that stay, however old they are and however many there are."""
    # By the moment of the change, not by the latest time: clocks jump.
    this_change = and_(
        promotions.c.model_id == serving.model_id, promotions.c.at == serving.changed_at
    )
    kept: set[str | None] = {serving.model_id, last_given(connection)}
    kept.update(connection.scalars(select(promotions.c.replaced_id).where(this_change)))
    trainings = and_(jobs.c.kind == "train", jobs.c.state == "Running")
    begun = connection.scalars(select(jobs.c.started_at).where(trainings)).all()
    if begun:
        # A training compares with what was current at some time since it began: one that waits
        # will look then. A day more, as clocks of several machines differ and are set.
        since = min(0.0 if at is None or at > now + TOLERANCE else at - DAY for at in begun)
        during = select(promotions.c.replaced_id).where(promotions.c.at >= since)
        kept.update(connection.scalars(during))
    return kept


def _alone(connection: Connection, before: float | None) -> list[str]:
    """Comparisons that are old and of no model."""
    if before is None:
        return []
    of_models = select(models.c.comparison_id).where(models.c.comparison_id.is_not(None))
    alone = and_(comparisons.c.created_at < before, comparisons.c.id.not_in(of_models))
    return list(connection.scalars(select(comparisons.c.id).where(alone).limit(_BATCH)))


def _retire_rows(
    connection: Connection, why: Mapping[str, str], now: float
) -> tuple[list[str], dict[str, str]]:
    """Change the rows; the ids of those that had files, and why each comparison goes with them."""
    columns = (models.c.id, models.c.owner, models.c.state, models.c.comparison_id, models.c.about)
    rows = connection.execute(select(*columns).where(models.c.id.in_(why))).all()
    gone = {"state": "retired", "retired_at": now, "comparison_id": None}
    connection.execute(update(models).where(models.c.id.in_(why)).values(gone))
    with_files = [row for row in rows if row.state not in _WITHOUT_FILES]
    entries = [(row.owner, why[row.id], _size(row.about)) for row in with_files]
    _note(connection, "models", entries, now)
    tables = {row.comparison_id: why[row.id] for row in rows if row.comparison_id is not None}
    return [row.id for row in with_files], tables


def _drop_comparisons(connection: Connection, why: Mapping[str, str], now: float) -> int:
    columns = (comparisons.c.id, comparisons.c.owner, comparisons.c.table)
    gone = delete(comparisons).where(comparisons.c.id.in_(why)).returning(*columns)
    entries = [
        (owner, why[id], len(json.dumps(table, separators=(",", ":"))))
        for id, owner, table in connection.execute(gone)
    ]
    _note(connection, "comparisons", entries, now)
    return len(entries)


def _note(
    connection: Connection, what: str, entries: Iterable[tuple[str, str, int]], now: float
) -> None:
    """A line of the account for each owner and reason; the entries have the bytes third."""
    sizes: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for owner, why, size_bytes in entries:
        sizes[owner, why].append(size_bytes)
    for (owner, why), mine in sorted(sizes.items()):
        datasets.note_deletion(connection, owner, what, why, len(mine), sum(mine), now=now)


def _needless(
    connection: Connection, written: Mapping[str, float], oldest: float | None
) -> dict[str, bool]:
    """Of the models whose files lie here those that need none, and whether the files are old."""
    state_of = {
        row.id: row.state for row in connection.execute(select(models.c.id, models.c.state))
    }
    old = {id: _is_old(modified_at, oldest) for id, modified_at in written.items()}
    return {
        id: is_old
        for id, is_old in old.items()
        if (is_old if id not in state_of else state_of[id] in _WITHOUT_FILES)
    }


def _forget(
    home: Path, engine: Engine, storage: Storage | None, id: str, *, is_old: bool = False
) -> bool:
    """Delete a model's files if it still needs none, while nobody can register it."""
    with engine.begin() as connection:
        hold_models(connection)
        state = connection.scalar(select(models.c.state).where(models.c.id == id))
        if state is None:
            # Files come before their row: a training that ends now makes both.
            mine = and_(jobs.c.kind == "train", jobs.c.state.not_in(ENDED))
            at_work = connection.scalars(select(jobs.c.id).where(mine))
            is_needless = is_old and id not in map(model_files.id_of_training, at_work)
        else:
            is_needless = state in _WITHOUT_FILES
        if is_needless:
            model_files.forget(home, id, storage)
    return is_needless


def _is_old(modified_at: float, oldest: float | None) -> bool:
    return oldest is not None and modified_at < oldest


def _size(about: Mapping[str, object]) -> int:
    size_bytes = about.get("size_bytes")
    return size_bytes if isinstance(size_bytes, int) else 0
