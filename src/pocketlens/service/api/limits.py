"""Limits on requests, before anything of them is kept: their size, their pace, their number."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketlens.service.api.problems import Problem
from pocketlens.service.api.room import Held, Room
from pocketlens.service.settings import Settings

#: Bytes a second that a body must come at, beyond the time that every request has.
SLOWEST: Final = 16_384
#: Seconds that a body waits for room.
_ROOM_SECONDS: Final = 5.0
#: Users and addresses whose pace is remembered; of more, those not seen for longest are forgotten.
_MOST_REMEMBERED: Final = 10_000
#: Paths that are asked by machines that watch the service.
_UNCOUNTED: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class Limits:
    """ASGI middleware: 413 too large a body, 408 too slow a client, 429 too many requests.

    And 503 where the bodies of all requests together are too large.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._most = settings.max_body_bytes
        self._patience = settings.read_timeout_seconds
        self._room = Room(settings.max_body_bytes)
        self._pace = Pace(settings.rate) if settings.rate is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that is counted and timed as it comes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        held = None
        try:
            size = self._admit(scope)
            if size:
                held = await self._hold(size, scope)
            await self.app(scope, self._counted(receive), send_noting)
        except Problem as problem:
            if started:
                raise
            await problem.response()(scope, receive, send)
        finally:
            if held is not None:
                held.let_go()

    def _admit(self, scope: Scope) -> int:
        """Bytes that the request's body will have, at most."""
        if self._pace is not None and scope["path"] not in _UNCOUNTED:
            user = scope.get("pocketlens.user")
            client = scope.get("client") or ("",)
            wait = self._pace.wait(user.name if user is not None else f"@{client[0]}")
            if wait > 0:
                raise Problem(
                    429,
                    "rate_limited",
                    f"too many requests; try again in {math.ceil(wait)} s",
                    headers={"Retry-After": str(math.ceil(wait))},
                )
        size = 0
        for name, value in scope["headers"]:
            if name == b"content-length":
                size = int(value)
            elif name == b"transfer-encoding":  # nobody knows yet
                size = self._most
        if size > self._most:
            raise self._too_large()
        return size

    async def _hold(self, size: int, scope: Scope) -> Held:
        if not await self._room.take(size, min(_ROOM_SECONDS, self._patience)):
            raise Problem(
                503,
                "too_much_at_once",
                "more is being sent at this moment than the service holds; try again",
                headers={"Retry-After": str(math.ceil(_ROOM_SECONDS))},
            )
        return Held(self._room, size, scope)

    def _counted(self, receive: Receive) -> Receive:
        total = 0
        begun = time.monotonic()
        complete = False

        async def receive_counted() -> Message:
            nonlocal total, complete
            if complete:  # what comes now is that the client has gone
                return await receive()
            left = begun + self._patience + total / SLOWEST - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await receive()
            except TimeoutError:
                raise Problem(
                    408,
                    "too_slow",
                    "the request came too slowly",
                    headers={"Connection": "close"},
                ) from None
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if total > self._most:
                raise self._too_large()
            return message

        return receive_counted

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "body_too_large",
            f"a request may have {self._most / 1e6:g} MB at most",
            headers={"Connection": "close"},
        )


class Pace:
    """A bucket of tokens a name: so many requests a minute, some of them at once.

    Args:
        rate: tokens a minute.
        at_once: most that a bucket holds; by default a quarter of `rate`.
    """

    def __init__(
        self,
        rate: int,
        at_once: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._each_second = rate / 60
        self._most = max(1.0, rate / 4 if at_once is None else at_once)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Take one token: 0, or the seconds until there will be one."""
        now = self._clock()
        held, at = self._buckets.pop(name, (self._most, now))
        held = min(self._most, held + (now - at) * self._each_second)
        enough = held >= 1
        self._buckets[name] = (held - 1 if enough else held, now)
        if len(self._buckets) > _MOST_REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1 - held) / self._each_second
