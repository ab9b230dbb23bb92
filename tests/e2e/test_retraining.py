"""Retraining for real: uploads, a killed worker, the gate, a promotion, and back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from pocketlens.core.bundle import read_bundle
from pocketlens.core.comparison import Comparison
from pocketlens.core.dataset import photo_of
from pocketlens.core.predictor import Request
from pocketlens.reports import html
from pocketlens.service import jobs
from pocketlens.service.kinds import train
from pocketlens.service.promotion import promote
from pocketlens.service.tables import comparisons, models
from support.databases import until
from support.trainings import Shop

CLASSES = ("bars", "disc", "square")


@pytest.fixture(scope="module")
def photos(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that 10 at least are new test photos."""
    return make_photos(tmp_path_factory.mktemp("photos"), per_class=26)


@pytest.fixture
def shop(photos: Path, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "home", photos, f"sqlite:///{tmp_path / 'db'}")
    yield made
    made.close()


def test_offered_promoted_and_rolled_back(shop: Shop, photos: Path) -> None:
    job = shop.claim(shop.submit())
    result = train.run(job, shop.context(job))
    with shop.engine.begin() as connection:
        assert jobs.complete(connection, job, result, now=time.time())
        row = connection.execute(select(models).where(models.c.id != shop.first)).mappings().one()
        table = connection.execute(select(comparisons.c.table)).scalar_one()
    assert (result["state"], result["promoted"]) == ("offered", False), result
    steps = list(dict.fromkeys(told["step"] for told in shop.told))
    assert steps == ["reading", "training", "finishing", "comparing"]
    assert (row["id"], row["state"]) == (result["model_id"], "offered")
    assert row["parent_id"] == shop.first
    assert [found["name"] for found in table["rows"]] == ["current", "new"]
    assert table["data"]["name"] == "shapes"

    split = read_bundle(shop.models.directory(row["id"])).split
    assert set(shop.split.test) <= set(split.test), "old test photos stay test photos"
    assert set(shop.split.train) <= set(split.train)
    assert {photo_of(key) for key in (*split.train, *split.val, *split.test)} == shop.uploaded

    assert shop.models.predictor()[0] == shop.first
    for id in (row["id"], shop.first):
        with shop.engine.begin() as connection:
            promote(connection, id, "ann", now=time.time())
        shop.models.refresh()
        model_id, engine = shop.models.predictor()
        assert model_id == id
        (answer,) = engine.answer_now([Request((photos / "disc" / "000.jpg").read_bytes())])
        assert answer.label in CLASSES


_WORKER = """
import sys
from pathlib import Path
from support.trainings import Shop
Shop.run_elsewhere(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
"""


@pytest.mark.slow
def test_a_killed_worker_s_training_is_gone_on_with(shop: Shop) -> None:
    """`tests/unit/test_service_training.py` has it without torch."""
    job = shop.submit(epochs=2)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    home, url = shop.settings.home, shop.settings.database_url
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(home), url, shop.claim(job).id],
        env={**os.environ, "PYTHONPATH": path},
    )
    work = home / "work" / job.id
    try:
        until(lambda: (work / "model.run" / "history.csv").exists() or worker.poll(), 120)
        assert worker.poll() is None
        pid = int((work / "pid").read_text())
    finally:
        worker.kill()
        worker.wait()
    until(lambda: not Path(f"/proc/{pid}").exists())
    held = shop.claim(job, later=1000)
    result = train.run(held, shop.context(held))
    assert result["state"] == "offered", result
    assert "reading" not in [told["step"] for told in shop.told]
    with shop.engine.begin() as connection:
        ids = connection.scalars(select(models.c.id).where(models.c.id != shop.first)).all()
    assert ids == [result["model_id"]]


@pytest.mark.slow
def test_shrunk_and_compared(shop: Shop) -> None:
    """The search on photos that were made anew; its table has the current model's row."""
    job = shop.claim(shop.submit(shrink=True))
    result = train.run(job, shop.context(job))
    assert result["state"] == "offered", result
    assert "shrinking" in [told["step"] for told in shop.told]
    with shop.engine.begin() as connection:
        table = connection.execute(select(comparisons.c.table)).scalar_one()
    names = [found["name"] for found in table["rows"]]
    assert names[-1] == "current"
    assert len(names) > 2
    assert table["data"]["num_test"] == len(
        read_bundle(shop.models.directory(result["model_id"])).split.test
    )
    assert "the best of this table was judged" in table["notes"][-1]
    assert html.render(Comparison.from_dict(table))
