"""The page's way to the service: how long it waits for what."""

from __future__ import annotations

import httpx
import pytest

from pocketlens.ui import client as page
from pocketlens.ui.client import Client


def test_taking_in_may_take_longer_than_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the page would say of a large zip that the service is gone, while it takes it in."""
    waits: dict[str, float] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        waits[f"{request.method} {request.url.path}"] = request.extensions["timeout"]["read"]
        return httpx.Response(200, json={})

    service = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    monkeypatch.setattr(page, "_connections", lambda _service: service)
    reader = Client("http://service")
    reader.add_archive("a b", ("a.zip", b"zip"))
    reader.add_photos("photos", [("a.jpg", b"photo")], "cat")
    reader.get("/v1/models")
    assert waits["POST /v1/datasets/a b/images"] >= 600
    assert waits["POST /v1/datasets/photos/images"] >= 600
    assert waits["GET /v1/models"] <= 60


@pytest.mark.parametrize("typed", ["\u3141\u3134\u3147", "\u201cabc\u201d", "abc\n", "a\0"])
def test_what_no_header_can_hold_is_a_wrong_token(typed: str) -> None:
    """It was an error of the page, which stayed until it was loaded anew, or no service at all."""
    with pytest.raises(page.Problem) as refused:
        Client("http://127.0.0.1:1", typed).get("/v1/models")
    assert refused.value.denies
    assert refused.value.code == "not_authenticated"
