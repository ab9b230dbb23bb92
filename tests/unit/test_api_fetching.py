"""A photo by its address (FAULTS 46): public addresses alone, no redirect, within limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pocketlens.service.api import fetching
from pocketlens.service.api.fetching import Resolve, fetch, is_public
from pocketlens.service.api.problems import Problem
from pocketlens.service.settings import Settings
from support import service as support

Encode = Callable[..., bytes]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::",
        "2001:0:7f00:1::", "2001:db8::1", "fe80::1%eth0", "::127.0.0.1", "example.org", "",
    ],
)  # fmt: skip
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07::1"])
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://2130706433/",
        "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25lo]/",
    ],
)  # fmt: skip
def test_this_machine_by_any_name(tmp_path: Path, url: str) -> None:
    assert code(tmp_path, url) in ("url_not_public", "bad_url")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a", "file:///etc/passwd", "gopher://example.org/", "//example.org/a",
        "example.org/a.png", "http://", "http://user:word@example.org/", "http://a@b@example.org/",
        "http://example.org\\@127.0.0.1/", "http://example.org:22/", "http://example.org:x/",
        "http://example.org/ a", "http://example.org/\r\nHost: x", "http://ex\0mple.org/",
        "http://[::1/", "http://exämple.org/", "http://example.org/" + "a" * 3_000, "",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_photo(tmp_path: Path, url: str) -> None:
    resolved: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        resolved.append(host)
        return ["8.8.8.8"]

    with pytest.raises(Problem) as raised:
        fetch(url, settings(tmp_path), resolve=resolve)
    assert raised.value.code == "bad_url"
    assert not resolved


def test_all_addresses_of_a_name_must_be_public(tmp_path: Path) -> None:
    for found in (["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"], []):
        with pytest.raises(Problem) as raised:
            fetch("http://example.org/", settings(tmp_path), resolve=lambda *_, f=found: f)
        assert raised.value.code == "url_not_public"


def settings(place: Path, **changes: object) -> Settings:
    return Settings(bundle=None, home=place, allow_urls=True, **changes)  # type: ignore[arg-type]


def code(place: Path, url: str) -> str:
    with pytest.raises(Problem) as raised:
        fetch(url, settings(place))
    assert raised.value.status_code == 400
    return raised.value.code


class _Handler(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        assert self.headers["Host"].startswith("photos.example")
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/photo")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            except OSError:
                pass
        elif self.path == "/slow-head":
            with suppress(OSError):
                self.send_response_only(200)
                self.flush_headers()
                for _ in range(100):
                    self.wfile.write(b"X-A: b\r\n")
                    time.sleep(0.05)
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(b"x" * 200_000)
        else:
            self.send_response(200 if self.path == "/photo" else 404)
            self.end_headers()
            self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere(
    monkeypatch: pytest.MonkeyPatch, encode: Encode
) -> Iterator[Callable[..., list[str]]]:
    """A server of this machine that passes for a public one; gives how its name is looked up."""
    _Handler.content = encode(support.photo())
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setitem(fetching._PORTS, "http", server.server_port)
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    lookups: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        lookups.append(host)
        # Looked up again, the name would lead elsewhere.
        return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

    yield resolve
    server.shutdown()
    server.server_close()


def test_a_photo(tmp_path: Path, elsewhere: Resolve) -> None:
    found = fetch("http://photos.example/photo", settings(tmp_path), resolve=elsewhere)
    assert found == _Handler.content


@pytest.mark.parametrize("path", ["redirect", "missing", "slow", "slow-head"])
def test_no_photo(
    tmp_path: Path, elsewhere: Resolve, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(Problem) as raised:
        fetch(f"http://photos.example/{path}", settings(tmp_path), resolve=elsewhere)
    assert (raised.value.status_code, raised.value.code) == (400, "url_not_fetched")
    assert "127.0.0" not in raised.value.detail
    assert time.monotonic() - began < 3, "a thread of the service is held no longer"


def test_too_large_a_photo(tmp_path: Path, elsewhere: Resolve) -> None:
    given = settings(tmp_path, max_body_bytes=100_000)
    with pytest.raises(Problem) as raised:
        fetch("http://photos.example/large", given, resolve=elsewhere)
    assert (raised.value.status_code, raised.value.code) == (413, "body_too_large")


def test_a_prediction_by_address(
    tmp_path: Path, elsewhere: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_resolve", elsewhere)
    with support.client(support.settings(tmp_path, allow_urls=True)) as api:
        address = {"image_url": (None, "http://photos.example/photo")}
        answer = api.post("/v1/predictions?wait=20", files=address)
    assert answer.status_code == 200
    assert answer.json()["result"]["predictions"][0]["label"]
