"""Data sets over HTTP: what is taken in, told and refused, and whether it is ready."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from pocketlens.service import jobs, tables
from pocketlens.service.context import Context
from pocketlens.service.kinds import check
from support.service import bearer, client, photo, settings, with_tokens

URL = "/v1/datasets/pills/images"


def _bytes(seed: int, format: str = "PNG") -> bytes:
    out = io.BytesIO()
    photo(seed).save(out, format)
    return out.getvalue()


def _images(*data: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", ("../../x.jpg", one)) for one in data]


def _zip(files: Mapping[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return [("archive", ("x.zip", out.getvalue()))]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TestClient]:
    with client(settings(tmp_path, quota_bytes=100_000, max_pixels=10_000)) as made:
        yield made


def _problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert answer.headers["content-type"] == "application/problem+json"
    return body


def _add(service: TestClient, labels: object, *data: bytes, **fields: object) -> Any:
    form = {"labels": json.dumps(labels)} | {k: json.dumps(v) for k, v in fields.items()}
    return service.post(URL, files=_images(*data), data=form)


def _run_check(service: TestClient, answer: Any) -> dict[str, Any]:
    """What a worker does with the job."""
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    opened = service.app.state.service  # type: ignore[attr-defined]
    id = answer.json()["job_id"]
    context = Context(
        *(opened.settings, opened.database, opened.storage, opened.models),
        logging.getLogger("test"),
        lambda _: None,
    )
    with opened.database.begin() as connection:
        job = jobs.claim(connection, id, "w", now=1.0, lease_seconds=60, max_attempts=3)
    assert job is not None
    result = check.run(job, context)
    with opened.database.begin() as connection:
        assert jobs.complete(connection, job, result, now=2.0)
    assert not list((opened.settings.home / "work").iterdir())
    return dict(service.get("/v1/datasets/pills/check").json())


def test_photos_come_in_and_go(service: TestClient) -> None:
    answer = _add(service, ["a", "알약", "a"], _bytes(1), _bytes(2, "JPEG"), b"")
    assert answer.status_code == 201
    assert answer.json() == {
        **{"dataset": "pills", "added": 2, "duplicates": 0, "replaced": 0},
        **{"num_rejected": 1},
        "rejected": [{"name": "images[2]", "code": "empty_image", "reason": "the file is empty"}],
        **{"num_samples": 2, "class_counts": {"a": 1, "알약": 1}},
    }
    assert _add(service, ["a"], _bytes(1)).json()["duplicates"] == 1
    (entry,) = service.get("/v1/datasets").json()["datasets"]
    assert (entry["dataset"], entry["num_samples"], entry["task"]) == ("pills", 2, "single_label")
    whole = service.get("/v1/datasets/pills").json()
    assert whole == {**entry, "class_counts": {"a": 1, "알약": 1}}
    account = service.get("/v1/account").json()
    assert (account["num_photos"], account["quota_bytes"]) == (2, 100_000)
    assert 0 < account["size_bytes"] < 100_000
    assert service.delete("/v1/datasets/pills").status_code == 204
    _problem(service.delete("/v1/datasets/pills"), 404, "not_found")
    _problem(service.get("/v1/datasets/pills"), 404, "not_found")
    account = service.get("/v1/account").json()
    assert (account["num_photos"], account["size_bytes"], account["num_datasets"]) == (0, 0, 0)
    (line,) = account["deletions"]
    assert (line["what"], line["why"], line["count"]) == ("photos", "request", 2)


def test_a_wrong_label_is_mended(service: TestClient) -> None:
    """And what was found out about the data set before counts no longer."""
    assert _add(service, ["a", "b"], _bytes(1), _bytes(2)).status_code == 201
    _run_check(service, service.get("/v1/datasets/pills/check"))
    form = {"labels": '["b"]'}
    body = _problem(_add(service, ["b"], _bytes(1)), 422, "no_usable_image")
    assert body["rejected"][0]["code"] == "labelled_otherwise"
    assert "replace=true" in body["rejected"][0]["reason"]
    answer = service.post(URL, files=_images(_bytes(1)), data={**form, "replace": "false"})
    _problem(answer, 422, "no_usable_image")
    for wrong in ("yes", "1", ""):
        answer = service.post(URL, files=_images(_bytes(1)), data={**form, "replace": wrong})
        assert "replace" in _problem(answer, 422, "invalid_request")["detail"]
    answer = service.post(URL, files=_images(_bytes(1)), data={**form, "replace": "true"})
    assert answer.status_code == 201, answer.json()
    told = {key: answer.json()[key] for key in ("added", "replaced", "duplicates", "class_counts")}
    assert told == {"added": 0, "replaced": 1, "duplicates": 0, "class_counts": {"b": 2}}
    assert service.get("/v1/datasets/pills/check").status_code == 202  # to be found out anew
    files = _zip({"a/x.png": _bytes(1), "b/y.png": _bytes(2)})
    answer = service.post(URL, files=files, data={"replace": "true"})
    assert (answer.status_code, answer.json()["replaced"]) == (201, 1)
    assert service.get("/v1/datasets/pills").json()["class_counts"] == {"a": 1, "b": 1}


def test_boxes_and_several_labels(service: TestClient) -> None:
    boxes = [[1, 2, 10, 10], None, [99, 0, 5, 5]]
    answer = _add(service, [["a", "b"], [], "a"], *map(_bytes, (1, 2, 3)), boxes=boxes)
    assert [one["code"] for one in answer.json()["rejected"]] == ["bad_box"]
    assert answer.json()["class_counts"] == {"a": 1, "b": 1}
    assert service.get("/v1/datasets/pills").json()["task"] == "multi_label"
    assert _add(service, ["a"], _bytes(4)).json()["added"] == 1  # a list of one
    assert _add(service, ["a"], _bytes(5)).status_code == 201
    other = "/v1/datasets/single/images"
    service.post(other, files=_images(_bytes(1)), data={"labels": '["a"]'})
    answer = service.post(other, files=_images(_bytes(2)), data={"labels": '[["a"]]'})
    _problem(answer, 409, "other_task")


def test_what_is_refused_stores_nothing(service: TestClient) -> None:
    for labels, fields, code in (
        (["a", "b"], {}, "bad_labels"),
        ("a", {}, "bad_labels"),
        ([1], {}, "bad_labels"),
        ([["a", None]], {}, "bad_labels"),
        (["a"], {"boxes": [[1, 2, 3]]}, "bad_boxes"),
        (["a"], {"boxes": []}, "bad_boxes"),
        (["a"], {"boxes": [["x", 1, 2, 3]]}, "bad_boxes"),
    ):
        _problem(_add(service, labels, _bytes(1), **fields), 422, code)
    _problem(service.post(URL, data={"labels": "["}, files=_images(b"x")), 422, "invalid_request")
    _problem(service.post(URL, data={"labels": "[]"}, files=_zip({})), 422, "no_photo")
    _problem(service.post(URL, data={"labels": "[]"}), 415, "unsupported_media_type")
    both = [*_images(_bytes(1)), *_zip({})]
    _problem(service.post(URL, files=both), 422, "invalid_request")
    _problem(service.post(URL, files=[("archive", ("x", b"text"))]), 422, "bad_archive")
    body = _problem(_add(service, ["a", "a"], b"", b"<svg/>"), 422, "no_usable_image")
    assert [one["code"] for one in body["rejected"]] == ["empty_image", "svg_image"]
    for name in ("a%2Fb", "a%5Cb", "a%00b", "x" * 101, "%20"):
        answer = service.post(f"/v1/datasets/{name}/images", files=_images(_bytes(1)))
        assert answer.status_code in (404, 422)
        assert service.get(f"/v1/datasets/{name}").status_code == 404
    big = [_bytes(seed) for seed in range(60)]  # 3 kB each, and 100 kB allowed
    answer = _add(service, ["a"] * 60, *big)
    assert {one["code"] for one in answer.json()["rejected"]} == {"quota_exceeded"}
    _problem(_add(service, ["a"], _bytes(99)), 507, "quota_exceeded")
    account = service.get("/v1/account").json()
    assert account["size_bytes"] <= 100_000


def test_nobody_sees_the_data_of_another(tmp_path: Path) -> None:
    with client(settings(tmp_path, tokens=with_tokens())) as service:
        form = {"labels": '["a"]'}
        ada = {"headers": bearer("ada")}
        bob = {"headers": bearer("bob")}
        assert service.post(URL, files=_images(_bytes(1)), data=form, **ada).status_code == 201
        for path in ("", "/check"):
            _problem(service.get(f"/v1/datasets/pills{path}", **bob), 404, "not_found")
        _problem(service.delete("/v1/datasets/pills", **bob), 404, "not_found")
        assert service.get("/v1/datasets", **bob).json() == {"datasets": []}
        assert service.get("/v1/account", **bob).json()["num_photos"] == 0
        assert service.post(URL, files=_images(_bytes(1)), data=form, **bob).status_code == 201
        assert service.delete("/v1/datasets/pills", **bob).status_code == 204
        assert service.get("/v1/datasets/pills", **ada).json()["num_samples"] == 1
        assert service.get("/v1/account", **ada).json()["deletions"] == []
        _problem(service.get("/v1/account"), 401, "not_authenticated")


def test_an_archive(service: TestClient) -> None:
    files = {f"{label}/{seed}.png": _bytes(seed) for seed, label in enumerate("aabb")}
    answer = service.post(URL, files=_zip({**files, "../x.png": b"", "a/y.txt": b""}))
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["added"], answer.json()["class_counts"]) == (4, {"a": 2, "b": 2})
    assert [one["code"] for one in answer.json()["rejected"]] == ["unsafe_name"]
    yolo = {"images/1.png": _bytes(9), "labels/1.txt": b"1 0.5 0.5 0.5 0.5\n0 0.2 0.2 0.1 0.1"}
    for read_as, task in (("boxes", "single_label"), ("photos", "multi_label")):
        form = {"classes": '["x", "y"]', "read_as": read_as}
        answer = service.post(f"/v1/datasets/{read_as}/images", files=_zip(yolo), data=form)
        assert answer.json()["class_counts"] == {"x": 1, "y": 1}
        assert service.get(f"/v1/datasets/{read_as}").json()["task"] == task
    for form in ({"classes": '"x"'}, {"read_as": "x"}):
        _problem(service.post(URL, files=_zip(yolo), data=form), 422, "invalid_request")


def test_is_it_ready(service: TestClient) -> None:
    check_url = "/v1/datasets/pills/check"
    _problem(service.get(check_url), 404, "not_found")
    _add(service, ["a"] * 4, *map(_bytes, range(4)))
    first = service.get(check_url)
    assert service.get(check_url).json()["job_id"] == first.json()["job_id"]  # not one each time
    found = _run_check(service, first)
    assert not found["ready"]
    assert "second class" in " ".join(found["missing"])
    assert found["num_samples"] == 4
    _add(service, ["b"] * 2, *map(_bytes, range(4, 6)))
    answer = service.get(check_url)
    assert answer.json()["job_id"] != first.json()["job_id"]  # there are more photos now
    found = _run_check(service, answer)
    assert "b has 2" in " ".join(found["missing"])
    values = {"needed": 3, "num": 1, "classes": {"b": 2}}
    assert found["reasons"] == [{"code": "few_photos", "values": values}]
    _add(service, ["b"] * 2, *map(_bytes, range(6, 8)))
    found = _run_check(service, service.get(check_url))
    assert (found["ready"], found["missing"], found["reasons"]) == (True, [], [])
    assert found["class_counts"] == {"a": 4, "b": 4}
    assert sum(found["splits"].values()) == 8
    assert ".png" not in json.dumps(found)
    opened = service.app.state.service  # type: ignore[attr-defined]
    with opened.database.connect() as connection:
        kinds = connection.scalars(select(tables.jobs.c.kind)).all()
        last = connection.scalar(select(tables.datasets.c.check_job_id))
    assert kinds == ["check"] * 3
    assert service.get(check_url).json() == found
    assert service.delete(f"/v1/jobs/{last}").status_code == 204
    assert _run_check(service, service.get(check_url)) == found  # it is made again


def test_a_check_that_failed(service: TestClient) -> None:
    check_url = "/v1/datasets/pills/check"
    _add(service, ["a"], _bytes(1))
    opened = service.app.state.service  # type: ignore[attr-defined]

    def fail(code: str, now: float) -> str:
        id = str(service.get(check_url).json()["job_id"])
        with opened.database.begin() as connection:
            job = jobs.claim(connection, id, "w", now=now, lease_seconds=60, max_attempts=3)
            assert job is not None
            assert jobs.fail(connection, job, code, "a reason", now=now)
        return id

    first = fail("internal", 4e9)
    _problem(service.get(check_url), 500, "internal")
    with opened.database.begin() as connection:
        connection.execute(tables.jobs.update().values(ended_at=1.0))
    second = fail("cancelled", 4e9)
    assert second != first
    assert service.get(check_url).json()["job_id"] not in (first, second)
