"""Errors as `application/problem+json` (RFC 9457), each with a word for programs in `code`.

What a client is told names no path, no module and no trace; those stand in the log alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from pocketlens.service.database import is_full, is_unavailable
from pocketlens.service.storage import StorageFullError, StorageUnavailableError

MEDIA_TYPE: Final = "application/problem+json"
#: Seconds after which a client may ask again where the database didn't answer.
RETRY_AFTER: Final = 2

_CODES: Final = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "too_slow",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    500: "internal",
    503: "unavailable",
}
_log = logging.getLogger("pocketlens.service")


class Problem(HTTPException):  # so that FastAPI lets it through where it reads a body
    """An answer that is an error.

    Args:
        status: of HTTP.
        code: a word for programs.
        detail: one line for people: what is wrong and how to mend it.
        headers: of the answer.
        extra: further members of the JSON object.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.extra = extra

    def body(self) -> bytes:
        """The JSON object."""
        values = {
            "type": f"urn:pocketlens:problem:{self.code}",
            "title": _title(self.status_code),
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")

    def response(self) -> Response:
        """The answer."""
        return Response(self.body(), self.status_code, self.headers, media_type=MEDIA_TYPE)


def not_found(what: str = "there is nothing here") -> Problem:
    """404, the same for what isn't there and for what is another user's."""
    return Problem(404, "not_found", what)


def unavailable() -> Problem:
    """503: the database doesn't answer just now."""
    return Problem(
        503,
        "database_unavailable",
        "the database doesn't answer; try again",
        headers={"Retry-After": str(RETRY_AFTER)},
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers of an operation, for its OpenAPI; those of every operation are added to all."""
    return {
        status: {
            "description": _title(status),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": f"urn:pocketlens:problem:{_CODES.get(status, 'error')}",
                        "title": _title(status),
                        "status": status,
                        "detail": "what is wrong and how to mend it",
                        "code": _CODES.get(status, "error"),
                    },
                }
            },
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Make every error of an app a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(SQLAlchemyError, _on_database)
    app.add_exception_handler(StorageUnavailableError, _on_storage)


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {
        404: "there is nothing at this address; /docs lists what there is",
        405: f"{request.method} can't be had here",
    }
    status = error.status_code
    detail = details.get(status, str(error.detail))
    code = _CODES.get(status, "error")
    headers = dict(error.headers or {})
    if status == 405:  # the router names the methods of the first route of this path alone
        headers["Allow"] = ", ".join(_methods(request))
    return Problem(status, code, detail, headers=headers).response()


def _methods(request: Request) -> list[str]:
    """What can be had at the request's path."""
    found: set[str] = set()
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.add(method)
    return sorted(found)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors: Sequence[Any] = error.errors()
    listed = [{"where": _where(one["loc"]), "message": str(one["msg"])} for one in errors]
    first = f"{listed[0]['where']}: {listed[0]['message']}" if listed else "invalid request"
    return Problem(422, "invalid_request", first, errors=listed).response()


async def _on_database(_request: Request, error: Exception) -> Response:
    if not is_unavailable(error):
        raise error  # a fault of ours: `logs.Log` writes it down
    full = is_full(error)
    told = {"error": type(error).__name__, "full": full}
    _log.warning("the database can't be used", extra=told)
    return (_refused(StorageFullError()) if full else unavailable()).response()


async def _on_storage(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageUnavailableError)
    _log.warning("the storage can't be used", extra={"error": str(error)})
    return _refused(error).response()


def _refused(error: StorageUnavailableError) -> Problem:
    words = {507: "no room is left to store it", 503: "the storage doesn't answer; try again"}
    headers = {"Retry-After": str(RETRY_AFTER)}
    return Problem(error.status, error.code, words[error.status], headers=headers)


def _where(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
