"""Models: which answers now, how another takes its place, and the one that is open.

The row `current` says which model answers. It changes by compare and swap on its `version`, so of
two that would replace the same model exactly one does. A model that was trained here takes the
place only of the one that it was compared with; one that answered before may come back.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.directory import MANIFEST
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Predictor
from pocketlens.progress import say
from pocketlens.service import model_files
from pocketlens.service.model_files import PrivateStorage
from pocketlens.service.settings import Settings
from pocketlens.service.tables import current, models, new_id, promotions
from pocketlens.workflows.open import load

#: The one row of `current`.
SLOT: Final = "served"
#: Who promoted the bundle that `serve` was given; no token's user has brackets in the name.
BY_SERVE: Final = "(serve)"

log = logging.getLogger(__name__)


class ModelNotFoundError(LookupError):
    """There is no model of this id."""


class PromotionError(ValueError):
    """A model that may not take the place now; `code` is for programs, the text for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Current:
    """The model that answers; `version` counts how often it changed."""

    model_id: str
    version: int
    changed_at: float


@dataclass(frozen=True)
class Promotion:
    """What `promote` did: which model answers now, and which did before."""

    current: str
    replaced: str | None


def current_model(connection: Connection) -> Current | None:
    """The model that answers; None before the first was registered."""
    row = connection.execute(select(current).where(current.c.slot == SLOT)).mappings().one_or_none()
    return None if row is None else Current(row["model_id"], row["version"], row["changed_at"])


def register_given(
    engine: Engine,
    settings: Settings,
    bundle: Path,
    *,
    storage: PrivateStorage | None,
    now: float,
) -> str:
    """Register the bundle that `serve` was given, and make it current where it is a new one.

    A bundle is registered once: serving the same one again changes nothing, also where a model
    that was trained since is current. Serving another one than the last time makes that current.

    Returns:
        Its model id.

    Raises:
        BundleError: no bundle, or a damaged one.
        MissingExtraError: its runtime isn't installed.
    """
    opened = read_bundle(bundle)
    # Of the manifest, which holds the hashes of all files: an edited text on a class counts too.
    id = hashlib.sha256((opened.path / MANIFEST).read_bytes()).hexdigest()[:32]
    kept = model_files.keep(opened, settings.home, id, storage)
    with engine.begin() as connection:
        _one_at_a_time(connection)
        add_model(connection, kept, id=id, owner=BY_SERVE, state="given", now=now)
        last = connection.execute(
            select(promotions.c.model_id)
            .where(promotions.c.by == BY_SERVE)
            .order_by(promotions.c.at.desc(), promotions.c.id)
            .limit(1)
        ).scalar_one_or_none()
        if last != id:
            done = _swap(connection, current_model(connection), id, BY_SERVE, now)
            assert done is not None, "the table is locked"
            if done.replaced is not None:
                say(f"another bundle than before: it answers now, in place of {done.replaced}")
    return id


def add_model(
    connection: Connection,
    bundle: Bundle,
    *,
    id: str,
    owner: str,
    state: str,
    now: float,
    **values: Any,
) -> None:
    """Write a model's row; where it is there already, nothing.

    Args:
        values: further columns of `tables.models`, such as `parent_id`, `job_id`, `reason`.
    """
    if connection.execute(select(models.c.id).where(models.c.id == id)).first() is None:
        row = {"id": id, "owner": owner, "created_at": now, "state": state, "bundle": id}
        row |= {"bundle_id": bundle.id, "about": about(bundle)} | values
        connection.execute(insert(models).values(row))


def about(bundle: Bundle) -> dict[str, Any]:
    """What a list says of a model, from its manifest; score in percent, None where unknown."""
    manifest = bundle.manifest
    metric = manifest.metrics.get("metric")
    score = dict(manifest.metrics.get("test") or {}).get(metric)
    return {
        "task": manifest.task,
        "runtime": manifest.runtime,
        "precision": manifest.precision,
        "size_bytes": bundle.size_bytes,
        "num_classes": len(manifest.classes),
        "metric": metric,
        "score": score,
        "network": manifest.model.get("name"),
    }


def promote(
    connection: Connection,
    model_id: str,
    by: str,
    *,
    now: float,
    expect: str | None = None,
) -> Promotion:
    """Put a model in the place of the current one, or change nothing.

    Args:
        by: whose doing it is, for the record in `promotions`.
        expect: id of the model that must be current; None: whichever is.

    Raises:
        ModelNotFoundError: there is no such model.
        PromotionError: `changed_meanwhile`: another is current than expected, or became it during
            this call; `not_offered`: the gate rejected the model, or its files are gone;
            `stale_comparison`: it was compared with a model that is no longer current.
    """
    row = connection.execute(select(models).where(models.c.id == model_id)).mappings().first()
    if row is None:
        raise ModelNotFoundError(model_id)
    now_current = current_model(connection)
    if expect is not None and (now_current is None or now_current.model_id != expect):
        raise PromotionError("changed_meanwhile", "another model is current than was expected")
    if now_current is not None and now_current.model_id == model_id:
        return Promotion(model_id, model_id)
    _refuse(row, now_current, answered_before(connection, model_id))
    done = _swap(connection, now_current, model_id, by, now)
    if done is None:
        raise PromotionError("changed_meanwhile", "another model became current at this moment")
    return done


