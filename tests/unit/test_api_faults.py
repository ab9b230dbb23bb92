"""When parts don't answer, or break: what a client sees, what the log has, and that it recovers."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pocketlens.service import log_lines
from pocketlens.service.api import state
from pocketlens.service.database import open_database
from pocketlens.service.engine import EngineClosedError, EngineFullError
from pocketlens.service.storage import StorageUnavailableError
from support import service as support

Encode = Callable[..., bytes]


@pytest.fixture
def log() -> io.StringIO:
    """What is logged, as lines of JSON."""
    stream = io.StringIO()
    log_lines.set_up(stream)
    return stream


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> Iterator[TestClient]:
    """Whose database waits for no other writer."""

    def impatient(settings: Any) -> Any:
        database = open_migrated(settings)
        database.dispose()
        return open_database(settings.database_url, busy_seconds=0.05)

    open_migrated = state.open_migrated
    monkeypatch.setattr(state, "open_migrated", impatient)
    with support.client(support.settings(tmp_path)) as made:
        yield made


@pytest.fixture
def files(encode: Encode) -> Any:
    return {"images": ("secret-name.png", encode(support.photo()))}


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def service(api: TestClient) -> Any:
    return api.app.state.service  # type: ignore[attr-defined]


def test_a_locked_database(api: TestClient, tmp_path: Path, files: Any) -> None:
    """FAULTS 44: 503 with Retry-After while it lasts, and nothing else afterwards."""
    other = sqlite3.connect(tmp_path / "home" / "pocketlens.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for query in ("", "?wait=5"):
        answer = api.post(f"/v1/predictions{query}", files=files)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert api.get("/healthz").status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert api.post("/v1/predictions?wait=5", files=files).status_code == 200
    assert len(api.get("/v1/jobs").json()["jobs"]) == 1
    spooled = tmp_path / "home" / "photos" / "private" / "spool"
    assert not [path for path in spooled.rglob("*") if path.is_file()]


def test_storage_that_is_away(api: TestClient, files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise StorageUnavailableError("s3://secret-bucket can't be reached")

    with monkeypatch.context() as patched:
        patched.setattr(type(service(api).storage), "put_private", away)
        patched.setattr(type(service(api).storage), "get_private", away)
        answer = api.post("/v1/predictions", files=files)
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert "secret-bucket" not in answer.text
        ready = api.get("/readyz")
        assert (ready.status_code, ready.json()["failing"]) == (503, ["storage"])
        assert "secret-bucket" not in ready.text
    assert api.post("/v1/predictions", files=files).status_code == 202
    assert api.get("/readyz").status_code == 200


def test_no_room_for_a_large_file(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies among temporary files while it comes, on a disk that may be full as any other."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/secret")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    large = {"images": ("a.png", bytes(9_000_000))}
    for path in ("/v1/predictions", "/v1/datasets/pills/images"):
        answer = api.post(path, files=large)
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert "secret" not in answer.text


def test_a_fault_of_ours(
    api: TestClient, log: io.StringIO, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("/srv/secret/path of SecretClass")

    monkeypatch.setattr("pocketlens.service.answers.result", broken)
    answer = api.post("/v1/predictions?wait=5", files=files)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == "application/problem+json"
    for word in ("secret", "Secret", "Traceback", "RuntimeError", "pocketlens.service"):
        assert word not in answer.text
    [told] = [line for line in lines(log) if "traceback" in line]
    assert "/srv/secret/path of SecretClass" in told["traceback"]
    assert told["request"] == answer.headers["x-request-id"]


def test_the_log_of_requests(api: TestClient, log: io.StringIO, files: Any) -> None:
    answer = api.post("/v1/predictions?wait=5", files=files, headers={"X-Request-Id": "forged"})
    [line] = [line for line in lines(log) if line["logger"].endswith("access")]
    assert line["request"] == answer.headers["x-request-id"] != "forged"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/predictions", 200)
    assert (line["user"], line["bytes"]) == ("local", len(answer.content))
    assert line["ms"] > 0
    api.get("/secret-path/%0aforged", headers={"Authorization": "Bearer secret-token"})
    api.request("SECRET", "/v1/jobs")
    assert "secret" not in log.getvalue().lower()


@pytest.mark.parametrize("error", [TimeoutError, EngineFullError, EngineClosedError])
def test_what_is_not_ready_becomes_a_job(
    api: TestClient, files: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("pocketlens.service.engine.Engine.answer", late)
    answer = api.post("/v1/predictions?wait=0.05", files=files)
    assert (answer.status_code, answer.json()["state"]) == (202, "Pending")
    [job] = api.get("/v1/jobs").json()["jobs"]
    assert job["job_id"] == answer.json()["job_id"]
    names = service(api).storage.get_private(f"spool/{job['job_id']}/0")
    assert names == files["images"][1]  # the very bytes that came


def test_figures(api: TestClient, files: Any) -> None:
    api.post("/v1/predictions?wait=5", files=files)
    api.post("/v1/predictions", files=files)
    for number in range(50):
        api.get(f"/nowhere/{number}")
        api.request(f"VERB{number}", "/v1/jobs")
    text = api.get("/metrics").text
    for line in (
        'pocketlens_requests_total{method="POST",route="/v1/predictions",status="200"} 1.0',
        'pocketlens_requests_total{method="GET",route="none",status="404"} 50.0',
        'pocketlens_predictions_total{outcome="answered"} 1.0',
        'pocketlens_jobs{kind="predict",state="Pending"} 1.0',
        "pocketlens_queue_depth 1.0",
        "pocketlens_database_up 1.0",
    ):
        assert line in text.split("\n"), text
    assert "nowhere" not in text
    assert "VERB" not in text


def test_no_model_that_answers(api: TestClient) -> None:
    service(api).models.problem = "its files are gone from /srv/secret"
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        503, {"status": "unavailable", "failing": ["model"]}
    )  # fmt: skip
