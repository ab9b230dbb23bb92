"""Labelled photos to train with: uploads, what is there, and whether it is enough."""

from __future__ import annotations

import time
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy import update
from starlette.concurrency import run_in_threadpool

from pocketlens.core.dataset import Task
from pocketlens.datasets._photos import Labels
from pocketlens.service import datasets, jobs, tables
from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.forms import read_form
from pocketlens.service.api.problems import Problem, not_found, problems
from pocketlens.service.api.room import body_is_gone
from pocketlens.service.api.routes import _dataset_forms as _forms
from pocketlens.service.api.schemas import Accepted
from pocketlens.service.api.schemas_datasets import Added, Checked, DatasetList, DatasetView
from pocketlens.service.api.state import Service
from pocketlens.service.api.views import iso, json_response
from pocketlens.service.api.work import failed, find
from pocketlens.service.archives import ArchiveError
from pocketlens.service.database import reading
from pocketlens.service.datasets import Kept
from pocketlens.service.intake import OtherTaskError, Outcome, take_in
from pocketlens.service.jobs import Job
from pocketlens.service.kinds.check import nothing
from pocketlens.service.layouts import read_archive
from pocketlens.service.marks import Incoming
from pocketlens.service.settings import User
from pocketlens.service.tables import new_id

router = APIRouter(tags=["datasets"])

#: Refused photos that an answer names; their number is told of all.
_MOST_REJECTED: Final = 1_000
#: A check that failed isn't tried again at once.
_TRY_AGAIN_SECONDS: Final = 60.0
_RETRY_AFTER: Final = "1"

Name = Annotated[str, Path(description="1 to 100 characters, no slashes.", examples=["pills"])]


@router.get("/v1/datasets", response_model=DatasetList, summary="All data sets")
def list_datasets(service: ServiceDep, user: UserDep) -> Response:
    """This user's data sets by name."""
    with reading(service.database) as connection:
        found = datasets.list_all(connection, user.name)
    return json_response({"datasets": [_view(kept) for kept in found]})


@router.get(
    "/v1/datasets/{name}", response_model=DatasetView, responses=problems(404), summary="A data set"
)
def get_dataset(name: Name, service: ServiceDep, user: UserDep) -> Response:
    """How many samples it has, in all and of each class."""
    kept = _find(service, user, name)
    with reading(service.database) as connection:
        counts = datasets.class_counts(connection, kept.id)
    return json_response({**_view(kept), "class_counts": counts})


@router.delete(
    "/v1/datasets/{name}", status_code=204, response_class=Response, responses=problems(404),
    summary="Delete a data set",
)  # fmt: skip
def delete_dataset(name: Name, service: ServiceDep, user: UserDep) -> Response:
    """Delete it with its photos; those that another data set of this user has stay."""
    _find(service, user, name)
    if not datasets.remove(service.database, service.storage, user.name, name, now=time.time()):
        raise not_found("there is no such data set")
    return Response(status_code=204)


@router.post(
    "/v1/datasets/{name}/images",
    status_code=201,
    response_model=Added,
    responses=problems(400, 409, 415, 507),
    openapi_extra=_forms.BODY,
    summary="Add labelled photos",
)
async def add_images(name: Name, request: Request, service: ServiceDep, user: UserDep) -> Response:
    """Add photos one by one, or a zip of them; the data set is made where there is none.

    Photos that are there already are passed over, so an upload that was interrupted can be sent
    again. One that is there with other labels is refused; with `replace=true` it gets the new
    ones. What can't be used is listed with its reason and ends nothing.
    """
    if fault := datasets.name_fault(name):
        raise Problem(422, "invalid_name", fault)
    form = await read_form(request)
    archive, replace = form.file("archive"), _forms.replace(form)
    if archive is not None and "images" in form.names:
        raise Problem(422, "invalid_request", "give images or an archive, not both")
    if archive is not None:
        classes, labels = _forms.classes(form), _forms.read_as(form)
        body_is_gone(request.scope)  # it lies on disk, and unpacking may take long
        outcome = await run_in_threadpool(
            _add_archive, service, user, name, archive, classes, labels, replace
        )
    else:
        images = await form.files("images")
        if not images:
            raise Problem(422, "invalid_request", "images: at least one file is needed")
        marks, task = _forms.marks(form, len(images))
        incoming = [
            Incoming(f"images[{number}]", data, (mark,))
            for number, (data, mark) in enumerate(zip(images, marks, strict=True))
        ]
        outcome = await run_in_threadpool(_add, service, user, name, incoming, task, replace)
    return await run_in_threadpool(_added, service, user, name, outcome)


