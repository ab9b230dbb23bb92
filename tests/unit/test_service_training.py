"""Retraining: from uploads to a model that answers, and back; stopped, lost, deleted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pocketlens.service import jobs, training
from pocketlens.service.context import Cancelled, JobFailed
from pocketlens.service.kinds import train
from pocketlens.service.promotion import PromotionError, current_model, promote
from pocketlens.service.tables import comparisons, models
from support import fake_training
from support.databases import KINDS, database_url, until
from support.fake import colour_bundle
from support.trainings import TINY, Shop


@pytest.fixture(scope="module")
def photos(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that 10 at least are new test photos."""
    return make_photos(tmp_path_factory.mktemp("photos"), per_class=26)


@pytest.fixture
def shop(photos: Path, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "home", photos, f"sqlite:///{tmp_path / 'db'}")
    yield made
    made.close()


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No torch, no training: see `support/fake_training.py`."""
    monkeypatch.setattr(training, "COMMAND", (sys.executable, str(fake_training.__file__)))


def rows(shop: Shop) -> list[Any]:
    with shop.engine.begin() as connection:
        return list(connection.execute(select(models).where(models.c.id != shop.first)).mappings())


def left(shop: Shop) -> list[str]:
    """What lies in the service's home that belongs to no given model."""
    home = shop.settings.home
    found = [*(home / "work").glob("*"), *(home / "models").glob("*")]
    return [path.name for path in found if path.name != shop.first]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def pids(shop: Shop) -> list[int]:
    return next((list(told["pids"]) for told in shop.told if "pids" in told), [])


def test_data_that_lacks_a_class_is_refused_before_training(photos: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "home", photos, f"sqlite:///{tmp_path / 'db'}", classes=MORE_CLASSES)
    job = shop.claim(shop.submit())
    with pytest.raises(JobFailed) as caught:
        train.run(job, shop.context(job))
    assert caught.value.code == "classes_missing"
    assert "ring" in caught.value.reason
    assert [told["step"] for told in shop.told] == ["reading"]
    shop.close()


MORE_CLASSES = ("bars", "disc", "ring", "square")
_WORKER = """
import sys
from pathlib import Path
from support.trainings import Shop
from support import fake_training
from pocketlens.service import training
training.COMMAND = (sys.executable, fake_training.__file__)
Shop.run_elsewhere(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
"""


def start_worker(shop: Shop, held: jobs.Job) -> subprocess.Popen[bytes]:
    """A process that runs a job, with the fake training, which is claimed for it."""
    url = shop.settings.database_url
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(shop.settings.home), url, held.id],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )


def test_a_killed_worker_takes_its_training_with_it(shop: Shop, faked: None) -> None:
    """FAULTS 36: it dies though nobody could stop it, and the next one goes on where it was."""
    job = shop.submit(model="wait")
    held = shop.claim(job)
    worker = start_worker(shop, held)

    def told() -> list[int]:
        with shop.engine.begin() as connection:
            found = jobs.get(connection, "ann", job.id)
        return list(((found and found.progress) or {}).get("pids", []))

    try:
        until(lambda: told() or worker.poll() is not None, 60)
        children = told()
    finally:
        worker.kill()
        worker.communicate()
    assert len(children) == 2
    until(lambda: not any(alive(pid) for pid in children))
    photos = shop.settings.home / "work" / job.id / "data"
    before = {file: file.stat().st_mtime_ns for file in photos.rglob("*.*")}
    spec = shop.settings.home / "work" / job.id / "spec.json"
    made = colour_bundle(shop.settings.home / "made")
    spec.write_text(spec.read_text().replace('"model": "wait"', f'"model": "{made.path}"'))

    second = shop.claim(job, later=1000)
    kept: dict[Path, int] = {}
    context = shop.context(second)

    def beat(progress: Any) -> None:
        context.beat(progress)
        kept.update({f: f.stat().st_mtime_ns for f in photos.rglob("*.*")})

    result = train.run(second, type(context)(**{**vars(context), "beat": beat}))
    assert kept == before, "the photos were not fetched again"
    assert [row["id"] for row in rows(shop)] == [result["model_id"]]


