"""Who is answered: tokens, owners, places, and headers that browsers heed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pocketlens.core.errors import UserError
from pocketlens.service.api.security import WRONG_A_MINUTE, WRONG_AT_ONCE
from pocketlens.service.settings import Settings
from support import service as support

Encode = Callable[..., bytes]
UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Without tokens."""
    with support.client(support.settings(tmp_path_factory.mktemp("service"))) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """With tokens of ada, bob and the operator op."""
    given = support.settings(tmp_path_factory.mktemp("service"), tokens=support.with_tokens())
    with support.client(given) as made:
        yield made


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_no_token_on_a_public_address(tmp_path: Path, host: str) -> None:
    """FAULTS 47."""
    with pytest.raises(UserError, match="no token is set"):
        Settings(bundle=None, home=tmp_path, host=host)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic " + support.TOKENS["ada"]},
        {"Authorization": support.TOKENS["ada"]},
        {"Authorization": "Bearer " + support.digest(support.TOKENS["ada"])},
    ],
)
def test_a_wrong_token_is_not_answered(guarded: TestClient, headers: dict[str, str]) -> None:
    asks = at(guarded, str(headers))
    for path in ("/v1/jobs", "/metrics", "/v1/classes", "/nowhere"):
        answer = asks.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def at(served: TestClient, address: str) -> TestClient:
    """Who asks the same service from this address."""
    return TestClient(served.app, base_url=support.ADDRESS, client=(address, 1))


def test_who_guesses_tokens_has_to_wait(guarded: TestClient) -> None:
    """A right token from the same address never does: behind a proxy all have one."""
    asks = at(guarded, "10.0.0.1")
    wrong = {"Authorization": "Bearer guess"}
    for _ in range(WRONG_AT_ONCE):
        assert asks.get("/v1/jobs", headers=wrong).status_code == 401
        assert asks.get("/v1/jobs", headers=support.bearer("ada")).status_code == 200
    for path in ("/v1/jobs", "/metrics", "/nowhere"):
        answer = asks.get(path, headers=wrong)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_wrong_tokens")
        assert 1 <= int(answer.headers["retry-after"]) <= 60 / WRONG_A_MINUTE
        assert asks.get("/v1/jobs", headers=support.bearer("ada")).status_code == 200
    assert asks.get("/v1/jobs").status_code == 401  # nothing was guessed
    assert asks.get("/healthz").status_code == 200
    assert at(guarded, "10.0.0.2").get("/v1/jobs", headers=wrong).status_code == 401


def test_one_network_of_ipv6_is_one_place(guarded: TestClient) -> None:
    wrong = {"Authorization": "Bearer guess"}
    said = [
        at(guarded, f"2001:db8::{number}").get("/v1/jobs", headers=wrong).status_code
        for number in range(1, WRONG_AT_ONCE + 2)
    ]
    assert said == [401] * WRONG_AT_ONCE + [429]
    # An IPv4 address in the form of IPv6 is a place of its own.
    for address in ("2001:db8:0:1::1", "::ffff:10.1.0.1", "::ffff:10.1.0.2", "fe80::1%eth0"):
        assert at(guarded, address).get("/v1/jobs", headers=wrong).status_code == 401


def test_what_needs_no_token(guarded: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200


def test_anothers_job_is_not_there(guarded: TestClient, encode: Encode) -> None:
    """FAULTS 39."""
    files = {"images": ("x.png", encode(support.photo()))}
    ada, bob = support.bearer("ada"), support.bearer("bob")
    id = guarded.post("/v1/predictions", files=files, headers=ada).json()["job_id"]
    assert guarded.get(f"/v1/jobs/{id}", headers=ada).status_code == 200

    def asked(id: str, who: dict[str, str]) -> list[tuple[int, str]]:
        answers = [
            guarded.get(f"/v1/jobs/{id}", headers=who),
            guarded.post(f"/v1/jobs/{id}/cancel", headers=who),
            guarded.delete(f"/v1/jobs/{id}", headers=who),
            guarded.get(f"/v1/jobs/{id}/files/map-0.png", headers=who),
        ]
        return [(one.status_code, one.text) for one in answers]

    hidden = asked(id, bob)
    assert [status for status, _ in hidden] == [404] * 4
    assert hidden == asked(UNKNOWN, bob)
    assert guarded.get("/v1/jobs", headers=bob).json()["jobs"] == []
    assert guarded.get(f"/v1/jobs/{id}", headers=ada).json()["state"] == "Pending"


@pytest.mark.parametrize("id", ["x", "%00", "..%2f..%2fetc", "A" * 32, "0" * 33, "é"])
def test_what_is_no_id_is_not_there(api: TestClient, id: str) -> None:
    assert api.get(f"/v1/jobs/{id}").status_code == 404


@pytest.mark.parametrize("name", ["..%2f..%2fpocketlens.db", "map-0.svg", "map.png", "map-0.png"])
def test_only_pictures_of_results(api: TestClient, encode: Encode, name: str) -> None:
    files = {"images": ("x.png", encode(support.photo()))}
    id = api.post("/v1/predictions", files=files).json()["job_id"]
    assert api.get(f"/v1/jobs/{id}/files/{name}").status_code == 404


def test_metrics_are_for_operators(guarded: TestClient) -> None:
    answer = guarded.get("/metrics", headers=support.bearer("ada"))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_operator")
    assert guarded.get("/metrics", headers=support.bearer("op")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "192.168.0.1"])
def test_another_name_for_this_machine(api: TestClient, host: str) -> None:
    """A page whose name was made to point here reads nothing (DNS rebinding)."""
    answer = api.get("/v1/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_host")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_this_machines_names(api: TestClient, host: str) -> None:
    assert api.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost:8501"}, 202),
        ({"Origin": "http://127.0.0.1:8000"}, 202),
        ({}, 202),
    ],
)
def test_pages_from_elsewhere(
    api: TestClient, encode: Encode, headers: dict[str, str], status: int
) -> None:
    files = {"images": ("x.png", encode(support.photo()))}
    assert api.post("/v1/predictions", files=files, headers=headers).status_code == status


def test_headers_of_every_answer(api: TestClient) -> None:
    for path in ("/healthz", "/v1/jobs", "/nowhere", "/docs", "/v1/jobs/x"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        assert len(headers["x-request-id"]) == 16
    assert "script-src" not in api.get("/docs").headers["content-security-policy"]
    assert "<script" not in api.get("/docs").text
