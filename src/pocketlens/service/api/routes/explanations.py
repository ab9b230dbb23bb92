"""Where on its photo an answer comes from."""

from __future__ import annotations

import time
from typing import Any, Final, get_args

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.forms import Form, form_body, read_form
from pocketlens.service.api.problems import Problem, problems
from pocketlens.service.api.room import body_is_gone
from pocketlens.service.api.routes.predictions import is_box
from pocketlens.service.api.schemas import Accepted, Explained
from pocketlens.service.api.work import IdempotencyKey, Wait, job_answer, submit
from pocketlens.workflows.maps import MapMethod

router = APIRouter(tags=["explanations"])

_METHODS: Final = get_args(MapMethod)
_BODY: Final = form_body(
    {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {
                "type": "string",
                "format": "binary",
                "description": "The photo.",
            },
            "box": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "[x, y, width, height] in pixels of the upright photo.",
                "example": "[10, 20, 200, 150]",
            },
            "class_id": {
                "type": "integer",
                "minimum": 0,
                "description": "The class to explain; default: the answer.",
            },
            "method": {
                "type": "string",
                "enum": list(_METHODS),
                "default": "auto",
                "description": "EigenCAM shows what the network looks at, occlusion "
                "what speaks for one class; auto takes the first that the model can.",
            },
        },
    },
    text=("box",),
)


@router.post(
    "/v1/explanations",
    status_code=202,
    response_model=Accepted,
    response_description="A job was made; its address is in `Location`.",
    responses={
        200: {"model": Explained, "description": "The maps, ready within `wait` seconds."},
        **problems(410),
    },
    openapi_extra=_BODY,
    summary="Explain an answer",
)
async def explain(
    request: Request,
    service: ServiceDep,
    user: UserDep,
    wait: Wait = 0,
    key: IdempotencyKey = None,
) -> Response:
    """Draw a map of where on its photo an answer comes from.

    The result names the method that made it and the pictures' addresses.
    """
    until = time.monotonic() + wait
    form = await read_form(request)
    images = await form.files("image")
    if len(images) != 1:
        raise Problem(422, "invalid_request", "image: one file is needed")
    parameters = {"box": _box(form), "class_id": _class_id(form), "method": _method(form)}
    job = await run_in_threadpool(submit, service, user, "explain", parameters, images, key=key)
    del form, images
    body_is_gone(request.scope)
    return await job_answer(service, user, job, max(0.0, until - time.monotonic()) if wait else 0)


def _box(form: Form) -> Any:
    box = form.json("box")
    if box is not None and not is_box(box):
        raise Problem(422, "bad_boxes", "box: [x, y, width, height] is needed")
    return box


def _class_id(form: Form) -> int | None:
    text = form.text("class_id")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise Problem(422, "invalid_request", "class_id: the number of a class is needed")
    return int(text)


def _method(form: Form) -> str:
    text = form.text("method") or "auto"
    if text not in _METHODS:
        raise Problem(422, "invalid_request", f"method: one of {', '.join(_METHODS)}")
    return text
