"""A disk that is full: of the database, of a check, of a training; it is said so, and mended."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from pocketlens.core.errors import DataError, UserError
from pocketlens.service import _train_process, jobs, training
from pocketlens.service.database import is_full, is_unavailable, open_database, reading
from pocketlens.service.queue import open_queue
from pocketlens.service.storage import Storage, StorageFullError, is_out_of_room, open_storage
from pocketlens.service.worker import Parts, run_worker
from support import service
from support.databases import until

Encode = Callable[..., bytes]


def _full(place: str = "/srv/secret") -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)


def test_the_disk_of_the_database(tmp_path: Path, encode: Encode) -> None:
    with service.client(service.settings(tmp_path)) as api:
        database = api.app.state.service.database  # type: ignore[attr-defined]
        files = {"images": ("x.png", encode(service.photo()))}
        limit = ["1"]  # in pages: as many as there are

        def no_more(connection: Any, *_: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={limit[0]}")

        event.listen(database, "checkout", no_more)
        for _ in range(100):
            answer = api.post("/v1/predictions", files=files)
            if answer.status_code != 202:
                break
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert int(answer.headers["retry-after"]) >= 1
        limit[0] = "100000"
        assert api.post("/v1/predictions", files=files).status_code == 202


def test_what_postgresql_says() -> None:
    full = OperationalError("insert", {}, psycopg.errors.DiskFull("could not extend file"))
    assert is_full(full)
    assert is_unavailable(full)
    away = OperationalError("insert", {}, psycopg.OperationalError("connection refused"))
    assert not is_full(away)


def test_errors_that_come_from_a_full_disk() -> None:
    caused = UserError("can't write model")
    caused.__cause__ = _full()
    foreign = RuntimeError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")
    for error in (_full(), OSError(errno.EDQUOT, "x"), caused, foreign):
        assert is_out_of_room(error)
    assert not is_out_of_room(OSError(errno.EIO, "x"))
    assert not is_out_of_room(UserError("x"))


@pytest.mark.parametrize(
    ("error", "code"), [(_full(), "storage_full"), (StorageFullError("x"), "storage_full")]
)
def test_a_check_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Encode, error: Exception, code: str
) -> None:
    """At once where the work's own disk is full; the storage may have room a minute later."""
    settings = service.settings(tmp_path, lanes=("slow",), max_attempts=1)
    with service.client(settings) as api:
        form = {"labels": '["a"]'}
        files = [("images", ("x.png", encode(service.photo())))]
        assert api.post("/v1/datasets/d/images", files=files, data=form).status_code == 201
        id = api.get("/v1/datasets/d/check").json()["job_id"]

    def fetch(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Storage, "fetch_photo", fetch)
    database, storage = open_database(settings.database_url), open_storage(settings.storage_url)
    parts = Parts(settings, database, open_queue(settings), storage, None)
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(parts, stop))
    thread.start()

    def job() -> Any:
        with reading(database) as connection:
            return jobs.get(connection, "local", id)

    try:
        until(lambda: job().state in ("Done", "Failed"), 20)
    finally:
        stop.set()
        thread.join(20)
    assert (job().state, job().code) == ("Failed", code)
    assert "room" in job().reason
    assert "secret" not in job().reason
    assert not (settings.home / "work" / id).exists()
    database.dispose()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_full(), "storage_full"),
        (UserError("/srv/secret can't be saved"), "storage_full"),
        (DataError("no photo"), "data_not_ready"),
        (UserError("no such network"), "training_refused"),
    ],
)
def test_what_a_training_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    if "secret" in str(error) and not isinstance(error, OSError):
        error.__cause__ = _full()
    out = io.StringIO()

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(_train_process, "_work", fail)
    monkeypatch.setattr(_train_process, "_own_stdout", lambda: out)
    monkeypatch.setattr(_train_process, "_die_with_parent", lambda: None)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    training.Spec("d", "", "", "").write(tmp_path / "spec.json")
    assert _train_process.main(str(tmp_path / "spec.json")) == 0
    told = json.loads(out.getvalue())["failed"]
    assert told["code"] == code
    assert "secret" not in told["reason"]


def test_a_fault_of_ours_in_a_training_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("x")

    monkeypatch.setattr(_train_process, "_work", fail)
    monkeypatch.setattr(_train_process, "_own_stdout", io.StringIO)
    monkeypatch.setattr(_train_process, "_die_with_parent", lambda: None)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    training.Spec("d", "", "", "").write(tmp_path / "spec.json")
    with pytest.raises(RuntimeError, match="x"):
        _train_process.main(str(tmp_path / "spec.json"))
