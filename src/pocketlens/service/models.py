"""Models: how they come into the table, and the one that is open.

Which one answers is `promotion.py`'s.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.comparison import Comparison
from pocketlens.core.directory import MANIFEST
from pocketlens.core.errors import UserError
from pocketlens.progress import say, warn
from pocketlens.service import model_files
from pocketlens.service.database import reading
from pocketlens.service.engine import Engine as Opened
from pocketlens.service.engine import open_engine
from pocketlens.service.model_files import PrivateStorage
from pocketlens.service.promotion import (
    BY_SERVE,
    Current,
    current_model,
    hold_models,
    last_given,
    swap,
)
from pocketlens.service.settings import Settings
from pocketlens.service.tables import comparisons, models, new_id

#: Seconds that a check is overdue, after which what is known of the current model is old.
_IDLE_SECONDS: Final = 3.0
#: What `fit` and `shrink` leave beside their bundles.
RESULT: Final = "compare.json"

log = logging.getLogger(__name__)


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
    beside = _comparison_beside(opened)
    with reading(engine) as connection:
        is_known = _has_files(connection, id)
    model_files.keep(opened, settings.home, id, storage if is_known else None)
    with engine.begin() as connection:
        hold_models(connection)
        if not _has_files(connection, id):
            # Until now they were files without a row, which `retiring` may have deleted.
            kept = model_files.keep(opened, settings.home, id, storage)
            _add_given(connection, kept, id, beside, now)
        if last_given(connection) != id:
            done = swap(connection, current_model(connection, hold=True), id, BY_SERVE, now)
            assert done is not None, "the row is held"
            if done.replaced is not None:
                say(f"another bundle than before: it answers now, in place of {done.replaced}")
    return id


def _comparison_beside(bundle: Bundle) -> tuple[str, dict[str, Any]] | None:
    """The table that `fit` or `shrink` left beside a bundle which it speaks of, with its name."""
    place = bundle.path.resolve()
    for home in (place.parent, place.parent.parent):
        try:
            table = json.loads((home / RESULT).read_text(encoding="utf-8"))
            paths = {row.path for row in Comparison.from_dict(table).rows}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            warn(f"{home / RESULT} is not shown: {error}")
            return None
        if place.name == "best" or place.relative_to(home).as_posix() in paths:
            return home.name[:100], table
    return None


def _add_given(
    connection: Connection,
    bundle: Bundle,
    id: str,
    beside: tuple[str, dict[str, Any]] | None,
    now: float,
) -> None:
    """The row of a bundle that is new here, or was retired since it was last served."""
    comparison_id = None
    if beside is not None:
        comparison_id, (name, table) = new_id(), beside
        row = {"id": comparison_id, "owner": BY_SERVE, "name": name, "created_at": now}
        connection.execute(insert(comparisons).values({**row, "table": table}))
    add_model(
        connection, bundle, id=id, owner=BY_SERVE, state="given", now=now,
        comparison_id=comparison_id,
    )  # fmt: skip
    again = {"state": "given", "retired_at": None, "comparison_id": comparison_id}
    connection.execute(update(models).where(models.c.id == id).values(again))


def _has_files(connection: Connection, id: str) -> bool:
    """Whether a model is there, and not retired."""
    state = connection.scalar(select(models.c.state).where(models.c.id == id))
    return state is not None and state != "retired"


def add_model(
    connection: Connection,
    bundle: Bundle,
    *,
    id: str,
    owner: str,
    state: str,
    now: float,
    scores: Mapping[str, Any] | None = None,
    reasons: Sequence[Mapping[str, Any]] | None = None,
    **values: Any,
) -> None:
    """Write a model's row; where it is there already, nothing.

    Args:
        scores, reasons: what the gate found, as `workflows.succeed.Succession.to_dict` has it.
        values: further columns of `tables.models`, such as `parent_id`, `job_id`, `reason`.
    """
    if connection.execute(select(models.c.id).where(models.c.id == id)).first() is None:
        row = {"id": id, "owner": owner, "created_at": now, "state": state, "bundle": id}
        described = about(bundle)
        described |= {} if scores is None else {"scores": dict(scores)}
        described |= {} if reasons is None else {"reasons": list(reasons)}
        row |= {"bundle_id": bundle.id, "about": described} | values
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


@dataclass(frozen=True)
class _Serving:
    current: Current
    opened: Opened


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
        open: Callable[[Path], Opened] | None = None,
        check_seconds: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            open: makes an engine of a bundle's directory; `engine.open_engine` by default.
            check_seconds: how often it is looked whether another model is current.
        """
        self._home = settings.home
        self._engine = engine
        self._storage = storage
        self._open = open or (lambda path: open_engine(path, settings))
        self._check_seconds = check_seconds
        self._monotonic = monotonic
        self._opening = threading.Lock()
        self._fetching = threading.Lock()
        self._serving: _Serving | None = None
        self._ready: tuple[str, Opened] | None = None
        self._due = float("-inf")
        #: Why the model that is current can't be opened here, so that an older one answers.
        self.problem: str | None = None

    def predictor(self) -> tuple[str, Opened]:
        """The id of the model that answers in this process, and its engine.

        It is current, or was until a moment ago. The call returns at once, but for the first one
        of a process, and for one after an idle time in which another model became current: these
        open the model.

        Raises:
            UserError: none is registered yet, or the first can't be opened.
            SQLAlchemyError: the database can't be reached, and none is open yet.
        """
        serving = self._serving
        if serving is None:
            serving = self.refresh()
        elif self._monotonic() >= self._due and self._opening.acquire(blocking=False):
            is_old = self._monotonic() >= self._due + _IDLE_SECONDS
            self._due = self._monotonic() + self._check_seconds
            if is_old:  # nobody has asked for a while: the promotion may be hours ago
                self._look()
                serving = self._serving or serving
            else:
                # No call waits for an opening: a thread of its own looks, and the old one answers.
                threading.Thread(target=self._look, name="open-model", daemon=True).start()
        return serving.current.model_id, serving.opened

    def refresh(self) -> _Serving:
        """Look at once which model is current, and open it; after a promotion in this process."""
        with self._opening:
            return self._update()

    def prepare(self, model_id: str) -> None:
        """Open a model before it becomes current, so that the change itself takes no time.

        Raises:
            UserError: it can't be opened here.
        """
        with self._opening:
            if self._serving is None or self._serving.current.model_id != model_id:
                self._ready = (model_id, self._open(self.directory(model_id)))

    def forget_prepared(self) -> None:
        """Let go of a model that was prepared and didn't become current."""
        with self._opening:
            self._ready = None

    def close(self) -> None:
        """Answer what waits, then free the model; it isn't looked for another any more."""
        with self._opening:
            self._due = float("inf")
            serving, self._serving, self._ready = self._serving, None, None
        if serving is not None:
            serving.opened.close()

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

    def _update(self) -> _Serving:
        with reading(self._engine) as connection:
            found = current_model(connection)
        if found is None:
            raise UserError("no model is registered; start `pocketlens serve BUNDLE` first")
        serving = self._serving
        if serving is None or serving.current.model_id != found.model_id:
            ready, self._ready = self._ready, None
            if ready is not None and ready[0] == found.model_id:
                opened = ready[1]
            else:
                opened = self._open(self.directory(found.model_id))
            # The one before ends its threads when the last call lets go of it.
            serving = _Serving(found, opened)
        elif serving.current != found:
            serving = _Serving(found, serving.opened)
        self._serving, self.problem = serving, None
        self._due = self._monotonic() + self._check_seconds
        return serving
