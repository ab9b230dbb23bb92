"""The description of the API: what every operation may answer is written once, here."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pocketlens.service.api.problems import MEDIA_TYPE, problems

#: What any operation may answer, beside its own.
_EVERY: Final = (403, 408, 413, 422, 429, 500, 503)
_OPEN: Final = frozenset({"/healthz", "/readyz"})
_TAGS: Final = (
    ("predictions", "Photos in, answers out."),
    ("explanations", "Where on its photo an answer comes from."),
    ("jobs", "What takes longer: its state, its result, an end to it."),
    ("datasets", "Labelled photos to train with."),
    ("trainings", "A better model from stored photos."),
    ("models", "Which model answers, and which others could."),
    ("comparisons", "Models side by side."),
    ("classes", "What the current model tells apart."),
    ("account", "What is stored, and what was deleted."),
    ("health", "For machines that watch the service."),
)
_DESCRIPTION: Final = """\
Send a photo, get its class with what is known of it; send labelled photos, get a better model.

Errors are `application/problem+json` with a word for programs in `code`. Where tokens are set,
every request needs `Authorization: Bearer TOKEN` and sees its own user's things alone: another
user's answer 404 as if they weren't there.
"""
_PROBLEM: Final = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people: what is wrong."},
        "code": {"type": "string", "description": "For programs.", "pattern": "^[a-z0-9_]+$"},
    },
}


def describe(app: FastAPI, *, with_tokens: bool, version: str) -> dict[str, Any]:
    """The OpenAPI document of an app."""
    document = get_openapi(
        title="pocketlens",
        version=version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS],
    )
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    if with_tokens:
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation, path, with_tokens=with_tokens)
    return document


def _complete(operation: dict[str, Any], path: str, *, with_tokens: bool) -> None:
    responses = operation["responses"]
    every = problems(*_EVERY, *((400, 415) if "requestBody" in operation else ()))
    for status, answer in every.items():
        found = responses.get(str(status), {})
        if status == 422 or MEDIA_TYPE not in found.get("content", {}):
            # An operation's own answer, such as that of /readyz, stands beside the common one.
            own = {} if status == 422 else found.get("content", {})
            merged = {**answer, **({"description": found["description"]} if own else {})}
            responses[str(status)] = {**merged, "content": {**answer["content"], **own}}
    if with_tokens and path not in _OPEN:
        operation["security"] = [{"token": []}]
        responses["401"] = problems(401)[401]
    operation["responses"] = dict(sorted(responses.items()))
