"""What a user stores, and the account of what was deleted."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response
from sqlalchemy import Connection, func, select

from pocketlens.service import blobs, retiring, tables
from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.schemas_datasets import Account
from pocketlens.service.api.views import iso, json_response
from pocketlens.service.database import reading
from pocketlens.service.promotion import BY_SERVE
from pocketlens.service.settings import KEEP_ANSWERS_DAYS

router = APIRouter(tags=["account"])

_LATEST: Final = 100


@router.get("/v1/account", response_model=Account, summary="What is stored, and what was deleted")
def get_account(service: ServiceDep, user: UserDep) -> Response:
    """What this user stores, how long it is kept, and the latest deletions with their reasons.

    An operator is also told which models went of those that the service was started with.
    """
    settings, deletions = service.settings, tables.deletions.c
    owners = [user.name, BY_SERVE] if user.operator else [user.name]
    with reading(service.database) as connection:
        num_photos, size_bytes = blobs.used_bytes(connection, user.name)
        lines = connection.execute(
            select(tables.deletions)
            .where(deletions.owner.in_(owners))
            .order_by(deletions.at.desc(), deletions.id)
            .limit(_LATEST)
        ).all()
        num_models, models_bytes = retiring.usable(connection, user.name)
        numbers = {
            f"num_{table.name}": _number(connection, table, user.name)
            for table in (tables.datasets, tables.jobs)
        }
    keep = settings.keep_days
    return json_response(
        {
            "user": user.name,
            "operator": user.operator,
            "num_photos": num_photos,
            "size_bytes": size_bytes,
            "quota_bytes": settings.quota_bytes,
            **numbers,
            "num_models": num_models,
            "models_bytes": models_bytes,
            "max_models": retiring.MOST_MODELS,
            "keep_answers_days": KEEP_ANSWERS_DAYS if keep is None else keep,
            "keep_photos_days": keep,
            "deletions": [
                {
                    "at": iso(line.at),
                    "what": line.what,
                    "why": line.why,
                    "count": line.count,
                    "size_bytes": line.size_bytes,
                }
                for line in lines
            ],
        }
    )


def _number(connection: Connection, table: Any, owner: str) -> int:
    mine = select(func.count()).select_from(table).where(table.c.owner == owner)
    return connection.scalar(mine) or 0
