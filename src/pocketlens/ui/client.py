"""The service's HTTP API, as the page calls it; every trouble is one of two errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import httpx

#: Seconds: uploads may take long on a slow line, connecting may not.
_TIMEOUT: Final = httpx.Timeout(60.0, connect=3.0)
#: A large zip is unpacked, looked at and made anew before it is answered.
_TAKING_IN: Final = httpx.Timeout(1_800.0, connect=3.0)

Json = dict[str, Any]
File = tuple[str, bytes]


class Unreachable(Exception):
    """Nobody answered, or not in time."""


class Problem(Exception):
    """The service said no.

    Attributes:
        status: of HTTP.
        code: the word for it in problem+json; empty where the answer was something else.
        detail: a sentence in English, not to be trusted as markup.
        body: all that the service said, such as which files it rejected.
    """

    def __init__(self, status: int, code: str, detail: str, body: Json | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.body = status, code, detail, body or {}

    @property
    def denies(self) -> bool:
        """Whether the token is missing, or is no right one."""
        return self.status == 401 or self.code == "too_many_wrong_tokens"


@lru_cache(maxsize=8)
def _connections(service: str) -> httpx.Client:
    """Connections are shared by all sessions; tokens go with each request."""
    return httpx.Client(base_url=service, timeout=_TIMEOUT, follow_redirects=False)


@dataclass(frozen=True)
class Client:
    """One reader's way to the service.

    Attributes:
        service: URL without a path.
        token: bearer token; None where none is needed.
    """

    service: str
    token: str | None = field(default=None, repr=False)

    def get(self, path: str, **query: object) -> Any:
        """The JSON of a GET; `query` without what is None."""
        return _json(self._send("GET", path, params=_given(query)))

    def picture(self, path: str) -> bytes:
        """The bytes of a file that an answer of the service named, such as a map."""
        if not path.startswith("/v1/"):
            raise Problem(502, "", "the service named a file that is none of its own")
        return self._send("GET", path).content

    def post(self, path: str, body: Json | None = None) -> Any:
        """The JSON that a POST with a JSON body gives."""
        return _json(self._send("POST", path, json=body or {}))

    def delete(self, path: str) -> None:
        """Delete what is at a path."""
        self._send("DELETE", path)

    def predict(self, photos: Sequence[File], boxes: Sequence[Any], key: str) -> Json:
        """Send photos to be recognised; the job. The same `key` twice is one job."""
        form = {"boxes": json.dumps(list(boxes))} if any(boxes) else None
        files = [("images", photo) for photo in photos]
        headers = {"Idempotency-Key": key}
        return _object(
            self._send("POST", "/v1/predictions", files=files, data=form, headers=headers)
        )

    def explain(self, photo: File, *, box: Any, class_id: int | None, method: str) -> Json:
        """Ask for a map of one answer; the job."""
        form: dict[str, str] = {"method": method}
        if box is not None:
            form["box"] = json.dumps(box)
        if class_id is not None:
            form["class_id"] = str(class_id)
        files = [("image", photo)]
        return _object(self._send("POST", "/v1/explanations", files=files, data=form))

    def add_photos(
        self, dataset: str, photos: Sequence[File], label: str, *, replace: bool = False
    ) -> Json:
        """Add photos under one label to a data set; what was added and what wasn't.

        Args:
            replace: those that are there with another label get this one.
        """
        files = [("images", photo) for photo in photos]
        data = {"labels": json.dumps([label] * len(photos), ensure_ascii=False)}
        return self._add(dataset, files=files, data=data | _replace(replace))

    def add_archive(self, dataset: str, archive: File, *, replace: bool = False) -> Json:
        """Add a zip of labelled photos to a data set, as `add_photos` does."""
        return self._add(dataset, files=[("archive", archive)], data=_replace(replace))

    def check(self, dataset: str) -> Json:
        """The readiness check, or `{"job_id": …}` while it is being made."""
        return _object(self._send("GET", _dataset(dataset, "/check")))

    def delete_dataset(self, dataset: str) -> None:
        """Delete a data set with its photos."""
        self._send("DELETE", _dataset(dataset))

    def _add(self, dataset: str, **form: Any) -> Json:
        where = _dataset(dataset, "/images")
        return _object(self._send("POST", where, timeout=_TAKING_IN, **form))

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if self.token:
            # No header can hold others, typed by a Korean keyboard, say; so none is a token.
            if not (self.token.isascii() and self.token.isprintable()):
                raise Problem(401, "not_authenticated", "this can't be a token")
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            answer = _connections(self.service).request(method, path, headers=headers, **options)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(str(error)) from error
        if answer.status_code >= 300:
            raise _problem(answer)
        return answer


def _replace(replace: bool) -> dict[str, str]:
    return {"replace": "true"} if replace else {}


def _dataset(name: str, rest: str = "") -> str:
    return f"/v1/datasets/{quote(name, safe='')}{rest}"


def _given(query: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise Problem(502, "", "what answered is not this service") from error


def _object(answer: httpx.Response) -> Json:
    value = _json(answer)
    if not isinstance(value, dict):
        raise Problem(502, "", "what answered is not this service")
    return value


def _problem(answer: httpx.Response) -> Problem:
    try:
        body = answer.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    code, detail = body.get("code"), body.get("detail") or body.get("title")
    return Problem(
        answer.status_code,
        code if isinstance(code, str) else "",
        detail if isinstance(detail, str) else f"HTTP {answer.status_code}",
        body,
    )
