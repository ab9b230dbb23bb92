"""Retraining whose attempts overlap, or whose storage goes away: nothing that was made is lost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pocketlens.service import model_files, training
from pocketlens.service.context import Cancelled
from pocketlens.service.kinds import train
from pocketlens.service.storage import StorageUnavailableError
from pocketlens.service.tables import models
from support import fake_training
from support.fake import colour_bundle
from support.trainings import Shop


@pytest.fixture
def shop(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setattr(training, "COMMAND", (sys.executable, str(fake_training.__file__)))
    photos = make_photos(tmp_path / "photos", per_class=4)
    made = Shop(tmp_path / "home", photos, f"sqlite:///{tmp_path / 'db'}")
    yield made
    made.close()


@pytest.mark.parametrize("late", ["before its files", "before its row"])
def test_an_attempt_that_comes_late_leaves_the_registered_model(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """A machine that slept finishes after another attempt has: that one's model stays whole."""
    made = colour_bundle(shop.settings.home / "made")
    job = shop.submit(model=str(made.path), promote=True)
    first = shop.claim(job)
    owner, name = (training, "run_process") if late == "before its files" else (model_files, "keep")
    real = getattr(owner, name)
    results: list[dict[str, Any]] = []

    def slept(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        monkeypatch.setattr(owner, name, real)
        second = shop.claim(job, later=1000)
        results.append(train.run(second, shop.context(second)))
        return found

    monkeypatch.setattr(owner, name, slept)
    with pytest.raises(Cancelled):
        train.run(first, shop.context(first))
    [result] = results
    assert result["promoted"]
    packed = shop.storage.get_private(model_files.packed_name(result["model_id"]))
    assert packed
    assert shop.models.directory(result["model_id"]).is_dir()
    with shop.engine.begin() as connection:
        assert len(connection.execute(select(models)).all()) == 2


def test_a_storage_that_is_away_costs_no_training(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = colour_bundle(shop.settings.home / "made")
    job = shop.submit(model=str(made.path))
    first = shop.claim(job)

    def away(*_: Any) -> None:
        raise StorageUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(model_files, "keep", away)
        with pytest.raises(StorageUnavailableError):
            train.run(first, shop.context(first))
    work = shop.settings.home / "work" / job.id
    assert (work / "spec.json").is_file(), "checkpoints and photos are there for the next attempt"
    second = shop.claim(job, later=1000)
    assert train.run(second, shop.context(second))["state"] == "offered"
    assert not work.exists()
