"""Whether the service lives, can answer, and how much it does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import APIRouter, Response
from sqlalchemy import select

from pocketlens.service.api.access import OperatorDep, ServiceDep
from pocketlens.service.api.metrics import CONTENT_TYPE
from pocketlens.service.api.problems import problems
from pocketlens.service.api.schemas import Health
from pocketlens.service.api.state import Service
from pocketlens.service.api.views import json_response
from pocketlens.service.database import reading

router = APIRouter(tags=["health"])
_log = logging.getLogger("pocketlens.service")


# Some monitors ask by HEAD.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=Health, summary="Does the process live?")
async def healthz() -> Response:
    """The process answers; nothing else is looked at."""
    return json_response({"status": "ok", "failing": []})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=Health,
    responses={503: {"model": Health, "description": "Names what doesn't answer."}},
    summary="Can requests be answered?",
)
def readyz(service: ServiceDep) -> Response:
    """Database, queue, storage and model, each asked now; 503 names those that don't answer."""
    parts = {"database": _database, "queue": _queue, "storage": _storage, "model": _model}
    failing = [name for name, check in parts.items() if not _answers(name, check, service)]
    values = {"status": "unavailable" if failing else "ok", "failing": failing}
    return json_response(values, 503 if failing else 200)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(403),
    },
    summary="Figures for Prometheus",
)
def metrics(service: ServiceDep, user: OperatorDep) -> Response:
    """Requests, predictions, jobs, queue, storage and the model that answers."""
    return Response(service.metrics.text(service.database), headers={"Content-Type": CONTENT_TYPE})


def _answers(name: str, check: Callable[[Service], None], service: Service) -> bool:
    try:
        check(service)
    except Exception as error:  # whatever it is, a client is told the part's name alone
        _log.warning("not ready", extra={"part": name, "error": f"{type(error).__name__}: {error}"})
        return False
    return True


def _database(service: Service) -> None:
    with reading(service.database) as connection:
        connection.execute(select(1))


def _queue(service: Service) -> None:
    service.queue.size()  # without it no job is ever taken


def _storage(service: Service) -> None:
    try:
        service.storage.get_private("ready/none")
    except FileNotFoundError:
        return


def _model(service: Service) -> None:
    service.models.predictor()
    if service.models.problem is not None:
        raise RuntimeError(service.models.problem)
