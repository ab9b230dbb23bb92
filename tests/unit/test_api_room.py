"""Room for bodies: many large ones at once are refused, small ones go on, nothing is left over."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pocketlens.service.api import limits
from pocketlens.service.api.room import BODIES, Room
from support import service as support

Encode = Callable[..., bytes]
LARGEST = 80_000
SMALL = LARGEST // 8
OPEN = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
CLOSE = b"\r\n--b--\r\n"


def test_small_ones_have_room_of_their_own() -> None:
    async def use() -> None:
        room = Room(LARGEST)
        for _ in range(BODIES - 1):
            assert await room.take(LARGEST, 0)
        assert not await room.take(LARGEST, 0)
        assert not await room.take(SMALL + 1, 0)
        for _ in range(8):
            assert await room.take(SMALL, 0)
        assert not await room.take(1, 0)
        assert room.held == BODIES * LARGEST

    asyncio.run(use())


def test_who_waits_gets_what_comes_free() -> None:
    async def use() -> None:
        room = Room(LARGEST)
        for _ in range(BODIES - 1):
            assert await room.take(LARGEST, 0)
        assert await room.take(SMALL, 0)
        large = [asyncio.create_task(room.take(LARGEST, 30)) for _ in range(2)]
        small = [asyncio.create_task(room.take(SMALL, 30)) for _ in range(8)]
        await asyncio.sleep(0)
        assert [task.done() for task in small] == [True] * 7 + [False]
        room.leave(LARGEST)
        assert await small[7]
        assert not any(task.done() for task in large)  # a small one has taken a part of it
        room.leave(SMALL)
        done, waiting = await asyncio.wait(large, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [True]
        [left] = waiting
        left.cancel()
        await asyncio.wait([left])
        assert room.held == BODIES * LARGEST
        for size in (*[LARGEST] * (BODIES - 1), *[SMALL] * 8):
            room.leave(size)
        assert room.held == 0

    asyncio.run(use())


def test_who_goes_as_his_turn_comes_leaves_his_room() -> None:
    async def use() -> None:
        room = Room(LARGEST)
        for _ in range(BODIES - 1):
            assert await room.take(LARGEST, 0)
        waits = asyncio.create_task(room.take(LARGEST, 30))
        await asyncio.sleep(0)
        room.leave(LARGEST)
        waits.cancel()
        await asyncio.wait([waits])
        assert waits.cancelled()
        assert room.held == (BODIES - 2) * LARGEST

    asyncio.run(use())


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(limits, "_ROOM_SECONDS", 0.3)
    with support.running(support.settings(tmp_path, max_body_bytes=LARGEST)) as made:
        yield made


class Sender:
    """Who sends a body of the largest kind, without its end at first."""

    def __init__(self, address: str, *, chunked: bool = False) -> None:
        parsed = urlsplit(address)
        self._socket = socket.create_connection((parsed.hostname, parsed.port or 0), timeout=20)
        size = 100 if chunked else LARGEST
        self._body = OPEN + b"x" * (size - len(OPEN) - len(CLOSE)) + CLOSE
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % LARGEST
        head = b"POST /v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        head += b"Content-Type: multipart/form-data; boundary=b\r\n" + length + b"\r\n\r\n"
        if chunked:
            self._body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self._body), self._body)
        self._socket.sendall(head + self._body[:50])

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def end(self) -> tuple[int, str, bytes]:
        """Status, code and head of the answer to all of it."""
        self._socket.sendall(self._body[50:])
        said = b""
        while more := self._socket.recv(65_536):
            said += more
        head, _, body = said.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body).get("code", ""), head.lower()


@pytest.mark.parametrize("chunked", [False, True])
def test_many_large_bodies_at_once(address: str, encode: Encode, chunked: bool) -> None:
    photo = {"images": ("a.png", encode(support.photo()))}
    assert len(photo["images"][1]) < SMALL
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(address, chunked=chunked)) for _ in range(BODIES - 1)]
        seen: list[tuple[int, str, bytes]] = []
        until = time.monotonic() + 20
        while not seen and time.monotonic() < until:  # the others' heads may still be on the way
            with Sender(address, chunked=chunked) as further:
                found = further.end()
            seen += [found] if found[0] != 202 else []
        status, code, head = seen[0]
        assert (status, code) == (503, "too_much_at_once")
        assert b"\r\nretry-after: 1\r\n" in head + b"\r\n"
        assert httpx.post(f"{address}/v1/predictions", files=photo).status_code == 202
        with Sender(address) as waits:
            ended = threading.Thread(target=senders[0].end)
            ended.start()
            assert waits.end()[0] == 202
            ended.join()
        assert [sender.end()[0] for sender in senders[1:]] == [202] * (BODIES - 2)
    for _ in range(BODIES):  # all room was given back
        with Sender(address) as further:
            assert further.end()[0] == 202


def test_a_body_that_is_kept_needs_no_room_while_it_is_waited_for(
    address: str, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no worker here, so each of these waits for its whole time."""
    monkeypatch.setattr(limits, "_ROOM_SECONDS", 1.5)
    photo = {"images": ("a.png", encode(support.photo(side=140)))}
    assert SMALL < len(photo["images"][1]) < LARGEST
    statuses: list[int] = []

    def ask() -> None:
        where = f"{address}/v1/explanations?wait=3"
        files = {"image": photo["images"]}
        statuses.append(httpx.post(where, files=files, timeout=20).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2 * BODIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 2 * BODIES
