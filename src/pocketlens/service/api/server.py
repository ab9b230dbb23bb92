"""uvicorn, set up so that a slow or huge request's head is as little trouble as a slow body."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pocketlens.core.errors import UserError
from pocketlens.service.api.problems import MEDIA_TYPE, Problem
from pocketlens.service.api.state import Service
from pocketlens.service.settings import Settings

#: Of a request's head: its first line and its headers.
MAX_HEAD_BYTES: Final = 65_536
#: Seconds an idle connection is kept, and that answers under way get when the service stops.
_KEEP_ALIVE: Final = 15
_GRACE: Final = 10


def listen(settings: Settings) -> socket.socket:
    """A socket on the address of the settings; port 0 takes a free one.

    Raises:
        UserError: it is taken, or not this machine's.
    """
    host, port = settings.host, settings.port
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(info[0], info[1])
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(info[4])
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is taken; name another by --port") from error
        reason = error.strerror or str(error)
        raise UserError(f"can't serve on {host} port {port}: {reason}") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """`http://…` of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Which tells when it answers, and those who wait for a job when it ends."""

    def __init__(self, app: FastAPI, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._app = app
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, after the answers under way."""
        # Who waits for a job is given its id: after `_GRACE` all that was left to say is a 500.
        service: Service | None = getattr(self._app.state, "service", None)
        if service is not None:
            service.stopping.set()
        await super().shutdown(sockets)


def server(app: FastAPI, settings: Settings, started: Callable[[], object]) -> Server:
    """A server for one process; run it with the socket of `listen`."""

    class Protocol(PatientProtocol):
        patience = settings.read_timeout_seconds

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Whoever asks is who is connected: a header could name anybody for the rate limit.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    return Server(app, config, started)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to its patience: 408 late heads, 431 long ones.

    Without it, a client that sends a byte a second keeps its connection for ever, and one that
    sends headers without end fills the memory.
    """

    patience: float = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its request's head must follow."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is complete."""
        if self._in_head:
            if self._head_timer is None:
                self._expect_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(Problem(431, "head_too_large", "the request's head is too large"))

    def on_headers_complete(self) -> None:
        """The head is complete; the body's pace is `limits`' matter."""
        self._stop_timer()
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete; what follows is another head."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def on_response_complete(self) -> None:
        """Answered; a body that still comes isn't waited for without end."""
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._expect_head()

    def _expect_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.patience, self._late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._refuse(Problem(408, "too_slow", "the request came too slowly"))

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; `msg` is uvicorn's."""
        self._head_bytes = max(1, self._head_bytes)
        self._refuse(Problem(400, "bad_request", "this is no HTTP request"))

    def _refuse(self, problem: Problem) -> None:
        """Close, with a word where nothing was answered that it could be taken for."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._in_head and self._head_bytes and not answering:
            body = problem.body()
            status = f"{problem.status_code} {HTTPStatus(problem.status_code).phrase}"
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()
