"""Who may ask, and from where: looked at first, before a request's body is read.

With tokens, each request names one; without, only this machine's own programs are answered: a web
page from elsewhere, also one whose name was made to point here (DNS rebinding), is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketlens.service.api.access import LOCAL
from pocketlens.service.api.limits import Pace
from pocketlens.service.api.problems import Problem
from pocketlens.service.settings import Settings, User, is_loopback

#: Wrong tokens of one address that are looked at: at once, and then a minute.
WRONG_AT_ONCE: Final = 10
WRONG_A_MINUTE: Final = 20
#: Answered without a token: they tell nothing of anybody's data.
PUBLIC: Final = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
#: Of pages that are written here: their own styles and pictures inside them, no script at all.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_STRICT: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGE: Final = (b"content-security-policy", PAGE_POLICY.encode())
_PAGES: Final = (b"text/html", b"image/svg+xml")
_NO_STORE: Final = (b"cache-control", b"no-store")


class Guard:
    """ASGI middleware: finds the user, or answers 401, 403 or 429; adds headers to every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._wrong = Pace(WRONG_A_MINUTE, WRONG_AT_ONCE)
        self._tokens = [(bytes.fromhex(key), user) for key, user in settings.tokens.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its user, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message.get("headers", ()))
            await send(message)

        try:
            scope["pocketlens.user"] = self._user(scope)
        except Problem as problem:
            await problem.response()(scope, receive, send_safely)
            return
        await self.app(scope, receive, send_safely)

    def _user(self, scope: Scope) -> User | None:
        """The user; None for what needs none.

        Raises:
            Problem: 401 no token or a wrong one, 429 one of too many wrong ones, 403 a request from
                another place.
        """
        headers = dict(scope["headers"])
        if not self._tokens:
            _refuse_other_places(headers)
            return LOCAL
        if scope["path"] in PUBLIC:
            return None
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        user = self._owner(token.strip()) if kind.lower() == b"bearer" else None
        if user is None:
            # A right token never comes here: behind a proxy all have one address, and whoever
            # guesses must not shut out the others. Where none was sent, nothing was guessed.
            if token:
                self._refuse_guessing(scope)
            raise Problem(
                401,
                "not_authenticated",
                "a bearer token is needed: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return user

    def _refuse_guessing(self, scope: Scope) -> None:
        wait = math.ceil(self._wrong.wait(_place(scope)))
        if wait:
            raise Problem(
                429,
                "too_many_wrong_tokens",
                f"too many wrong tokens came from this address; try again in {wait} s",
                headers={"Retry-After": str(wait)},
            )

    def _owner(self, token: bytes) -> User | None:
        """Whose token this is; all are compared, so that time tells nothing of them."""
        digest = hashlib.sha256(token).digest()
        found = None
        for known, user in self._tokens:
            if hmac.compare_digest(known, digest):
                found = user
        return found


def _place(scope: Scope) -> str:
    """Where a request comes from: an address, of IPv6 the network that one customer has."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))


def _refuse_other_places(headers: dict[bytes, bytes]) -> None:
    """Without tokens a browser must not be led here by a page from elsewhere."""
    host = _name(b"//" + headers.get(b"host", b""))
    if host is None or not is_loopback(host):
        raise Problem(
            403, "wrong_host", "no token is set, so only http://127.0.0.1 and localhost are served"
        )
    origin = headers.get(b"origin")
    if origin is not None:
        place = _name(origin)
        if place is None or not is_loopback(place):
            raise Problem(403, "cross_site", "web pages from elsewhere are not answered")
    elif headers.get(b"sec-fetch-site") == b"cross-site":
        raise Problem(403, "cross_site", "web pages from elsewhere are not answered")


def _name(address: bytes) -> str | None:
    try:
        return urlsplit(address.decode("ascii")).hostname
    except (UnicodeDecodeError, ValueError):
        return None


def _with_headers(
    given: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...],
) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in given}
    # Both are pages to a browser that is led to them.
    page = any(n == b"content-type" and v.startswith(_PAGES) for n, v in given)
    added = [*_HEADERS, _PAGE if page else _STRICT, _NO_STORE]
    return [*given, *(pair for pair in added if pair[0] not in names)]
