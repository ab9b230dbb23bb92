"""Jobs over HTTP: lists, an end, deletion; maps of an answer by a worker in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from pocketlens.service import jobs
from pocketlens.service.worker import Parts, run_worker
from support import service as support

Encode = Callable[..., bytes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "home"


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[TestClient]:
    with support.client(support.settings(home.parent)) as made:
        yield made


@pytest.fixture
def image(encode: Encode) -> bytes:
    return encode(support.photo())


@contextmanager
def worker(api: TestClient) -> Iterator[None]:
    opened: Any = api.app.state.service  # type: ignore[attr-defined]
    parts = Parts(opened.settings, opened.database, opened.queue, opened.storage, opened.models)
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(parts, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def submit(api: TestClient, image: bytes) -> str:
    made = api.post("/v1/predictions", files={"images": ("a.png", image)})
    return str(made.json()["job_id"])


def test_pages(api: TestClient, image: bytes) -> None:
    made = [submit(api, image) for _ in range(5)]
    api.post(f"/v1/jobs/{made[0]}/cancel")
    found: list[str] = []
    query = "/v1/jobs?limit=2"
    while True:
        page = api.get(query).json()
        assert all("result" not in job for job in page["jobs"])
        found += [job["job_id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        query = f"/v1/jobs?limit=2&after={page['next']}"
    assert found[:5] == made[::-1]  # others' are older
    failed = api.get("/v1/jobs?state=Failed&kind=predict").json()["jobs"]
    assert made[0] in [job["job_id"] for job in failed]
    assert not {job["job_id"] for job in failed} & set(made[1:])
    assert api.get("/v1/jobs?kind=train").json()["jobs"] == []
    assert api.get("/v1/jobs?after=x").status_code == 422
    assert api.get("/v1/jobs?state=pending").status_code == 422
    assert api.get("/v1/jobs?limit=1000000").status_code == 422


def test_a_cancelled_job(api: TestClient, home: Path, image: bytes) -> None:
    id = submit(api, image)
    cancelled = api.post(f"/v1/jobs/{id}/cancel").json()
    assert (cancelled["state"], cancelled["code"]) == ("Failed", "cancelled")
    assert not list(home.rglob(f"spool/{id}/*"))
    with worker(api):
        assert api.get(f"/v1/jobs/{id}").json() == cancelled


def test_a_deleted_job(api: TestClient, home: Path, image: bytes) -> None:
    """FAULTS 40: a worker that runs it doesn't bring it back."""
    id = submit(api, image)
    opened: Any = api.app.state.service  # type: ignore[attr-defined]
    with opened.database.begin() as connection:
        job = jobs.claim(connection, id, "w", now=1e9, lease_seconds=60, max_attempts=3)
    assert job is not None
    assert api.delete(f"/v1/jobs/{id}").status_code == 204
    with opened.database.begin() as connection:
        assert not jobs.complete(connection, job, {}, now=1e9)
    assert api.get(f"/v1/jobs/{id}").status_code == 404
    assert api.delete(f"/v1/jobs/{id}").status_code == 404
    assert not list(home.rglob(f"spool/{id}/*"))


def test_a_worker_answers_as_the_api(api: TestClient, image: bytes) -> None:
    files = {"images": ("a.png", image)}
    at_once = api.post("/v1/predictions?wait=30", files=files).json()["result"]
    with worker(api):
        keyed = api.post("/v1/predictions?wait=30", files=files, headers={"Idempotency-Key": "1"})
    assert keyed.json()["result"] == at_once


@pytest.mark.parametrize("form", [{}, {"class_id": "2"}, {"box": "[2, 2, 20, 20]"}])
def test_an_explanation(api: TestClient, image: bytes, form: dict[str, str]) -> None:
    with worker(api):
        answer = api.post("/v1/explanations?wait=40", files={"image": ("a.png", image)}, data=form)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert (result["method"], result["method_title"]) == ("occlusion", "occlusion")
    assert "occlusion" in result["words"]
    [made] = result["maps"]
    assert made["label"] == support.CLASSES[made["class_id"]]
    if "class_id" in form:
        assert made["class_id"] == 2
    picture = api.get(made["overlay"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert api.delete(f"/v1/jobs/{answer.json()['job_id']}").status_code == 204
    assert api.get(made["overlay"]).status_code == 404


@pytest.mark.parametrize(
    ("form", "data", "code"),
    [
        ({"class_id": "3"}, None, "unknown_class"),
        ({"method": "gradcam"}, None, "method_not_possible"),
        ({}, b"no image", "unknown_image_format"),
        ({"box": "[100, 100, 5, 5]"}, None, "bad_box"),
        ({"box": "[1, 2]"}, None, "bad_boxes"),
        ({"class_id": "-1"}, None, "invalid_request"),
        ({"method": "x"}, None, "invalid_request"),
    ],
)
def test_what_cant_be_explained(
    api: TestClient, image: bytes, form: dict[str, str], data: bytes | None, code: str
) -> None:
    with worker(api):
        answer = api.post(
            "/v1/explanations?wait=40", files={"image": ("a.png", data or image)}, data=form
        )
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_classes(api: TestClient) -> None:
    found = api.get("/v1/classes").json()["classes"]
    assert [one["label"] for one in found] == list(support.CLASSES)
    assert api.get("/v1/classes/1").json() == found[1]
    assert api.get("/v1/classes/3").status_code == 404
    assert api.get("/v1/classes/x").status_code == 422


def test_who_waits_is_told_the_job_when_the_service_stops(tmp_path: Path, image: bytes) -> None:
    """In time, as an answer, not as the end of the connection: the job goes on without it."""
    told: list[httpx.Response] = []
    with support.running(support.settings(tmp_path)) as address:
        url, headers = f"{address}/v1/predictions?wait=60", {"Idempotency-Key": "one"}

        def ask() -> None:
            told.append(httpx.post(url, files={"images": image}, headers=headers, timeout=60))

        asking = threading.Thread(target=ask)
        asking.start()
        until = time.monotonic() + 20
        while not httpx.get(f"{address}/v1/jobs").json()["jobs"]:
            assert time.monotonic() < until
        begun = time.monotonic()
    asking.join(20)
    assert time.monotonic() - begun < 5
    [answer] = told
    assert (answer.status_code, answer.json()["state"]) == (202, "Pending")