@router.get(
    "/v1/datasets/{name}/check",
    response_model=Checked,
    responses={
        202: {"description": "It is being looked at; ask again.", "model": Accepted},
        **problems(404),
    },
    summary="Is it ready to train from?",
)
def check_dataset(name: Name, service: ServiceDep, user: UserDep) -> Response:
    """What `pocketlens check` finds, whether training can begin, and what is missing if not.

    While that is being found out, the answer is a job; what was found is kept until photos are
    added or deleted.
    """
    kept = _find(service, user, name)
    if not kept.num_samples:
        return json_response(nothing(kept.name, kept.task, kept.version))
    job = _checked(service, user, kept)
    if job is not None and job.state == "Done":
        return json_response(job.result)
    if job is not None and job.state == "Failed":
        assert job.ended_at is not None
        if job.code not in (jobs.CANCELLED, jobs.WORKER_LOST) and (
            time.time() < job.ended_at + _TRY_AGAIN_SECONDS
        ):
            raise failed(job.id, job.code or "internal", job.reason or "it failed")
        job = None
    id = _begin_check(service, user, kept) if job is None else job.id
    headers = {"Location": f"/v1/jobs/{id}", "Retry-After": _RETRY_AFTER}
    return json_response(
        {"job_id": id, "state": "Pending" if job is None else job.state}, 202, **headers
    )


def _checked(service: Service, user: User, kept: Kept) -> Job | None:
    """The job that looked at this version of the data, or is about to."""
    if kept.check_job_id is None or kept.check_version != kept.version:
        return None
    return find(service, user, kept.check_job_id)


def _begin_check(service: Service, user: User, kept: Kept) -> str:
    """A job for this version; of two that ask at once, one makes it."""
    id, columns = new_id(), tables.datasets.c
    request = {"dataset": kept.name, "dataset_id": kept.id, "version": kept.version}
    unchanged = columns.check_job_id.is_not_distinct_from(kept.check_job_id)
    mine = update(tables.datasets).where(columns.id == kept.id, unchanged)
    with service.database.begin() as connection:
        first = mine.values(check_job_id=id, check_version=kept.version)
        if is_first := connection.execute(first).rowcount == 1:
            jobs.submit(connection, user.name, "check", request, now=time.time(), id=id)
    if is_first:
        service.queue.put(id, "check")
        return id
    other = _find(service, user, kept.name).check_job_id
    if other is None:
        raise not_found("there is no such data set")
    return other


def _add_archive(
    service: Service,
    user: User,
    name: str,
    archive: IO[bytes],
    classes: list[str] | None,
    labels: Labels,
    replace: bool,
) -> Outcome:
    work = service.settings.home / "work" / f"upload-{new_id()}"
    try:
        with read_archive(archive, work, classes=classes, labels=labels) as contents:
            photos, info = contents.photos, contents.class_info
            outcome = _take_in(service, user, name, photos, contents.task, replace, info)
            outcome.rejected = [*contents.rejected, *outcome.rejected]
            return outcome
    except ArchiveError as error:
        raise Problem(422, error.code, str(error)) from error


def _add(
    service: Service, user: User, name: str, photos: list[Incoming], task: Task, replace: bool
) -> Outcome:
    with reading(service.database) as connection:
        kept = datasets.find(connection, user.name, name)
    # A text is a list of one where that is what the data set has.
    task = kept.task if kept and task == "single_label" else task
    return _take_in(service, user, name, photos, task, replace)


def _take_in(
    service: Service,
    user: User,
    name: str,
    photos: Any,
    task: Task,
    replace: bool,
    info: Any = None,
) -> Outcome:
    try:
        return take_in(
            service.database,
            service.storage,
            user.name,
            name,
            photos,
            task=task,
            class_info=info,
            max_pixels=service.settings.max_pixels,
            quota_bytes=service.settings.quota_bytes,
            now=time.time(),
            replace=replace,
        )
    except OtherTaskError as error:
        raise Problem(409, "other_task", str(error)) from error


def _added(service: Service, user: User, name: str, outcome: Outcome) -> Response:
    rejected = [
        {"name": one.name, "code": one.code, "reason": one.reason}
        for one in outcome.rejected[:_MOST_REJECTED]
    ]
    told: dict[str, Any] = {"rejected": rejected, "num_rejected": len(outcome.rejected)}
    if not (outcome.added or outcome.duplicates or outcome.replaced):
        detail = rejected[0]["reason"] if rejected else "there is no photo"
        raise Problem(422, "no_usable_image", f"no photo could be added: {detail}", **told)
    with reading(service.database) as connection:
        kept = datasets.find(connection, user.name, name)
        counts = {} if kept is None else datasets.class_counts(connection, kept.id)
    numbers = {key: getattr(outcome, key) for key in ("added", "duplicates", "replaced")}
    total = {"num_samples": kept.num_samples if kept else 0, "class_counts": counts}
    return json_response({"dataset": name, **numbers, **told, **total}, 201)


def _find(service: Service, user: User, name: str) -> Kept:
    kept = None
    if datasets.name_fault(name) is None:
        with reading(service.database) as connection:
            kept = datasets.find(connection, user.name, name)
    if kept is None:
        raise not_found("there is no such data set")
    return kept


def _view(kept: Kept) -> dict[str, Any]:
    return {
        "dataset": kept.name,
        "task": kept.task,
        "created_at": iso(kept.created_at),
        "version": kept.version,
        "num_samples": kept.num_samples,
    }
