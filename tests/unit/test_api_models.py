"""Models, comparisons and trainings over HTTP: who sees what, and who may change what answers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, select, update

from pocketlens.core.bundle import read_bundle
from pocketlens.core.comparison import Comparison
from pocketlens.core.directory import write_text
from pocketlens.core.errors import BundleError
from pocketlens.service import datasets, model_files, retiring, spool
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.jobs import Job
from pocketlens.service.kinds import explain
from pocketlens.service.models import add_model
from pocketlens.service.tables import comparisons, jobs, metadata, models, new_id
from pocketlens.workflows.convert import copy_bundle
from support import service as support
from support.comparisons import nasty, small
from support.fake import fake_imported

ADA, BOB, OP = (support.bearer(name) for name in ("ada", "bob", "op"))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TestClient]:
    """Of a bundle that `fit` left, with its table beside it."""
    bundle = fake_imported(tmp_path / "somewhere", support.CLASSES)
    copy_bundle(bundle, tmp_path / "fitted" / "best")
    write_text(tmp_path / "fitted" / "compare.json", small().to_json())
    given = support.settings(tmp_path, tokens=support.with_tokens())
    settings = type(given)(**{**vars(given), "bundle": tmp_path / "fitted" / "best"})
    with support.client(settings) as made:
        yield made


def opened(api: TestClient) -> Any:
    return api.app.state.service  # type: ignore[attr-defined]


def current(api: TestClient) -> str:
    return str(api.get("/v1/models", headers=ADA).json()["current"])


def trained(api: TestClient, tmp_path: Path, state: str = "offered", owner: str = "ada") -> str:
    """A model of ada's, as a training leaves it."""
    service, id = opened(api), new_id()
    made = fake_imported(tmp_path / id, support.CLASSES, bias=0.5)
    kept = model_files.keep(made, service.settings.home, id, service.storage)
    with service.database.begin() as connection:
        table_id = new_id()
        row = {"id": table_id, "owner": owner, "name": "mine", "created_at": time.time()}
        connection.execute(
            insert(comparisons).values({**row, "table": json.loads(nasty().to_json())})
        )
        add_model(
            connection, kept, id=id, owner=owner, state=state, now=time.time(),
            parent_id=current(api), comparison_id=table_id, reason="loses 3 points",
            scores={"score": 91.0}, reasons=[{"code": "slower_than_current", "values": {}}],
        )  # fmt: skip
    return id


def promote(api: TestClient, id: str, **body: Any) -> Any:
    return api.post(f"/v1/models/{id}/promote", headers=OP, json=body or None)


def test_promote_answers_and_goes_back(api: TestClient, tmp_path: Path) -> None:
    first, new = current(api), trained(api, tmp_path)
    answer = promote(api, new, expect_current=first)
    assert (answer.status_code, answer.json()) == (200, {"current": new, "replaced": first})
    assert api.get("/v1/classes", headers=BOB).json()["model_id"] == new
    view = api.get(f"/v1/models/{new}", headers=ADA).json()
    assert (view["current"], view["state"], view["compared_with"]) == (True, "offered", first)
    assert view["scores"] == {"score": 91.0}
    assert view["reasons"] == [{"code": "slower_than_current", "values": {}}]
    assert api.get(f"/v1/models/{new}", headers=BOB).json()["reasons"] is None
    assert api.get(f"/v1/models/{first}", headers=ADA).json()["reasons"] is None
    assert promote(api, first).json() == {"current": first, "replaced": new}
    assert current(api) == first


