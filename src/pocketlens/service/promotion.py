"""Which model answers, and how another takes its place.

The row `current` says it. It changes by compare and swap on its `version`, so of two that would
replace the same model exactly one does. A model that was trained here takes the place only of the
one that it was compared with; one that answered before may come back, until it is retired.

Who changes that row or retires a model holds it until the end of the transaction, so that no model
becomes current while it is retired. Who needs the lock on the table of models takes that first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select, text, update

from pocketlens.service.tables import current, models, new_id, promotions

#: The one row of `current`.
SLOT: Final = "served"
#: Who promoted the bundle that `serve` was given; no token's user has brackets in the name.
BY_SERVE: Final = "(serve)"
#: Why what is retired can't be promoted.
RETIRED: Final = "it was retired, and its files were deleted; train a new one"


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
    """What `promote` did: which model answers now, and which one it replaced, if any."""

    current: str
    replaced: str | None


def current_model(connection: Connection, *, hold: bool = False) -> Current | None:
    """The model that answers; None before the first was registered.

    Args:
        hold: let nobody change it until the transaction ends.
    """
    found = select(current).where(current.c.slot == SLOT)
    row = connection.execute(found.with_for_update() if hold else found).mappings().one_or_none()
    return None if row is None else Current(row["model_id"], row["version"], row["changed_at"])


def last_given(connection: Connection) -> str | None:
    """The model of the bundle that `serve` was given last."""
    return connection.execute(
        select(promotions.c.model_id)
        .where(promotions.c.by == BY_SERVE)
        .order_by(promotions.c.at.desc(), promotions.c.id)
        .limit(1)
    ).scalar_one_or_none()


def hold_models(connection: Connection) -> None:
    """Let nobody else register or retire a model; SQLite's transactions do that anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))


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
            this call; `not_offered`: the gate rejected the model; `retired`: its files were
            deleted; `stale_comparison`: it was compared with a model that is no longer current.
    """
    current_model(connection, hold=True)
    now_current = check(connection, model_id, expect=expect)
    if now_current is not None and now_current.model_id == model_id:
        return Promotion(model_id, None)
    done = swap(connection, now_current, model_id, by, now)
    if done is None:
        raise PromotionError("changed_meanwhile", "another model became current at this moment")
    return done


def check(connection: Connection, model_id: str, *, expect: str | None = None) -> Current | None:
    """The model that would be replaced; raises as `promote`, and changes nothing."""
    row = connection.execute(select(models).where(models.c.id == model_id)).mappings().first()
    if row is None:
        raise ModelNotFoundError(model_id)
    now_current = current_model(connection)
    if expect is not None and (now_current is None or now_current.model_id != expect):
        raise PromotionError("changed_meanwhile", "another model is current than was expected")
    if now_current is None or now_current.model_id != model_id:
        _refuse(row, now_current, answered_before(connection, model_id))
    return now_current


def is_retired(connection: Connection, model_id: str) -> bool:
    """Whether its files were deleted, or are being deleted."""
    state = connection.scalar(select(models.c.state).where(models.c.id == model_id))
    return state == "retired"


def answered_before(connection: Connection, model_id: str) -> bool:
    """Whether it was current at any time."""
    found = select(promotions.c.id).where(promotions.c.model_id == model_id).limit(1)
    return connection.execute(found).first() is not None


def _refuse(row: Mapping[Any, Any], now_current: Current | None, answered: bool) -> None:
    if row["state"] == "retired":
        raise PromotionError("retired", RETIRED)
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


def swap(
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