def test_cancelled_in_the_middle(shop: Shop, faked: None) -> None:
    job = shop.claim(shop.submit(model="wait"))
    ended: list[BaseException] = []

    def work() -> None:
        try:
            train.run(job, shop.context(job))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: pids(shop))
    with shop.engine.begin() as connection:
        jobs.cancel(connection, "ann", job.id, now=time.time())
    thread.join(30)
    assert isinstance(ended[0], Cancelled)
    assert not any(alive(pid) for pid in pids(shop))
    assert left(shop) == []
    assert rows(shop) == []


def test_a_worker_that_stops_leaves_the_work_for_the_next(shop: Shop, faked: None) -> None:
    """Handed back, not cancelled."""
    job = shop.claim(shop.submit(model="wait"))
    context = shop.context(job)

    def beat(progress: Any) -> None:
        context.beat(progress)
        if pids(shop):
            with shop.engine.begin() as connection:
                jobs.release(connection, job, now=time.time())
            raise Cancelled

    with pytest.raises(Cancelled):
        train.run(job, type(context)(**{**vars(context), "beat": beat}))
    assert not any(alive(pid) for pid in pids(shop))
    assert left(shop) == [job.id]


@pytest.mark.parametrize("kind", KINDS)
def test_deleted_while_it_trains(photos: Path, tmp_path: Path, faked: None, kind: str) -> None:
    """FAULTS 40: whichever moment the job is deleted at, no model appears."""
    with database_url(kind, tmp_path) as url:
        shop = Shop(tmp_path / "home", photos, url)
        made = colour_bundle(tmp_path / "made")
        job = shop.claim(shop.submit(model=str(made.path)))
        context = shop.context(job)

        def beat(progress: Any) -> None:  # the last sign of life comes before the deletion
            if progress is not None:
                shop.told.append(progress)
            if pids(shop):
                with shop.engine.begin() as connection:
                    jobs.remove(connection, "ann", job.id)

        with pytest.raises(Cancelled):
            train.run(job, type(context)(**{**vars(context), "beat": beat}))
        assert rows(shop) == []
        assert left(shop) == []
        with shop.engine.begin() as connection:
            assert connection.execute(select(comparisons)).all() == []
        shop.close()


def test_the_worker_is_lost_between_the_model_and_the_end(shop: Shop, faked: None) -> None:
    """FAULTS 37: the job is taken up again, and there is one model with one result."""
    made = colour_bundle(shop.settings.home / "made")
    job = shop.submit(model=str(made.path), promote=True)
    first = shop.claim(job)
    result = train.run(first, shop.context(first))
    assert result["promoted"]
    second = shop.claim(job, later=1000)
    assert train.run(second, shop.context(second)) == result
    assert len(rows(shop)) == 1
    assert shop.models.predictor()[0] in (shop.first, result["model_id"])


