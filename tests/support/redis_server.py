"""A real Redis of a test's own, behind a socket in its folder."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def redis_url(place: Path) -> Iterator[str]:
    """URL of an empty Redis, which is gone afterwards."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs Redis: install redis-server")
    socket = place / "redis.sock"
    assert len(str(socket)) < 100, "a socket's path is short"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(place), "--save", ""]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server doesn't listen"
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(20)
