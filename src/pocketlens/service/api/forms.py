"""Multipart forms: a bounded number of parts, short fields, and file names that nobody looks at."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import IO, Any, Final

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pocketlens.service.api.problems import Problem
from pocketlens.service.storage import OUT_OF_ROOM, StorageFullError

#: Bytes of one part that isn't a file.
MAX_FIELD_BYTES: Final = 1_000_000
#: Bytes of all that aren't files.
MAX_FIELDS_BYTES: Final = 8_000_000


class Form:
    """A request's parts. File names are dropped: what is stored is named by its content."""

    def __init__(self, data: FormData) -> None:
        self._data = data

    @property
    def names(self) -> set[str]:
        """Names of the parts that came."""
        return set(self._data.keys())

    async def files(self, name: str) -> list[bytes]:
        """Contents of all files of this name, in order; they can be had once.

        Raises:
            Problem: one came as a field, whose bytes a form's text doesn't keep.
        """
        values = self._data.getlist(name)
        if not all(isinstance(value, UploadFile) for value in values):
            raise Problem(422, "invalid_request", f"{name}: send it as a file, with a file name")
        found = []
        for value in values:
            assert isinstance(value, UploadFile)
            found.append(await value.read())
            await value.close()  # else it is in memory twice
        return found

    def file(self, name: str) -> IO[bytes] | None:
        """A file to read from, which may be large and lies on disk then; None where it didn't come.

        Raises:
            Problem: it came twice, or as a field.
        """
        values = self._data.getlist(name)
        if not values:
            return None
        if len(values) > 1 or not isinstance(values[0], UploadFile):
            raise Problem(422, "invalid_request", f"{name}: one file is expected")
        return values[0].file

    def text(self, name: str) -> str | None:
        """A field's text; None where it didn't come.

        Raises:
            Problem: it came twice, or as a file.
        """
        values = self._data.getlist(name)
        if not values:
            return None
        if len(values) > 1 or not isinstance(values[0], str):
            raise Problem(422, "invalid_request", f"{name}: one field of text is expected")
        return values[0]

    def json(self, name: str) -> Any:
        """A field's JSON value; None where it didn't come.

        Raises:
            Problem: it is no JSON, or nested beyond reason.
        """
        text = self.text(name)
        if text is None:
            return None
        try:
            return json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise Problem(422, "invalid_request", f"{name}: it is no JSON") from None


class _Parser(MultiPartParser):
    """Starlette's parser with limits of its own; photos stay in memory, archives go to disk."""

    spool_max_size = 8 * 1024 * 1024

    def __init__(self, request: Request, stream: AsyncGenerator[bytes, None], most: int) -> None:
        super().__init__(
            request.headers,
            stream,
            max_files=most,
            max_fields=most,
            max_part_size=MAX_FIELD_BYTES,
        )
        self._most = most
        self._num_parts = 0
        self._fields_bytes = 0

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self._num_parts += 1
        if self._num_parts > self._most:
            raise Problem(413, "too_many_parts", f"more than {self._most:,} parts in one request")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None:
            self._fields_bytes += end - start
            small = len(part.data) + end - start <= MAX_FIELD_BYTES
            if not small or self._fields_bytes > MAX_FIELDS_BYTES:
                raise Problem(413, "field_too_large", "a field is too large; send photos as files")
        super().on_part_data(data, start, end)


async def read_form(request: Request) -> Form:
    """The request's multipart form.

    Raises:
        Problem: 415 another kind of body, 413 too many parts or too large a field, 400 damaged.
        StorageFullError: there is no room where large files lie meanwhile.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", "send the request as multipart/form-data")
    most = request.app.state.service.settings.max_parts
    stream = request.stream()
    try:
        return Form(await _Parser(request, stream, most).parse())
    except MultiPartException:
        raise Problem(400, "bad_multipart", "the multipart body is damaged") from None
    except OSError as error:  # large files lie on the disk of temporary ones
        if error.errno not in OUT_OF_ROOM:
            raise
        raise StorageFullError("there is no room for the files of a request") from error
    finally:
        await stream.aclose()


def _refuse(name: str) -> Any:
    raise ValueError(name)


def form_body(schema: dict[str, Any], *, text: Sequence[str]) -> dict[str, Any]:
    """A route's form, for the OpenAPI document.

    Args:
        schema: of its parts.
        text: parts that come as text, which tools would send as JSON otherwise.
    """
    encoding = {name: {"contentType": "text/plain"} for name in text}
    form = {"schema": schema, "encoding": encoding}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}
