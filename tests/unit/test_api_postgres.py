"""The API on PostgreSQL: what it refuses where SQLite doesn't care, and keys at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support import service as support
from support.databases import KINDS, database_url

Encode = Callable[..., bytes]


@pytest.fixture(params=KINDS[1:])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestClient]:
    with (
        database_url(request.param, tmp_path) as url,
        support.client(support.settings(tmp_path, database=url)) as made,
    ):
        yield made


def test_the_same_answers(api: TestClient, encode: Encode) -> None:
    files = {"images": ("a.png", encode(support.photo()))}
    answer = api.post("/v1/predictions?wait=20", files=files)
    assert answer.status_code == 200
    kept = api.get(answer.headers["location"]).json()
    assert kept["result"] == answer.json()["result"]
    assert api.get("/readyz").status_code == 200
    assert 'pocketlens_jobs{kind="predict",state="Done"} 1.0' in api.get("/metrics").text

    answers: list[Any] = []

    def ask() -> None:
        key = {"Idempotency-Key": "k"}
        answers.append(api.post("/v1/predictions", files=files, headers=key))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.status_code for one in answers} == {202}
    assert len({one.json()["job_id"] for one in answers}) == 1
    for path in (
        "/v1/jobs/%00", "/v1/jobs/a%00b/files/map-0.png", "/v1/models/%00", "/v1/datasets/%00",
        "/v1/comparisons/%00", "/v1/classes/1%00", "/v1/jobs?after=1.0_%00",
    ):  # fmt: skip
        assert api.get(path).status_code in (404, 422), path
    assert api.delete("/v1/jobs/%00").status_code == 404
    assert api.post("/v1/jobs/%00/cancel").status_code == 404
