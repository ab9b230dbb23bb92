"""Whether it lives and is ready, as monitors ask it; and a queue that is away or hangs."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pocketlens.service.queue import open_queue
from pocketlens.service.serving import warn_of
from pocketlens.service.settings import Settings
from support import service as support

AWAY = "redis://127.0.0.1:1/0"


@contextmanager
def hanging() -> Iterator[str]:
    """URL of a queue that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_monitors_may_ask_by_head(tmp_path: Path) -> None:
    with support.running(support.settings(tmp_path)) as address:
        for path in ("/healthz", "/readyz"):
            answer = httpx.head(f"{address}{path}")
            assert (answer.status_code, answer.content) == (200, b"")
            assert (
                answer.headers["content-length"]
                == httpx.get(address + path).headers["content-length"]
            )
            refused = httpx.delete(f"{address}{path}")
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert "head" not in httpx.get(f"{address}/openapi.json").json()["paths"]["/readyz"]


def test_a_queue_that_is_away(tmp_path: Path) -> None:
    with support.client(support.settings(tmp_path, queue=AWAY)) as api:
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["queue"])
        assert api.head("/readyz").status_code == 503
        assert api.get("/healthz").status_code == 200


def test_a_queue_that_hangs(tmp_path: Path) -> None:
    with hanging() as url, support.client(support.settings(tmp_path, queue=url)) as api:
        began = time.monotonic()
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["queue"])
        assert time.monotonic() - began < 15


def test_serve_warns_of_a_queue_that_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pocketlens.service"):
        here = open_queue(Settings(None, tmp_path))
        warn_of(here)
        here.close()
        assert not caplog.records
        away = open_queue(Settings(None, tmp_path, queue=AWAY))
        warn_of(away)
    assert "mend --queue" in caplog.text
