"""Predictions of photos that were kept until a worker had time for them."""

from __future__ import annotations

from typing import Any

from pocketlens.service import answers, spool
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.jobs import Job


def run(job: Job, context: Context) -> Any:
    """The result of `request`: `files`, `boxes` (one entry a file, or None), `top_k`."""
    images = spool.read(context.storage, job.request["files"])
    wanted = answers.asked(images, job.request.get("boxes"))
    model_id, predictor = context.models.predictor()
    result = answers.predict(
        predictor,
        model_id,
        wanted,
        top_k=job.request.get("top_k", 5),
        max_pixels=context.settings.max_pixels,
    )
    if not answers.is_usable(result):
        raise JobFailed(answers.NO_USABLE_IMAGE, answers.no_usable(result))
    return result
