"""A photo by its address: refused, unless the service was started to allow it.

Only public addresses: the name is resolved once, every address it has must be public, and the
connection is made to that very address. No redirect is followed, and size and time are bounded.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from pocketlens.service.api.problems import Problem
from pocketlens.service.settings import Settings

#: Seconds to the end of the answer, and bytes of a photo.
_SECONDS: Final = 10.0
_MOST_BYTES: Final = 25_000_000
_PORTS: Final = {"http": 80, "https": 443}
_MOST_URL: Final = 2_000
#: IPv6 addresses of single machines of the whole Internet.
_UNICAST: Final = ipaddress.ip_network("2000::/3")

Resolve = Callable[[str, int], list[str]]


def fetch(url: str, settings: Settings, *, resolve: Resolve | None = None) -> bytes:
    """The bytes at an address.

    Raises:
        Problem: 400 where it is not allowed, not public, or doesn't answer with a photo in time.
    """
    if not settings.allow_urls:
        raise Problem(
            400, "urls_not_allowed", "photos by address are not allowed here; send the photo itself"
        )
    scheme, host, port, target = _parts(url)
    address = _public(host, port, resolve or _resolve)
    most = min(_MOST_BYTES, settings.max_body_bytes)
    try:
        return _get(scheme, host, address, port, target, most)
    except (OSError, http.client.HTTPException):  # no reason: it would tell what is reachable
        raise Problem(400, "url_not_fetched", "the address gave no photo in time") from None


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and target, by one parser alone."""
    refused = Problem(400, "bad_url", "image_url: an address like https://example.org/a.jpg")
    if len(url) > _MOST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise refused
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refused from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or "\\" in url:
        raise refused
    if port not in (None, _PORTS[parts.scheme]):
        raise Problem(400, "bad_url", "image_url: only the usual ports are asked")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, _PORTS[parts.scheme], target


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _public(host: str, port: int, resolve: Resolve) -> str:
    """The address to connect to; the only time that the name is looked up."""
    try:
        found = resolve(host, port)
    except (OSError, UnicodeError):
        found = []
    if not found or not all(is_public(address) for address in found):
        raise Problem(400, "url_not_public", "image_url: only public addresses are asked")
    return found[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the whole Internet's, also where it wraps another."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        # Those that wrap an IPv4 address lie elsewhere, but for two.
        wraps = found.sixtofour is not None or found.teredo is not None
        if wraps or found not in _UNICAST:
            return False
    return found.is_global and not found.is_multicast


def _get(scheme: str, host: str, address: str, port: int, target: str, most: int) -> bytes:
    until = time.monotonic() + _SECONDS
    raw = socket.create_connection((address, port), timeout=_SECONDS)
    if scheme == "https":
        context = ssl.create_default_context()
        raw = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    # A socket's own time begins anew with each byte: a handshake or a head could go on for ever.
    end = threading.Timer(max(0.0, until - time.monotonic()), _cut, (raw,))
    end.daemon = True
    end.start()
    try:
        if isinstance(raw, ssl.SSLSocket):
            raw.do_handshake()
        connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
        connection.sock = raw
        headers = {"Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError("not 200")
        return _read(answer, raw, most, until)
    finally:
        end.cancel()
        raw.close()


def _cut(raw: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        socket.socket.shutdown(raw, socket.SHUT_RDWR)


def _read(answer: Any, raw: socket.socket, most: int, until: float) -> bytes:
    content = bytearray()
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise OSError("too slow")
        raw.settimeout(left)
        more = answer.read1(65_536)
        if not more:
            if time.monotonic() >= until:
                raise OSError("too slow")
            return bytes(content)
        content += more
        if len(content) > most:
            raise Problem(413, "body_too_large", "the photo at this address is too large")
