"""Trainings from stored photos: a new model, judged against the one that answers now."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.text import safe_filename
from pocketlens.service import model_files, training
from pocketlens.service.context import Cancelled, Context, JobFailed
from pocketlens.service.database import is_unavailable, reading
from pocketlens.service.datasets import materialise
from pocketlens.service.jobs import Job
from pocketlens.service.models import add_model
from pocketlens.service.promotion import PromotionError, current_model, promote
from pocketlens.service.storage import StorageUnavailableError
from pocketlens.service.tables import ENDED, comparisons, datasets, jobs, models, new_id

LANE = "long"

#: Why the gate decided as it did: a sentence, and the same for programs.
_REASONS: Final = ("reason", "reasons")


def run(job: Job, context: Context) -> Any:
    """Train what `request` says; it has the fields of `POST /v1/trainings`.

    A worker that is lost in the middle leaves its checkpoints, and another one on the same machine
    goes on from them. There is one model of a job, however often it is taken up.
    """
    model_id = model_files.id_of_training(job.id)
    if (before := _result_of(context, model_id)) is not None:
        return before  # the worker was lost between the model and the end of the job
    if why := training.unavailable():
        raise JobFailed("training_unavailable", why)
    work = context.settings.home / "work" / job.id
    try:
        spec_file = _prepared(job, context, work)
        spec = _spec(spec_file)
        try:
            found = training.run_process(spec_file, beat=context.beat)
        except training.TrainingFailedError as error:
            raise JobFailed(error.code, str(error)) from error
        result = _register(job, context, model_id, spec, found)
    except Cancelled:
        if _is_over(context, job):
            shutil.rmtree(work, ignore_errors=True)
        raise
    except Exception as error:
        # What is handed back goes on from here: hours of training aren't lost with a storage that
        # was away for a minute.
        if not (is_unavailable(error) or isinstance(error, StorageUnavailableError)):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    return result


def _prepared(job: Job, context: Context, work: Path) -> Path:
    """The directory of the work with data and spec, as an earlier attempt left it or new."""
    request = job.request
    with reading(context.database) as connection:
        serving = current_model(connection)
        dataset_id = connection.execute(
            select(datasets.c.id).where(
                datasets.c.owner == job.owner, datasets.c.name == request["dataset"]
            )
        ).scalar_one_or_none()
    if serving is None:
        raise JobFailed("no_model", "no model is registered that a new one could be compared with")
    if dataset_id is None:
        raise JobFailed("dataset_not_found", f"there is no data set {request['dataset']!r}")
    spec_file = work / "spec.json"
    # An attempt that compares with a model that is gone would train in vain.
    if spec_file.is_file() and _spec(spec_file)["current_id"] == serving.model_id:
        return spec_file
    training.stop_left(work)
    shutil.rmtree(work, ignore_errors=True)
    folder = work / "data" / safe_filename(request["dataset"])
    folder.mkdir(parents=True)
    context.beat({"step": "reading"})
    try:
        materialise(context.database, context.storage, dataset_id, folder)
    except DataError as error:
        raise JobFailed("data_not_ready", str(error)) from error
    context.beat(None)
    current = read_bundle(context.models.directory(serving.model_id))
    spec = training.Spec(
        name=request["dataset"],
        data=str(folder),
        current=str(current.path),
        current_id=serving.model_id,
        config=training.settings_for(current, request),
        shrink=request.get("shrink", True),
        max_drop=request.get("max_drop", 0.5),
        max_latency_ms=request.get("max_latency_ms"),
        threads=context.settings.threads,
    )
    unfinished = work / "spec.tmp"
    spec.write(unfinished)
    os.replace(unfinished, spec_file)  # where it stands, the photos are complete
    return spec_file


def _spec(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def _register(
    job: Job, context: Context, model_id: str, spec: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """Files first, then all rows in one transaction, if the job is still this attempt's."""
    home, storage = context.settings.home, context.storage
    bundle = read_bundle(found["bundle"])
    # Files of an attempt that ended before its row. Of an attempt that was thought dead nothing is
    # touched here: what lies there may be the model that the attempt after it has registered.
    _forget(job, context, model_id)
    promoted = None
    try:
        if found["offered"]:  # what never may answer need not be kept
            bundle = model_files.keep(bundle, home, model_id, storage)
            if job.request.get("promote"):
                promoted = _unopenable(context, model_id)
        with context.database.begin() as connection:
            if not _is_mine(connection, job):
                raise Cancelled
            return _write(connection, job, bundle, model_id, spec, found, promoted)
    except BaseException:
        with suppress(Exception, Cancelled):  # what is left, the next attempt removes
            _forget(job, context, model_id)
        raise


