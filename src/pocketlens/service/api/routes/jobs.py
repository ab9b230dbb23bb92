"""Jobs: how far they are, what they came to, and an end to them."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response

from pocketlens.service import job_lists, jobs, spool
from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.problems import Problem, not_found, problems
from pocketlens.service.api.schemas import JobList, JobState, JobView
from pocketlens.service.api.views import job_view, json_response
from pocketlens.service.api.work import find, view_of
from pocketlens.service.database import reading

router = APIRouter(tags=["jobs"])

# What is no id, or no name, answers 404 like one that isn't there.
JobId = Annotated[str, Path(description="32 hexadecimal digits.", max_length=100)]
FileName = Annotated[str, Path(examples=["map-0.png"], max_length=100)]
_NAME: Final = re.compile(r"[a-z]{1,20}-[0-9]{1,4}\.(png|jpg)")
_TYPES: Final = {"png": "image/png", "jpg": "image/jpeg"}


@router.get("/v1/jobs/{id}", response_model=JobView, responses=problems(404), summary="A job")
def get_job(id: JobId, service: ServiceDep, user: UserDep) -> Response:
    """State, progress and result of a job: Pending, Running, then Done or Failed."""
    return view_of(find(service, user, id))


@router.get("/v1/jobs", response_model=JobList, summary="All jobs, the newest first")
def list_jobs(
    service: ServiceDep,
    user: UserDep,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    kind: Annotated[str | None, Query(pattern="^[a-z_]{1,16}$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None,
        Query(max_length=100, description="`next` of a page: what comes after it."),
    ] = None,
) -> Response:
    """Jobs of this user without their results, a page at a time."""
    try:
        with reading(service.database) as connection:
            page = job_lists.page(
                connection, user.name, state=state, kind=kind, limit=limit, after=after
            )
    except job_lists.CursorError:
        raise Problem(422, "invalid_request", "after: not the `next` of a page") from None
    views: list[dict[str, Any]] = [job_view(job, with_result=False) for job in page.jobs]
    return json_response({"jobs": views, "next": page.next})


@router.post(
    "/v1/jobs/{id}/cancel", response_model=JobView, responses=problems(404), summary="Stop a job"
)
def cancel_job(id: JobId, service: ServiceDep, user: UserDep) -> Response:
    """Ask a job to stop: a Pending one has Failed at once, a Running one will soon.

    A job that has ended stays as it is.
    """
    if find(service, user, id) is None:
        raise not_found("there is no such job")
    with service.database.begin() as connection:
        job = jobs.cancel(connection, user.name, id, now=time.time())
    if job is not None and jobs.is_ended(job):
        spool.drop(service.storage, id)
    return view_of(job)


@router.delete(
    "/v1/jobs/{id}", status_code=204, response_class=Response, responses=problems(404),
    summary="Delete a job",
)  # fmt: skip
def delete_job(id: JobId, service: ServiceDep, user: UserDep) -> Response:
    """Delete a job with all that belongs to it, in whatever state it is; it doesn't come back."""
    if find(service, user, id) is None:
        raise not_found("there is no such job")
    with service.database.begin() as connection:
        gone = jobs.remove(connection, user.name, id)
    if not gone:
        raise not_found("there is no such job")
    spool.drop(service.storage, id)
    service.storage.delete_private(f"results/{id}")
    return Response(status_code=204)


@router.get(
    "/v1/jobs/{id}/files/{name}",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404),
    },
    summary="A picture of a job's result",
)
def get_file(id: JobId, name: FileName, service: ServiceDep, user: UserDep) -> Response:
    """A picture that a job's result names."""
    if find(service, user, id) is None:
        raise not_found("there is no such job")
    if not _NAME.fullmatch(name):
        raise not_found("there is no such file")
    try:
        content = service.storage.get_private(f"results/{id}/{name}")
    except FileNotFoundError:
        raise not_found("there is no such file") from None
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]])
