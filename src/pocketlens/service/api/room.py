"""Room for the bodies of all requests of a process together, so that many can't fill the memory."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Scope

#: Bodies of the largest kind that there is room for.
BODIES: Final = 4
#: Those of this share of the largest kind are small: a body's worth of room is theirs alone.
_SMALL: Final = 1 / 8
_KEY: Final = "pocketlens.held"


class Room:
    """Bytes that bodies under way may hold; all calls are of one event loop, so nothing is locked.

    A body's room is taken before it is read, by its `Content-Length`: two halves that wait for each
    other's room can't be. Large ones leave some to small ones, which go first where it is scarce.

    Args:
        largest: bytes of the largest body.
    """

    def __init__(self, largest: int) -> None:
        self._most = BODIES * largest
        self._most_large = (BODIES - 1) * largest
        self._small = int(largest * _SMALL)
        self._held = self._held_large = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    @property
    def held(self) -> int:
        """Bytes that are taken."""
        return self._held

    async def take(self, size: int, seconds: float) -> bool:
        """Take room for a body; False where none came free in time. `leave` gives it back."""
        if self._taken(size):
            return True
        free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[free] = size
        try:
            await asyncio.wait([free], timeout=seconds)
        except BaseException:
            if free.done():
                self.leave(size)
            raise
        finally:
            self._waiting.pop(free, None)
        return free.done()

    def leave(self, size: int) -> None:
        """Give room back; who waited and fits now takes it, small ones first."""
        self._held -= size
        self._held_large -= size if size > self._small else 0
        if not self._waiting:
            return
        for free, wanted in sorted(self._waiting.items(), key=lambda item: item[1] > self._small):
            if not free.done() and self._taken(wanted):
                free.set_result(None)

    def _taken(self, size: int) -> bool:
        large = size if size > self._small else 0
        if self._held + size > self._most or (
            large and self._held_large + large > self._most_large
        ):
            return False
        self._held += size
        self._held_large += large
        return True


class Held:
    """A request's room."""

    def __init__(self, room: Room, size: int, scope: Scope) -> None:
        self._room, self._size = room, size
        scope[_KEY] = self

    def let_go(self) -> None:
        """Give it back, once."""
        size, self._size = self._size, 0
        if size:
            self._room.leave(size)


def body_is_gone(scope: Scope) -> None:
    """Nothing of a request's body is in memory any more, though the request goes on."""
    held = scope.get(_KEY)
    if held is not None:
        held.let_go()