def answered_before(connection: Connection, model_id: str) -> bool:
    """Whether it was current at any time."""
    found = select(promotions.c.id).where(promotions.c.model_id == model_id).limit(1)
    return connection.execute(found).first() is not None


def _refuse(row: Mapping[Any, Any], now_current: Current | None, answered: bool) -> None:
    if row["state"] == "retired":
        raise PromotionError("not_offered", "its files were deleted")
    if answered:
        return
    if row["state"] != "offered":
        why = f": {row['reason']}" if row["reason"] else ""
        raise PromotionError("not_offered", f"it was not found good enough{why}")
    if now_current is not None and row["parent_id"] != now_current.model_id:
        raise PromotionError(
            "stale_comparison",
            "it was compared with a model that is no longer current; train again to compare it "
            "with the one that is",
        )


def _swap(
    connection: Connection, old: Current | None, model_id: str, by: str, now: float
) -> Promotion | None:
    """Change the row if it is still as it was read; None where it isn't."""
    if old is None:
        values = {"slot": SLOT, "model_id": model_id, "version": 1, "changed_at": now}
        connection.execute(insert(current).values(values))
    else:
        same = (current.c.slot == SLOT) & (current.c.version == old.version)
        values = {"model_id": model_id, "version": old.version + 1, "changed_at": now}
        if connection.execute(update(current).where(same).values(values)).rowcount != 1:
            return None
    replaced = None if old is None else old.model_id
    record = {"id": new_id(), "model_id": model_id, "replaced_id": replaced, "by": by, "at": now}
    connection.execute(insert(promotions).values(record))
    return Promotion(model_id, replaced)


def _one_at_a_time(connection: Connection) -> None:
    """Let no other process register at the same time; SQLite's transactions do that anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))


@dataclass(frozen=True)
class _Opened:
    current: Current
    predictor: Predictor


class Models:
    """The current model, opened once and shared by all threads of a process.

    When another becomes current it is opened beside the old one, by one thread, while the others
    are still answered by the old one; that is freed when the last call lets go of it.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        storage: PrivateStorage | None = None,
        *,
        open: Callable[[Path], Predictor] | None = None,
        check_seconds: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            open: makes a Predictor of a bundle's directory; `workflows.open.load` by default.
            check_seconds: how often it is looked whether another model is current.
        """
        self._home = settings.home
        self._engine = engine
        self._storage = storage
        self._open = open or (lambda path: load(path, threads=settings.threads))
        self._check_seconds = check_seconds
        self._monotonic = monotonic
        self._opening = threading.Lock()
        self._fetching = threading.Lock()
        self._opened: _Opened | None = None
        self._ready: tuple[str, Predictor] | None = None
        self._due = float("-inf")
        #: Why the model that is current can't be opened here, so that an older one answers.
        self.problem: str | None = None

    def predictor(self) -> tuple[str, Predictor]:
        """The id of the model that answers in this process, and its Predictor.

        It is current, or was until a moment ago. The call returns at once, but for the first one
        of a process, which opens the model.

        Raises:
            UserError: none is registered yet, or the first can't be opened.
            SQLAlchemyError: the database can't be reached, and none is open yet.
        """
        opened = self._opened
        if opened is None:
            opened = self.refresh()
        elif self._monotonic() >= self._due and self._opening.acquire(blocking=False):
            # No call waits for an opening: a thread of its own looks, and the old one answers.
            self._due = self._monotonic() + self._check_seconds
            threading.Thread(target=self._look, name="open-model", daemon=True).start()
        return opened.current.model_id, opened.predictor

    def refresh(self) -> _Opened:
        """Look at once which model is current, and open it; after a promotion in this process."""
        with self._opening:
            return self._update()

    def prepare(self, model_id: str) -> None:
        """Open a model before it becomes current, so that the change itself takes no time.

        Raises:
            UserError: it can't be opened here.
        """
        with self._opening:
            if self._opened is None or self._opened.current.model_id != model_id:
                self._ready = (model_id, self._open(self.directory(model_id)))

    def directory(self, model_id: str) -> Path:
        """A model's bundle on this machine, brought from the storage where needed.

        Raises:
            BundleError: its files are nowhere, or damaged.
        """
        with self._fetching:
            return model_files.fetch(self._home, model_id, self._storage).path

    def _look(self) -> None:
        """In a thread of its own, which holds `_opening` already."""
        try:
            self._update()
        except SQLAlchemyError as error:
            log.warning("can't look which model is current: %s", type(error).__name__)
        except Exception as error:
            # The one before goes on answering, under its own id; `problem` makes it seen.
            log.exception("the current model can't be opened")
            self.problem = str(error) if isinstance(error, UserError) else type(error).__name__
        finally:
            self._opening.release()

    def _update(self) -> _Opened:
        with self._engine.begin() as connection:
            found = current_model(connection)
        if found is None:
            raise UserError("no model is registered; start `pocketlens serve BUNDLE` first")
        opened = self._opened
        if opened is None or opened.current.model_id != found.model_id:
            ready, self._ready = self._ready, None
            if ready is not None and ready[0] == found.model_id:
                predictor = ready[1]
            else:
                predictor = self._open(self.directory(found.model_id))
            opened = _Opened(found, predictor)
        elif opened.current != found:
            opened = _Opened(found, opened.predictor)
        self._opened, self.problem = opened, None
        self._due = self._monotonic() + self._check_seconds
        return opened
