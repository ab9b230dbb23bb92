"""A better model from stored photos."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from pocketlens.service import datasets
from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.model_schemas import MAX_DROP, TrainingRequest
from pocketlens.service.api.problems import Problem, not_found, problems
from pocketlens.service.api.schemas import Accepted
from pocketlens.service.api.state import Service
from pocketlens.service.api.work import IdempotencyKey, job_answer, submit
from pocketlens.service.database import reading
from pocketlens.service.jobs import Job
from pocketlens.service.settings import User

router = APIRouter(tags=["trainings"])


@router.post(
    "/v1/trainings",
    status_code=202,
    response_model=Accepted,
    response_description="A job was made; its address is in `Location`.",
    responses=problems(403, 404),
    summary="Train a model",
)
async def start_training(
    request: TrainingRequest, service: ServiceDep, user: UserDep, key: IdempotencyKey = None
) -> Response:
    """Train on an own data set and judge the result against the model that answers now.

    Photos that tested an earlier model go on testing, whatever was uploaded since. The job's
    result says whether the new model is offered, and why; an operator promotes it, or asks for
    that here.
    """
    if request.promote and not user.operator:
        raise Problem(403, "not_operator", "only an operator may have it promoted")
    # Others see the word `offered`, and may not read on what terms.
    if not user.operator and (request.max_drop > MAX_DROP or request.max_latency_ms is not None):
        raise Problem(
            403, "not_operator", f"only an operator may let it lose more than {MAX_DROP:g} points "
            "or be slower",
        )  # fmt: skip
    job = await run_in_threadpool(_submit, request, service, user, key)
    return await job_answer(service, user, job, 0)


def _submit(request: TrainingRequest, service: Service, user: User, key: str | None) -> Job:
    if datasets.name_fault(request.dataset) is not None:
        raise not_found("there is no such data set")
    with reading(service.database) as connection:
        if datasets.find(connection, user.name, request.dataset) is None:
            raise not_found("there is no such data set")
    return submit(service, user, "train", request.model_dump(exclude_none=True), key=key)
