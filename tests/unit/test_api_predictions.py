"""Predictions over HTTP: at once, as jobs, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import pocketlens as pl
from support import service as support

Encode = Callable[..., bytes]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def api(place: Path) -> Iterator[TestClient]:
    with support.client(support.settings(place)) as made:
        yield made


@pytest.fixture
def image(encode: Encode) -> bytes:
    return encode(support.photo())


def send(api: TestClient, *images: bytes, wait: float = 20, **more: Any) -> Any:
    files = [("images", ("x.png", data, "image/png")) for data in images]
    return api.post(f"/v1/predictions?wait={wait}", files=files, **more)


def test_the_answer_is_the_predictors(api: TestClient, place: Path, image: bytes) -> None:
    answer = send(api, image)
    assert answer.status_code == 200
    body = answer.json()
    [entry] = body["result"]["predictions"]
    with pl.load(place / "bundle") as predictor:
        [wanted] = predictor.predict([image])
    assert (entry["label"], entry["confidence"]) == (wanted.label, wanted.confidence)
    assert len(entry["top"]) == 3
    assert answer.headers["location"] == f"/v1/jobs/{body['job_id']}"
    kept = api.get(answer.headers["location"]).json()
    assert (kept["state"], kept["result"]) == ("Done", body["result"])


def test_without_waiting_there_is_a_job(api: TestClient, image: bytes) -> None:
    answer = send(api, image, wait=0)
    assert answer.status_code == 202
    job = api.get(answer.headers["location"]).json()
    assert (job["job_id"], job["state"]) == (answer.json()["job_id"], "Pending")
    assert api.app.state.service.queue.size() >= 1  # type: ignore[attr-defined]


def test_many_images_and_boxes(api: TestClient, image: bytes) -> None:
    boxes = [None, [0, 0, 8, 8], [[0, 0, 4, 4], [4, 4, 8, 8]]]
    answer = send(api, image, image, image, data={"boxes": json.dumps(boxes), "top_k": "1"})
    found = answer.json()["result"]["predictions"]
    assert [(one["image"], one["box"]) for one in found] == [
        (0, None), (1, [0, 0, 8, 8]), (2, [0, 0, 4, 4]), (2, [4, 4, 8, 8])
    ]  # fmt: skip
    assert all(len(one["top"]) == 1 for one in found)


def test_a_bad_image_among_good_ones(api: TestClient, image: bytes) -> None:
    found = send(api, image, b"no image").json()["result"]["predictions"]
    assert [one["error"] is None for one in found] == [True, False]
    assert found[1]["code"] == "unknown_image_format"


def test_nothing_usable_is_a_failed_job(api: TestClient) -> None:
    answer = send(api, b"no image")
    assert (answer.status_code, answer.json()["code"]) == (422, "no_usable_image")
    job = api.get(f"/v1/jobs/{answer.json()['job_id']}").json()
    assert (job["state"], job["code"]) == ("Failed", "no_usable_image")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"boxes": "[[1,2,3]]"}, "bad_boxes"),
        ({"boxes": "[]"}, "bad_boxes"),
        ({"boxes": '["a"]'}, "bad_boxes"),
        ({"boxes": "[[1,2,3,NaN]]"}, "invalid_request"),
        ({"boxes": "{"}, "invalid_request"),
        ({"boxes": "[" * 100_000}, "invalid_request"),
        ({"top_k": "0"}, "invalid_request"),
        ({"top_k": "1" * 5000}, "invalid_request"),
        ({"top_k": "0000000505"}, "invalid_request"),
    ],
)
def test_bad_parameters(api: TestClient, image: bytes, form: dict[str, str], code: str) -> None:
    answer = send(api, image, data=form)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_image_at_all(api: TestClient) -> None:
    answer = api.post("/v1/predictions", files={"other": ("a", b"b")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    answer = api.post("/v1/predictions", json={})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "name", ["../x", "a\0b", "%252e%252e", "..\\..\\x", "n" * 300, "/etc/passwd", "<script>"]
)
def test_file_names_are_ignored(api: TestClient, place: Path, image: bytes, name: str) -> None:
    """FAULTS 34."""
    files = [("images", (name, image, "image/png"))]
    answer = api.post("/v1/predictions", files=files)
    assert answer.status_code == 202
    answer = api.post("/v1/predictions?wait=20", files=files)
    assert answer.status_code == 200
    assert name not in answer.text
    names = {path.name for path in (place / "home").rglob("*")}
    assert not any(name in one or "passwd" in one for one in names)


def test_the_same_key_is_one_job(api: TestClient, image: bytes) -> None:
    """FAULTS 41, at the same moment too."""
    answers: list[Any] = []
    before = len(api.get("/v1/jobs?limit=200").json()["jobs"])

    def ask() -> None:
        answers.append(send(api, image, wait=0, headers={"Idempotency-Key": "k1"}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 8
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    jobs = api.get("/v1/jobs?limit=200").json()["jobs"]
    assert len(jobs) == before + 1


def test_a_key_belongs_to_one_request(api: TestClient, image: bytes, encode: Encode) -> None:
    key = {"Idempotency-Key": "k2"}
    first = send(api, image, wait=0, headers=key)
    for other in (
        send(api, encode(support.photo(1)), wait=0, headers=key),
        send(api, image, wait=0, headers=key, data={"top_k": "2"}),
    ):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert send(api, image, wait=0, headers=key).json() == first.json()


def test_an_address_is_refused(api: TestClient) -> None:
    """FAULTS 46."""
    answer = api.post(
        "/v1/predictions?wait=1", files={"image_url": (None, "http://127.0.0.1/x.png")}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "urls_not_allowed")


def test_what_waits_is_bounded(tmp_path: Path, encode: Encode) -> None:
    image = encode(support.photo())
    given = support.settings(tmp_path, tokens=support.with_tokens())
    with support.client(replace(given, max_waiting_bytes=3 * len(image))) as api:
        ada = {"headers": support.bearer("ada")}
        first, _, _ = answers = [send(api, image, wait=0, **ada) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {202}
        more = send(api, image, wait=0, **ada)
        assert (more.status_code, more.json()["code"]) == (429, "too_much_waiting")
        assert int(more.headers["retry-after"]) > 0
        spooled = list((tmp_path / "home").rglob("spool/*/*"))
        assert len(spooled) == 3, "nothing is kept of what was refused"
        assert send(api, image, wait=0, headers=support.bearer("bob")).status_code == 202
        api.post(f"{first.headers['location']}/cancel", **ada)
        assert send(api, image, wait=0, **ada).status_code == 202
