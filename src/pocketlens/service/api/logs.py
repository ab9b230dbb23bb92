"""One line of JSON a request: who asked what and how it ended; no photos, file names or tokens."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
import uuid
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketlens.service.api.metrics import NO_ROUTE, Metrics
from pocketlens.service.api.problems import Problem

log = logging.getLogger("pocketlens.service")
_access = logging.getLogger("pocketlens.service.access")
#: What `logging` puts into every record; the rest was given by `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one line of JSON; a traceback is one of its members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            values["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(values, ensure_ascii=False, default=str)


def set_up(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send all logs to stderr, or another stream, as lines of JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level)


class Log:
    """ASGI middleware, the outermost: an id a request, one line, metrics, and faults' traces."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        id = uuid.uuid4().hex[:16]
        scope["pocketlens.request"] = id
        status = 0
        num_bytes = 0

        async def send_noting(message: Message) -> None:
            nonlocal status, num_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", id.encode())]
            else:
                num_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        except Exception:
            log.exception("a fault while answering", extra={"request": id})
            if not status:
                fault = Problem(500, "internal", "a fault of the service; its log says more")
                await fault.response()(scope, receive, send_noting)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._metrics.answered(scope["method"], route, status, seconds)
            if _access.isEnabledFor(logging.INFO):
                user = scope.get("pocketlens.user")
                told = {
                    "request": id,
                    "method": scope["method"] if status != 405 else "other",
                    "route": route,
                    "status": status,
                    "ms": round(1000 * seconds, 2),
                    "user": None if user is None else user.name,
                    "bytes": num_bytes,
                }
                _access.info("answered", extra=told)
