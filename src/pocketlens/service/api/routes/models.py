"""Which model answers, which others could, and changing it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import Select, or_, select

from pocketlens.core.errors import UserError
from pocketlens.service import training
from pocketlens.service.api.access import OperatorDep, ServiceDep, UserDep
from pocketlens.service.api.model_schemas import ModelList, ModelView, Promoted, PromoteRequest
from pocketlens.service.api.problems import Problem, not_found, problems
from pocketlens.service.api.views import iso, json_response
from pocketlens.service.database import reading
from pocketlens.service.promotion import (
    BY_SERVE,
    RETIRED,
    ModelNotFoundError,
    PromotionError,
    check,
    current_model,
    is_retired,
    promote,
)
from pocketlens.service.settings import User
from pocketlens.service.tables import models

router = APIRouter(tags=["models"])

ModelId = Annotated[str, Path(description="32 hexadecimal digits.", max_length=100)]


@router.get("/v1/models", response_model=ModelList, summary="All models, the newest first")
def list_models(
    service: ServiceDep, user: UserDep, limit: Annotated[int, Query(ge=1, le=200)] = 100
) -> Response:
    """The model that answers, those that it was started with, and one's own."""
    with reading(service.database) as connection:
        serving = current_model(connection)
        id = None if serving is None else serving.model_id
        newest = _visible(user, id).order_by(models.c.created_at.desc(), models.c.id).limit(limit)
        rows = connection.execute(newest).mappings().all()
    return json_response({"current": id, "models": [_view(row, id, user) for row in rows]})


@router.get("/v1/models/{id}", response_model=ModelView, responses=problems(404), summary="A model")
def get_model(id: ModelId, service: ServiceDep, user: UserDep) -> Response:
    """A model, and what the gate found of it."""
    _refuse_no_id(id)
    with reading(service.database) as connection:
        serving = current_model(connection)
        now = None if serving is None else serving.model_id
        one = _visible(user, now).where(models.c.id == id)
        row = connection.execute(one).mappings().first()
    if row is None:
        raise not_found("there is no such model")
    return json_response(_view(row, now, user))


@router.post(
    "/v1/models/{id}/promote",
    response_model=Promoted,
    responses=problems(403, 404, 409),
    summary="Let a model answer",
)
def promote_model(
    id: ModelId,
    service: ServiceDep,
    user: OperatorDep,
    request: PromoteRequest | None = None,
) -> Response:
    """Put a model in the place of the current one; the one before can be put back the same way.

    The model is opened first, so no request fails or waits meanwhile. What the gate rejected, or
    what was compared with a model that is no longer current, is refused; so is a retired one.
    """
    _refuse_no_id(id)
    expect = None if request is None else request.expect_current
    try:
        with reading(service.database) as connection:
            check(connection, id, expect=expect)
        service.models.prepare(id)
        with service.database.begin() as connection:
            done = promote(connection, id, user.name, expect=expect, now=time.time())
    except ModelNotFoundError:
        raise not_found("there is no such model") from None
    except PromotionError as error:
        service.models.forget_prepared()
        raise Problem(409, error.code, str(error)) from None
    except UserError as error:
        with reading(service.database) as connection:
            if is_retired(connection, id):  # since it was looked at
                raise Problem(409, "retired", RETIRED) from None
        reason = training.without_paths(str(error), service.settings.home)
        raise Problem(409, "cannot_be_opened", reason) from None
    service.models.refresh()
    return json_response({"current": done.current, "replaced": done.replaced})


def _refuse_no_id(id: str) -> None:
    """What can't be an id answers as one that isn't there; databases refuse some characters."""
    if not id.isalnum() or not id.isascii():
        raise not_found("there is no such model")


def _visible(user: User, now: str | None) -> Select[Any]:
    """Models that a user may know of: an operator all."""
    if user.operator:
        return select(models)
    mine = or_(models.c.owner == user.name, models.c.owner == BY_SERVE, models.c.id == now)
    return select(models).where(mine)


def _view(row: Mapping[Any, Any], now: str | None, user: User) -> dict[str, Any]:
    about = dict(row["about"])
    # Of another's photos nothing is told, also where all are answered by the model they made.
    mine = user.operator or row["owner"] in (user.name, BY_SERVE)
    return {
        "id": row["id"],
        "state": row["state"],
        "created_at": iso(row["created_at"]),
        "current": row["id"] == now,
        **{key: about.get(key) for key in ("runtime", "precision", "network", "task")},
        **{key: about.get(key) for key in ("size_bytes", "num_classes", "metric", "score")},
        "reason": row["reason"] if mine else None,
        "reasons": about.get("reasons") if mine else None,
        "scores": about.get("scores") if mine else None,
        "compared_with": row["parent_id"],
        "comparison_id": row["comparison_id"] if mine else None,
        "job_id": row["job_id"] if mine else None,
    }