def test_of_two_that_finish_together_one_is_promoted(shop: Shop, faked: None) -> None:
    """FAULTS 45."""
    made = [colour_bundle(shop.settings.home / name).path for name in "ab"]
    held = [shop.claim(shop.submit(model=str(path), promote=True)) for path in made]
    gate = threading.Barrier(2)
    run_process = training.run_process
    results: list[dict[str, Any]] = []

    def together(*args: Any, **options: Any) -> dict[str, Any]:
        found = run_process(*args, **options)
        gate.wait(30)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run_process", together)
        threads = [
            threading.Thread(target=lambda j=job: results.append(train.run(j, shop.context(j))))
            for job in held
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(found["promoted"] for found in results) == [False, True]
    loser = next(found for found in results if not found["promoted"])
    assert loser["not_promoted"]["code"] in ("stale_comparison", "changed_meanwhile")
    assert [row["state"] for row in rows(shop)] == ["offered", "offered"]
    with shop.engine.begin() as connection:
        now = current_model(connection)
    assert now is not None
    assert now.version == 2


def test_a_rejected_one_is_told_of_and_not_kept(shop: Shop, faked: None) -> None:
    made = colour_bundle(shop.settings.home / "made")
    job = shop.claim(shop.submit(model=f"reject:{made.path}", promote=True))
    result = train.run(job, shop.context(job))
    assert (result["state"], result["promoted"]) == ("rejected", False)
    (row,) = rows(shop)
    assert (row["state"], row["reason"], row["about"]["num_classes"]) == ("rejected", "good", 3)
    reasons = [{"code": "more_classes", "values": {"num": 1}}]
    assert row["about"]["reasons"] == result["reasons"] == reasons
    assert train.run(job, shop.context(job)) == result | {"promoted": False}
    assert left(shop) == []
    with shop.engine.begin() as connection, pytest.raises(PromotionError, match="good"):
        promote(connection, row["id"], "ann", now=time.time())


def test_what_the_user_can_mend_names_no_path(shop: Shop, faked: None) -> None:
    job = shop.claim(shop.submit(model="fail"))
    with pytest.raises(JobFailed) as caught:
        train.run(job, shop.context(job))
    assert (caught.value.code, caught.value.reason) == (
        "data_not_ready",
        "photos/x.jpg can't be read",
    )
    assert left(shop) == []


def test_a_fault_of_ours_is_for_the_log(shop: Shop, faked: None) -> None:
    job = shop.claim(shop.submit(model="die"))
    with pytest.raises(training.ProcessDiedError, match="a fault in"):
        train.run(job, shop.context(job))
    assert not any(alive(pid) for pid in pids(shop))
    assert left(shop) == []


@pytest.mark.parametrize(
    ("request_", "code"), [({"dataset": "none"}, "dataset_not_found"), ({}, "training_unavailable")]
)
def test_what_cannot_begin(
    shop: Shop, faked: None, monkeypatch: pytest.MonkeyPatch, request_: Any, code: str
) -> None:
    if code == "training_unavailable":
        monkeypatch.setattr("pocketlens.service.training.installed", lambda _extra: False)
    job = shop.claim(shop.submit(**request_))
    with pytest.raises(JobFailed) as caught:
        train.run(job, shop.context(job))
    assert caught.value.code == code
    assert "/" not in caught.value.reason


def test_settings_are_those_of_the_current_model(tmp_path: Path) -> None:
    before = {**TINY, "teacher": "/home/ann/teacher", "freeze_epochs": 0, "image_size": 48}
    bundle = colour_bundle(tmp_path / "a", config=before)
    found = training.settings_for(bundle, {"epochs": 3, "seed": 7, "lr": None})
    assert (found["model"], found["epochs"], found["seed"]) == ("test_byobnet", 3, 7)
    assert (found["lr"], found["image_size"], found["weights"]) == (3e-3, 48, "none")
    assert "teacher" not in found
    other = training.settings_for(bundle, {"model": "resnet18"})
    assert "image_size" not in other, "each network has its own"
    frozen = colour_bundle(tmp_path / "b", config=before | {"freeze_epochs": 5, "epochs": 9})
    assert training.settings_for(frozen, {"epochs": 2})["freeze_epochs"] == 1
    assert training.settings_for(colour_bundle(tmp_path / "c"), {})["image_size"] == 32


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/a/jobs/x/model: no", "model: no"),
        ("can't read /home/ann/photos/1.jpg; look", "can't read 1.jpg; look"),
        (r"C:\Users\ann\x.jpg is gone", "x.jpg is gone"),
        ("loss 1/2 of https://example.org/a/b", "loss 1/2 of https://example.org/a/b"),
    ],
)
def test_paths_are_taken_out(text: str, shown: str) -> None:
    assert training.without_paths(text, Path("/a/jobs/x")) == shown
