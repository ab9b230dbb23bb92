"""One line of JSON a request: who asked what and how it ended; no photos, file names or tokens."""

from __future__ import annotations

import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketlens.service.api.metrics import NO_ROUTE, Metrics
from pocketlens.service.api.problems import Problem

log = logging.getLogger("pocketlens.service")
_access = logging.getLogger("pocketlens.service.access")


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