def _forget(job: Job, context: Context, model_id: str) -> None:
    """Remove the model's files where no other attempt can have made them.

    Raises:
        Cancelled: another attempt has the job, or had it.
    """
    with context.database.begin() as connection:
        mine = select(jobs.c.state, jobs.c.attempt).where(jobs.c.id == job.id).with_for_update()
        row = connection.execute(mine).first()
        made = connection.execute(select(models.c.id).where(models.c.id == model_id)).first()
        if made is not None or (row is not None and row.attempt != job.attempt):
            raise Cancelled
        model_files.forget(context.settings.home, model_id, context.storage)


def _unopenable(context: Context, model_id: str) -> str:
    """Why a model can't be opened here; empty where it can, and then it is."""
    try:
        context.models.prepare(model_id)
    except UserError as error:
        return training.without_paths(str(error), context.settings.home)
    return ""


def _write(
    connection: Connection,
    job: Job,
    bundle: Bundle,
    model_id: str,
    spec: Mapping[str, Any],
    found: Mapping[str, Any],
    unopenable: str | None,
) -> dict[str, Any]:
    """The rows of the comparison and the model, and the result of the job.

    Args:
        unopenable: None where it isn't to be promoted at once; else why it can't be opened.
    """
    now = time.time()
    comparison_id = None
    if found["comparison"] is not None:
        comparison_id = new_id()
        table = json.loads(Path(found["comparison"]).read_text(encoding="utf-8"))
        row = {"id": comparison_id, "owner": job.owner, "name": spec["name"], "created_at": now}
        connection.execute(insert(comparisons).values({**row, "table": table, "job_id": job.id}))
    state = "offered" if found["offered"] else "rejected"
    scores = {k: v for k, v in found.items() if k not in ("bundle", "comparison", *_REASONS)}
    result: dict[str, Any] = {
        "model_id": model_id,
        "state": state,
        **{key: found[key] for key in _REASONS},
        "promoted": False,
        "comparison_id": comparison_id,
        "scores": scores,
    }
    add_model(
        connection, bundle, id=model_id, owner=job.owner, state=state, now=now,
        parent_id=spec["current_id"], job_id=job.id, comparison_id=comparison_id,
        reason=found["reason"], reasons=found["reasons"], scores=scores,
    )  # fmt: skip
    if unopenable == "":
        try:
            with connection.begin_nested():
                promote(connection, model_id, job.owner, expect=spec["current_id"], now=now)
            result["promoted"] = True
        except PromotionError as error:
            result["not_promoted"] = {"code": error.code, "reason": str(error)}
    elif unopenable is not None:
        result["not_promoted"] = {"code": "cannot_be_opened", "reason": unopenable}
    return result


def _result_of(context: Context, model_id: str) -> dict[str, Any] | None:
    """The result of a training whose model is there already."""
    with reading(context.database) as connection:
        row = connection.execute(select(models).where(models.c.id == model_id)).mappings().first()
        serving = current_model(connection)
    if row is None:
        return None
    return {
        "model_id": model_id,
        "state": row["state"],
        "reason": row["reason"],
        "reasons": row["about"].get("reasons"),
        "promoted": serving is not None and serving.model_id == model_id,
        "comparison_id": row["comparison_id"],
        "scores": row["about"].get("scores", {}),
    }


def _is_mine(connection: Connection, job: Job) -> bool:
    """Whether the job is still this attempt's, and stays so until the transaction's end."""
    held = select(jobs.c.id).where(
        jobs.c.id == job.id,
        jobs.c.state == "Running",
        jobs.c.attempt == job.attempt,
        jobs.c.cancel_requested.is_(False),
    )
    return connection.execute(held.with_for_update()).first() is not None


def _is_over(context: Context, job: Job) -> bool:
    """Whether nobody will take the job up again."""
    with reading(context.database) as connection:
        row = connection.execute(
            select(jobs.c.state, jobs.c.cancel_requested).where(jobs.c.id == job.id)
        ).first()
    return row is None or row.state in ENDED or bool(row.cancel_requested)
