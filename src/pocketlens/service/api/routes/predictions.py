"""Photos in, answers out: at once where they are ready soon, else as a job."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from pocketlens.core.predictor import Prediction
from pocketlens.core.predictor import Request as Question
from pocketlens.service import answers, jobs
from pocketlens.service.answers import Asked
from pocketlens.service.api import fetching
from pocketlens.service.api.access import service_of, user_of
from pocketlens.service.api.forms import Form, form_body, read_form
from pocketlens.service.api.problems import Problem, problems
from pocketlens.service.api.room import body_is_gone
from pocketlens.service.api.schemas import Accepted, Predicted
from pocketlens.service.api.state import Service
from pocketlens.service.api.work import IdempotencyKey, Wait, failed, job_answer, submit
from pocketlens.service.engine import EngineClosedError, EngineFullError
from pocketlens.service.settings import User
from pocketlens.service.tables import new_id

router = APIRouter(tags=["predictions"])

#: Things to classify in one request.
MOST: Final = 1_000
#: Beyond so many a request is a job, so that others don't wait behind it.
_AT_ONCE: Final = 16
_MOST_TOP: Final = 100

_BODY: Final = form_body(
    {
        "type": "object",
        "properties": {
            "images": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "minItems": 1,
                "description": "Photos: JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM or AVIF.",
            },
            "boxes": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "A JSON list with an entry for each image: null, "
                "[x, y, width, height] in pixels of the upright photo, or a list of "
                "such boxes.",
                "example": "[[10, 20, 200, 150]]",
            },
            "top_k": {
                "type": "integer",
                "minimum": 1,
                "maximum": _MOST_TOP,
                "default": 5,
                "description": "Classes to name for each image.",
            },
            "image_url": {
                "type": "string",
                "minLength": 1,
                "description": "Address of a photo in place of `images`; refused "
                "unless the service was started with --allow-urls.",
            },
        },
        "oneOf": [{"required": ["images"]}, {"required": ["image_url"]}],
    },
    text=("boxes",),
)


@router.post(
    "/v1/predictions",
    status_code=202,
    response_model=Accepted,
    response_description="A job was made; its address is in `Location`.",
    responses={
        200: {"model": Predicted, "description": "The answer, ready within `wait` seconds."},
        **problems(410),
    },
    openapi_extra=_BODY,
    summary="Classify photos",
)
async def predict(request: Request, wait: Wait = 0, key: IdempotencyKey = None) -> Response:
    """Classify one photo or many, whole or by boxes.

    Without `wait` a job is made and its id answered at once. With it the answer itself comes if
    it is ready in time, and the job otherwise.
    """
    until = time.monotonic() + wait
    service, user = service_of(request), user_of(request)  # each dependency costs 0.1 ms
    form = await read_form(request)
    images = await _images(form, service)
    boxes = _boxes(form, len(images))
    top_k = _top_k(form)
    wanted = answers.asked(images, boxes)
    if len(wanted) > MOST:
        raise Problem(413, "too_many_boxes", f"at most {MOST:,} images and boxes in one request")
    if wait > 0 and key is None and len(wanted) <= _AT_ONCE:
        answered = await _at_once(service, user, wanted, top_k, until - time.monotonic())
        if answered is not None:
            return answered
    parameters = {"boxes": boxes, "top_k": top_k}
    job = await run_in_threadpool(submit, service, user, "predict", parameters, images, key=key)
    del form, images, wanted
    body_is_gone(request.scope)
    return await job_answer(service, user, job, max(0.0, until - time.monotonic()) if wait else 0)


async def _at_once(
    service: Service, user: User, wanted: Sequence[Asked], top_k: int, seconds: float
) -> Response | None:
    """The answer by this process; None where there is no room, or no answer in time."""
    id, started = new_id(), time.time()
    questions = [Question(one.data, one.box) for one in wanted]
    model_id, engine = service.models.predictor()
    parameters = {"top_k": top_k, "num": len(wanted)}

    def then(predictions: list[Prediction]) -> tuple[dict[str, Any], bytes]:
        manifest = engine.predictor.manifest
        result = answers.result(manifest, model_id, wanted, predictions, top_k=top_k)
        usable = answers.is_usable(result)
        body = json.dumps(
            {"job_id": id, "state": "Done", "result": result}, ensure_ascii=False
        ).encode("utf-8", "replace")
        ending: dict[str, Any] = {"result": result}
        if not usable:
            ending = {"code": answers.NO_USABLE_IMAGE, "reason": answers.no_usable(result)}
        with service.database.begin() as connection:
            jobs.record(
                connection, user.name, "predict", parameters,
                now=time.time(), id=id, started_at=started, **ending,
            )  # fmt: skip
        return ending, body

    try:
        if seconds <= 0:
            return None
        ending, body = await engine.answer(questions, timeout=seconds, then=then)
    except (TimeoutError, EngineFullError, EngineClosedError):
        return None
    errors = len(wanted)
    if "code" not in ending:
        errors = sum(entry["error"] is not None for entry in ending["result"]["predictions"])
    service.metrics.predicted(len(wanted), errors)
    if "code" in ending:
        raise failed(id, ending["code"], ending["reason"])
    return Response(body, 200, {"Location": f"/v1/jobs/{id}"}, media_type="application/json")


async def _images(form: Form, service: Service) -> list[bytes]:
    """The photos of a request, from its parts or from an address."""
    images = await form.files("images")
    address = form.text("image_url")
    if address is not None:
        if images:
            raise Problem(422, "invalid_request", "give images or image_url, not both")
        return [await run_in_threadpool(fetching.fetch, address, service.settings)]
    if not images:
        raise Problem(422, "invalid_request", "images: at least one file is needed")
    return images


def _boxes(form: Form, num: int) -> list[Any] | None:
    boxes = form.json("boxes")
    if boxes is None:
        return None
    if not isinstance(boxes, list) or len(boxes) != num:
        raise Problem(422, "bad_boxes", f"boxes: a list of {num} entries is needed, one an image")
    for entry in boxes:
        several = isinstance(entry, list) and bool(entry) and isinstance(entry[0], list)
        if entry is not None and not all(map(is_box, entry if several else [entry])):
            raise Problem(
                422, "bad_boxes", "boxes: each is null, [x, y, width, height] or a list of such"
            )
    return boxes


def is_box(value: Any) -> bool:
    """Whether it is four finite numbers that an image can have."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        and all(abs(v) <= 1e9 and math.isfinite(v) for v in value)
    )


def _top_k(form: Form) -> int:
    text = form.text("top_k")
    if text is None:
        return 5
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= _MOST_TOP:
        raise Problem(422, "invalid_request", f"top_k: a number from 1 to {_MOST_TOP} is needed")
    return int(text)
