"""Predictions of photos that were kept until a worker had time for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Prediction, Request
from pocketlens.core.stream import batched
from pocketlens.service import answers, spool
from pocketlens.service.answers import Asked
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.engine import EngineClosedError
from pocketlens.service.jobs import Job

#: Images between two signs of life.
_AT_ONCE: Final = 32


def run(job: Job, context: Context) -> Any:
    """The result of `request`: `files`, `boxes` (one entry a file, or None), `top_k`.

    Raises:
        JobFailed: no image can be used, no model can answer, or the photos are gone.
    """
    try:
        images = spool.read(context.storage, job.request["files"])
    except FileNotFoundError as error:
        raise JobFailed("request_gone", "the photos of this request are gone") from error
    wanted = answers.asked(images, job.request.get("boxes"))
    while True:
        try:
            model_id, engine = context.models.predictor()
            predictions = _ask(engine, wanted, context)
            break
        except EngineClosedError:  # another model became current, which answers the whole
            context.beat(None)
        except UserError as error:
            context.log.warning("no model can answer: %s", error)
            raise JobFailed("no_model", "the service has no model that can answer") from error
    top_k = job.request.get("top_k", 5)
    manifest = engine.predictor.manifest
    result = answers.result(manifest, model_id, wanted, predictions, top_k=top_k)
    if not answers.is_usable(result):
        raise JobFailed(answers.NO_USABLE_IMAGE, answers.no_usable(result))
    return result


def _ask(engine: Any, wanted: Sequence[Asked], context: Context) -> list[Prediction]:
    found: list[Prediction] = []
    for part in batched((Request(one.data, one.box) for one in wanted), _AT_ONCE):
        if found:
            context.beat({"done": len(found), "of": len(wanted)})
        found += engine.answer_now(part)
    return found
