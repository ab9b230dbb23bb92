"""Limits: bodies, parts, fields, slow clients, many requests. Most of it against a real server."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from pocketlens.service.api.limits import Pace
from pocketlens.service.api.server import MAX_HEAD_BYTES
from support import service as support

Encode = Callable[..., bytes]
PATIENCE = 0.7
#: uvloop counts whole milliseconds from the beginning of a round, so its timers ring a bit early.
EARLY = 0.02


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("service")
    given = support.settings(
        place, max_body_bytes=200_000, max_parts=20, read_timeout_seconds=PATIENCE
    )
    with support.running(given) as made:
        yield made


def talk(address: str, *parts: bytes, pause: float = 0, until: float = 10) -> tuple[bytes, float]:
    """What the server says to these bytes until it closes, and after how many seconds."""
    parsed = urlsplit(address)
    assert parsed.hostname is not None
    begun = time.monotonic()
    with socket.create_connection((parsed.hostname, parsed.port), timeout=until) as connection:
        said = b""
        with suppress(ConnectionResetError, BrokenPipeError):
            for part in parts:
                connection.sendall(part)
                if select.select([connection], [], [], pause)[0]:
                    break  # it has answered, or closed
            while more := connection.recv(65_536):
                said += more
    return said, time.monotonic() - begun


def code(said: bytes) -> str:
    return str(json.loads(said.partition(b"\r\n\r\n")[2])["code"])


HEAD = (
    b"POST /v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n"
)
OPEN = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_too_large_a_body_by_its_length(address: str) -> None:
    said, _ = talk(address, HEAD + b"Content-Length: 200001\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413 ")
    assert code(said) == "body_too_large"


def test_too_large_a_body_in_chunks(address: str) -> None:
    """FAULTS 31."""
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    said, _ = talk(address, head, chunk(OPEN), *[chunk(b"x" * 50_000)] * 5)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert code(said) == "body_too_large"


def test_too_many_parts(address: str) -> None:
    """FAULTS 32."""
    for part in (
        {"images": ("a", b"")},
        {"x": (None, b"")},
    ):
        answer = httpx.post(f"{address}/v1/predictions", files=[*part.items()] * 1_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_many_parts")


def test_ten_thousand_parts_of_a_large_request(tmp_path: Path) -> None:
    given = support.settings(tmp_path)
    with support.client(given) as api:
        answer = api.post("/v1/predictions", files=[("images", ("a", b""))] * 10_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_parts")


def test_a_huge_field_without_a_file_name(tmp_path: Path) -> None:
    """FAULTS 32: such a field would be held as text."""
    with support.client(support.settings(tmp_path)) as api:
        for size in (1_000_001, 30_000_000):
            answer = api.post("/v1/predictions", files={"images": (None, b"x" * size)})
            assert (answer.status_code, answer.json()["code"]) == (413, "field_too_large")


def test_a_field_is_no_photo(address: str) -> None:
    answer = httpx.post(f"{address}/v1/predictions", files={"images": (None, b"x")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\nfoo\r\n\r\n", b"x" * 100, OPEN, b"--b\r\n\r\nx\r\n--b--\r\n"],
)
def test_a_damaged_form(address: str, body: bytes) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{address}/v1/predictions", content=body, headers=kind)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("bad_multipart", "invalid_request")
    nameless = {"Content-Type": "multipart/form-data"}
    answer = httpx.post(f"{address}/v1/predictions", content=body, headers=nameless)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_multipart")


def test_a_body_that_comes_a_byte_at_a_time(address: str) -> None:
    """FAULTS 33."""
    head = HEAD + b"Content-Length: 100000\r\n\r\n"
    said, seconds = talk(address, head + OPEN, *[b"x"] * 15, pause=0.1)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert code(said) == "too_slow"
    assert PATIENCE - EARLY <= seconds < 5


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_head_that_never_ends(address: str, start: bytes) -> None:
    """FAULTS 33: with a byte now and then, or none at all."""
    trickle = [start, *[b"x"] * 10] if start else [b""]
    said, seconds = talk(address, *trickle, pause=0.1)
    assert said.startswith(b"HTTP/1.1 408 ") if start else said == b""
    assert PATIENCE - EARLY <= seconds < 5


def test_the_rest_of_a_body_is_not_waited_for(address: str) -> None:
    """It was answered already, and its client sends on as slowly as it likes."""
    head = HEAD.replace(b"Connection: close\r\n", b"").replace(b"127.0.0.1", b"evil.example")
    said, seconds = talk(address, head + b"Content-Length: 1000\r\n\r\n", b"x", pause=0.1)
    assert said.startswith(b"HTTP/1.1 403 ")
    assert seconds < 5


def test_a_huge_head(address: str) -> None:
    header = b"X-A: " + b"x" * 1_000 + b"\r\n"
    said, _ = talk(address, b"GET /healthz HTTP/1.1\r\n", *[header] * (MAX_HEAD_BYTES // 1_000 + 2))
    # Bytes that were still on their way may have made the system throw the answer away.
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http(address: str) -> None:
    said, _ = talk(address, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert code(said) == "bad_request"


def test_it_still_answers(address: str, encode: Encode) -> None:
    files = {"images": ("a.png", encode(support.photo()))}
    with httpx.Client() as client:
        for _ in range(3):
            answer = client.post(f"{address}/v1/predictions?wait=20", files=files)
            assert answer.status_code == 200


def test_too_many_requests(tmp_path: Path) -> None:
    tokens = support.with_tokens()
    with support.client(support.settings(tmp_path, tokens=tokens, rate=8)) as api:
        ada = support.bearer("ada")
        answers = [api.get("/v1/jobs", headers=ada) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 15
        assert api.get("/v1/jobs", headers=support.bearer("bob")).status_code == 200
        assert api.get("/healthz").status_code == 200


def test_the_pace_comes_back() -> None:
    now = [0.0]
    pace = Pace(60, clock=lambda: now[0])
    assert [pace.wait("a") for _ in range(15)] == [0] * 15
    assert pace.wait("a") == pytest.approx(1)
    assert pace.wait("b") == 0
    now[0] = 1.0
    assert pace.wait("a") == 0
    assert pace.wait("a") > 0
    for name in range(20_000):  # nobody fills the memory with names
        pace.wait(str(name))
    assert len(pace._buckets) <= 10_000


def test_some_at_once_and_then_one_each_few_seconds() -> None:
    now = [0.0]
    pace = Pace(20, 10, clock=lambda: now[0])
    assert [pace.wait("a") for _ in range(10)] == [0] * 10
    assert pace.wait("a") == pytest.approx(3)
    now[0] = 3.0
    assert pace.wait("a") == 0
    assert pace.wait("a") == pytest.approx(3)


def test_a_short_body_is_not_hurried(tmp_path: Path) -> None:
    """A body that comes at a fair pace may take longer than the patience with each request."""
    given = support.settings(tmp_path, read_timeout_seconds=0.3)
    with support.running(given) as address:
        size = 40_000
        head = HEAD + b"Content-Length: %d\r\n\r\n" % (size + len(OPEN) + 9)
        parts = [b"x" * 4_000] * 10
        said, seconds = talk(address, head + OPEN, *parts, b"\r\n--b--\r\n", pause=0.06)
    assert seconds > 0.3
    assert said.startswith(b"HTTP/1.1 202 ")


def test_unknown_method_and_place(tmp_path: Path) -> None:
    with support.client(support.settings(tmp_path)) as api:
        answer: httpx.Response = api.put("/v1/predictions")
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert "POST" in answer.headers["allow"]
        assert _code(api, "/v1/nowhere") == (404, "not_found")


def _code(api: TestClient, path: str) -> tuple[int, str]:
    answer = api.get(path)
    return answer.status_code, answer.json()["code"]
