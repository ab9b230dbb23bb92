"""Models side by side: the tables that trainings leave, as data, as a page and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from sqlalchemy import Select, or_, select

from pocketlens.core.comparison import Comparison
from pocketlens.service import training
from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.model_schemas import ComparisonList
from pocketlens.service.api.problems import not_found, problems
from pocketlens.service.api.state import Service
from pocketlens.service.api.views import iso, json_response
from pocketlens.service.database import reading
from pocketlens.service.promotion import BY_SERVE
from pocketlens.service.settings import User
from pocketlens.service.tables import comparisons

router = APIRouter(tags=["comparisons"])

ComparisonId = Annotated[str, InPath(description="32 hexadecimal digits.", max_length=100)]


def _content(type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {type: {"schema": {"type": "string"}}}}, **problems(404)}


@router.get("/v1/comparisons", response_model=ComparisonList, summary="All comparisons")
def list_comparisons(
    service: ServiceDep, user: UserDep, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """Comparisons of one's own trainings, and that of the model it was started with."""
    newest = _visible(user).order_by(comparisons.c.created_at.desc(), comparisons.c.id)
    with reading(service.database) as connection:
        rows = connection.execute(newest.limit(limit)).mappings().all()
    return json_response({"comparisons": [_listed(row) for row in rows]})


@router.get(
    "/v1/comparisons/{id}",
    response_model=dict[str, Any],
    responses=problems(404),
    summary="A comparison",
)
def get_comparison(id: ComparisonId, service: ServiceDep, user: UserDep) -> Response:
    """All rows with what they were measured on, as `compare.json` has them."""
    return json_response(_table(service, user, id))


@router.get(
    "/v1/comparisons/{id}/report",
    response_class=Response,
    responses=_content("text/html"),
    summary="A comparison as a page",
)
def get_report(id: ComparisonId, service: ServiceDep, user: UserDep) -> Response:
    """A page that needs no network."""
    from pocketlens.reports import html

    text = html.render(Comparison.from_dict(_table(service, user, id)))
    return Response(text.encode("utf-8", "replace"), media_type="text/html; charset=utf-8")


@router.get(
    "/v1/comparisons/{id}/pareto.svg",
    response_class=Response,
    responses=_content("image/svg+xml"),
    summary="A comparison as a picture",
)
def get_picture(id: ComparisonId, service: ServiceDep, user: UserDep) -> Response:
    """Score against time and size; what no other model beats in both is joined by a line."""
    from pocketlens.reports import pareto_picture

    text = pareto_picture.render(Comparison.from_dict(_table(service, user, id)))
    return Response(text.encode("utf-8", "replace"), media_type="image/svg+xml")


def _table(service: Service, user: User, id: str) -> dict[str, Any]:
    # Databases refuse some characters.
    if not id.isalnum() or not id.isascii():
        raise not_found("there is no such comparison")
    with reading(service.database) as connection:
        row = connection.execute(_visible(user).where(comparisons.c.id == id)).mappings().first()
    if row is None:
        raise not_found("there is no such comparison; those of retired models are deleted")
    return _without_paths(dict(row["table"]), service.settings.home)


def _without_paths(table: dict[str, Any], home: Path) -> dict[str, Any]:
    """The table as it may be passed on: of paths on the machine that made it, the last part."""

    def told(value: Any) -> Any:
        if isinstance(value, str):
            return training.without_paths(value, home)
        if isinstance(value, Mapping):
            return {key: told(one) for key, one in value.items()}
        return [told(one) for one in value] if isinstance(value, list) else value

    table |= {key: told(table[key]) for key in ("config", "notes") if key in table}
    table["rows"] = [
        {key: told(value) if key in ("path", "reason") else value for key, value in row.items()}
        for row in table["rows"]
    ]
    return table


def _visible(user: User) -> Select[Any]:
    if user.operator:
        return select(comparisons)
    mine = or_(comparisons.c.owner == user.name, comparisons.c.owner == BY_SERVE)
    return select(comparisons).where(mine)


def _listed(row: Mapping[Any, Any]) -> dict[str, Any]:
    rows = row["table"].get("rows", [])
    return {
        "id": row["id"],
        "name": row["name"],
        "created_at": iso(row["created_at"]),
        "job_id": row["job_id"],
        "num_rows": len(rows),
        "best": next((one["name"] for one in rows if one.get("verdict") == "best"), None),
    }