def test_what_may_not_answer(api: TestClient, tmp_path: Path) -> None:
    first = current(api)
    rejected, one, other = (trained(api, tmp_path, s) for s in ("rejected", "offered", "offered"))
    for id, body, code in (
        (rejected, {}, "not_offered"),
        (one, {"expect_current": one}, "changed_meanwhile"),
    ):
        answer = promote(api, id, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert "loses 3 points" in promote(api, rejected).json()["detail"]
    assert promote(api, one).status_code == 200
    assert promote(api, other).json()["code"] == "stale_comparison"
    assert promote(api, first).status_code == 200
    assert promote(api, "0" * 32).status_code == 404
    assert promote(api, "a%00b").status_code == 404
    assert promote(api, one, surprise=1).status_code == 422


def test_a_model_that_cannot_be_opened_does_not_answer(api: TestClient, tmp_path: Path) -> None:
    first, new = current(api), trained(api, tmp_path)
    service = opened(api)
    model_files.forget(service.settings.home, new, service.storage)
    answer = promote(api, new)
    assert (answer.status_code, answer.json()["code"]) == (409, "cannot_be_opened")
    assert str(tmp_path) not in answer.text
    assert current(api) == first


def test_a_retired_model(api: TestClient, tmp_path: Path) -> None:
    """It is listed, without its comparison; the account has both; it can't be promoted."""
    new, service = trained(api, tmp_path), opened(api)
    table = api.get(f"/v1/models/{new}", headers=ADA).json()["comparison_id"]
    account = api.get("/v1/account", headers=ADA).json()
    assert (account["num_models"], account["max_models"]) == (1, 10)
    assert account["models_bytes"] == api.get(f"/v1/models/{new}", headers=ADA).json()["size_bytes"]
    home, now = service.settings.home, time.time()
    retiring.retire(home, service.database, service.storage, now + 1, now)
    view = api.get(f"/v1/models/{new}", headers=ADA).json()
    assert (view["state"], view["comparison_id"], view["reason"]) == (
        "retired", None, "loses 3 points",
    )  # fmt: skip
    answer = promote(api, new)
    assert (answer.status_code, answer.json()["code"]) == (409, "retired")
    for path in (table, f"{table}/report", f"{table}/pareto.svg"):
        answer = api.get(f"/v1/comparisons/{path}", headers=ADA)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "retired" in answer.json()["detail"]
    account = api.get("/v1/account", headers=ADA).json()
    assert (account["num_models"], account["models_bytes"]) == (0, 0)
    assert {line["what"] for line in account["deletions"]} == {"models", "comparisons"}
    assert api.get("/v1/account", headers=BOB).json()["deletions"] == []


def test_retired_while_it_is_opened(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, service = trained(api, tmp_path), opened(api)
    prepare = service.models.prepare

    def too_late(id: str) -> None:
        now = time.time()
        retiring.retire(service.settings.home, service.database, service.storage, now + 1, now)
        prepare(id)

    monkeypatch.setattr(service.models, "prepare", too_late)
    answer = promote(api, new)
    assert (answer.status_code, answer.json()["code"]) == (409, "retired")
    assert current(api) != new


def test_no_map_by_a_retired_model(api: TestClient, encode: Callable[..., bytes]) -> None:
    """It still answers in this process, where the current one can't be opened."""
    service = opened(api)
    names = spool.put(service.storage, "0" * 32, [encode(support.photo())])
    job = Job("0" * 32, "ada", "explain", "Running", 1, 1.0, {"files": names})
    parts = (service.settings, service.database, service.storage, service.models)
    context = Context(*parts, logging.getLogger("test"), lambda progress: None)
    model_files.forget(service.settings.home, current(api), service.storage)
    with pytest.raises(BundleError):
        explain.run(job, context)
    with service.database.begin() as connection:
        connection.execute(update(models).values(state="retired"))
    with pytest.raises(JobFailed, match="no map") as caught:
        explain.run(job, context)
    assert caught.value.code == "retired"


def test_only_operators_promote(api: TestClient, tmp_path: Path) -> None:
    new = trained(api, tmp_path)
    answer = api.post(f"/v1/models/{new}/promote", headers=ADA)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_operator")
    made = api.post("/v1/trainings", headers=ADA, json={"dataset": "x", "promote": True})
    assert (made.status_code, made.json()["code"]) == (403, "not_operator")
    for terms in ({"max_drop": 0.6}, {"max_latency_ms": 1000}):
        made = api.post("/v1/trainings", headers=ADA, json={"dataset": "x", **terms})
        assert (made.status_code, made.json()["code"]) == (403, "not_operator")


def test_each_sees_its_own(api: TestClient, tmp_path: Path) -> None:
    first, new = current(api), trained(api, tmp_path)

    def seen(who: dict[str, str], what: str = "models") -> list[Any]:
        return list(api.get(f"/v1/{what}", headers=who).json()[what])

    assert {row["id"] for row in seen(ADA)} == {row["id"] for row in seen(OP)} == {first, new}
    assert [row["id"] for row in seen(BOB)] == [first]
    assert [len(seen(who, "comparisons")) for who in (ADA, BOB, OP)] == [2, 1, 2]
    assert api.get(f"/v1/models/{new}", headers=BOB).status_code == 404
    table = api.get(f"/v1/models/{new}", headers=ADA).json()["comparison_id"]
    for path in (table, f"{table}/report", f"{table}/pareto.svg"):
        assert api.get(f"/v1/comparisons/{path}", headers=ADA).status_code == 200
        assert api.get(f"/v1/comparisons/{path}", headers=BOB).status_code == 404
    promote(api, new)
    row = api.get(f"/v1/models/{new}", headers=BOB).json()
    assert (row["current"], row["reason"], row["scores"], row["comparison_id"]) == (
        True, None, None, None,
    )  # fmt: skip


def test_the_table_beside_the_bundle(api: TestClient) -> None:
    (listed,) = api.get("/v1/comparisons", headers=BOB).json()["comparisons"]
    assert (listed["name"], listed["num_rows"], listed["best"]) == ("fitted", 5, "int8-static")
    (model,) = api.get("/v1/models", headers=BOB).json()["models"]
    assert model["comparison_id"] == listed["id"]
    assert (model["state"], model["current"]) == ("given", True)
    answer = api.get(f"/v1/comparisons/{listed['id']}", headers=BOB).json()
    assert answer == json.loads(small().to_json())
    page = api.get(f"/v1/comparisons/{listed['id']}/report", headers=BOB)
    assert page.headers["content-type"].startswith("text/html")
    assert "int8-static" in page.text
    assert api.get("/v1/comparisons/none", headers=BOB).status_code == 404


def test_a_table_names_no_directory_of_the_machine(api: TestClient) -> None:
    """`shrink` notes where the bundles lie that it began with."""
    table, id = json.loads(small().to_json()), new_id()
    table["rows"][0]["path"] = "/home/somebody/work/0123/model"
    table["rows"][1] |= {"path": "variants/a", "reason": "can't open /home/somebody/x/model.onnx"}
    table["config"] = {"calibration": ["/home/somebody/photos"], "threads": 2}
    table["notes"] = ["see /home/somebody/x/log.txt"]
    row = {"id": id, "owner": "ada", "name": "mine", "created_at": 1.0, "table": table}
    with opened(api).database.begin() as connection:
        connection.execute(insert(comparisons).values(row))
    answer = api.get(f"/v1/comparisons/{id}", headers=ADA)
    assert "somebody" not in answer.text
    assert "somebody" not in api.get(f"/v1/comparisons/{id}/report", headers=ADA).text
    found = answer.json()
    assert [row["path"] for row in found["rows"][:2]] == ["model", "variants/a"]
    assert found["config"] == {"calibration": ["photos"], "threads": 2}


def test_names_that_mean_harm_stay_text(api: TestClient, tmp_path: Path) -> None:
    table = api.get(f"/v1/models/{trained(api, tmp_path)}", headers=ADA).json()["comparison_id"]
    page = api.get(f"/v1/comparisons/{table}/report", headers=ADA)
    assert "<script>alert(1)" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    picture = api.get(f"/v1/comparisons/{table}/pareto.svg", headers=ADA)
    assert picture.headers["content-type"] == "image/svg+xml"
    assert "<script" not in picture.text


@pytest.mark.parametrize("made", [small, nasty])
def test_a_comparison_is_read_back(made: Any) -> None:
    text = made().to_json()
    assert Comparison.from_dict(json.loads(text)).to_json() == text


def test_a_training_is_a_job(api: TestClient) -> None:
    with opened(api).database.begin() as connection:
        connection.execute(
            insert(metadata.tables["datasets"]).values(
                id=new_id(), owner="ada", name="알약", task="single_label", created_at=1.0,
                class_info={},
            )
        )  # fmt: skip
    asked = {"dataset": "알약", "epochs": 2, "max_drop": 0.25, "shrink": False}
    answer = api.post("/v1/trainings", headers=ADA, json=asked)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job_id']}"
    with opened(api).database.begin() as connection:
        job = connection.execute(select(jobs)).mappings().one()
    assert (job["kind"], job["state"], job["owner"]) == ("train", "Pending", "ada")
    assert {k: job["request"][k] for k in asked} == asked
    again = [
        api.post("/v1/trainings", headers={**ADA, "Idempotency-Key": "k"}, json=asked).json()
        for _ in range(2)
    ]
    assert again[0]["job_id"] == again[1]["job_id"]
    assert api.post("/v1/trainings", headers=BOB, json=asked).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"epochs": "many"}, {"lr": -1}, {"model": "../x"}, {"model": "a/b/c"},
        {"weights": "/etc/passwd"}, {"teacher": "x"}, {"max_drop": -1}, {"promote": "yes"},
        {"image_size": 10_000}, {"dataset": ""}, {"track": ["wandb"]}, {"lr": 1e999},
    ],
)  # fmt: skip
def test_settings_are_on_a_list(api: TestClient, wrong: dict[str, Any]) -> None:
    body = json.dumps({"dataset": "x"} | wrong)
    answer = api.post("/v1/trainings", headers=ADA, content=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"


def test_a_data_set_that_cannot_be(api: TestClient) -> None:
    for name in ("none", "a/b", "a\0b", "\ud800"):
        answer = api.post("/v1/trainings", headers=ADA, content=json.dumps({"dataset": name}))
        assert answer.status_code in (404, 422), name
    assert datasets.name_fault("a\0b")
    assert read_bundle(opened(api).models.directory(current(api)))
