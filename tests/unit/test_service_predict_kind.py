"""Durable predictions: from spooled bytes to the same answer as at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlens.core.predictor import Prediction, Request
from pocketlens.service import answers, spool
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.database import open_database
from pocketlens.service.engine import EngineClosedError
from pocketlens.service.jobs import Job
from pocketlens.service.kinds import predict
from pocketlens.service.migrate import migrate
from pocketlens.service.models import Models, register_given
from pocketlens.service.settings import Settings
from pocketlens.service.storage import Storage, open_storage
from support.fake import fake_imported

CLASSES = ("bars", "disc", "square")


class Place:
    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings(None, tmp_path / "home", threads=1, workers=1)
        self.engine = open_database(self.settings.database_url)
        migrate(self.engine)
        self.storage: Storage = open_storage(self.settings.storage_url)
        self.models: Any = Models(self.settings, self.engine, self.storage)
        self.beats: list[Any] = []

    def give(self, bundle: Path) -> str:
        return register_given(
            self.engine, self.settings, bundle, storage=self.storage, now=time.time()
        )

    def run(self, images: list[bytes], **request: Any) -> Any:
        names = spool.put(self.storage, "a" * 32, images)
        job = Job("a" * 32, "ann", "predict", "Running", 1, 0.0, {"files": names, **request})
        return predict.run(job, self.context())

    def context(self) -> Context:
        log = logging.getLogger("test")
        parts = (self.settings, self.engine, self.storage, self.models, log)
        return Context(*parts, self.beats.append)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.models.close()
    made.engine.dispose()


@pytest.fixture
def model_id(place: Place, tmp_path: Path) -> str:
    return place.give(fake_imported(tmp_path / "given", CLASSES).path)


@pytest.fixture
def photo(encode: Callable[..., bytes]) -> bytes:
    return encode(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))


def test_the_answer_is_the_one_given_at_once(place: Place, model_id: str, photo: bytes) -> None:
    boxes = [None, [[0, 0, 10, 10], [5, 5, 9, 9]]]
    found = place.run([photo, photo], boxes=boxes, top_k=2)
    wanted = answers.asked([photo, photo], boxes)
    id, engine = place.models.predictor()
    at_once = engine.answer_now([Request(one.data, one.box) for one in wanted])
    manifest = engine.predictor.manifest
    assert found == answers.result(manifest, id, wanted, at_once, top_k=2)
    assert found["model_id"] == model_id
    assert [len(one["top"]) for one in found["predictions"]] == [2, 2, 2]


def test_a_large_request_tells_how_far_it_is(place: Place, model_id: str, photo: bytes) -> None:
    found = place.run([photo] * 70)
    assert len(found["predictions"]) == 70
    assert place.beats == [{"done": 32, "of": 70}, {"done": 64, "of": 70}]


def test_where_no_image_can_be_used(place: Place, model_id: str, photo: bytes) -> None:
    with pytest.raises(JobFailed) as raised:
        place.run([b"", b"text"])
    assert raised.value.code == "no_usable_image"
    found = place.run([b"", photo])["predictions"]
    assert [one["code"] for one in found] == ["empty_image", None]


def test_where_the_photos_are_gone(place: Place, model_id: str, photo: bytes) -> None:
    spool.drop(place.storage, "b" * 32)
    job = Job("b" * 32, "ann", "predict", "Running", 1, 0.0, {"files": [f"spool/{'b' * 32}/0"]})
    with pytest.raises(JobFailed) as raised:
        predict.run(job, place.context())
    assert raised.value.code == "request_gone"


def test_where_no_model_is_there(place: Place, photo: bytes) -> None:
    with pytest.raises(JobFailed) as raised:
        place.run([photo])
    assert raised.value.code == "no_model"
    assert str(place.settings.home) not in raised.value.reason


def test_where_the_model_changes_meanwhile(place: Place, model_id: str, photo: bytes) -> None:
    """All images of a request are answered by one model."""
    id, engine = place.models.predictor()

    class Replaced:
        predictor = engine.predictor
        calls = 0

        def answer_now(self, requests: list[Request]) -> list[Prediction]:
            Replaced.calls += 1
            if Replaced.calls == 2:
                raise EngineClosedError("replaced")
            found: list[Prediction] = engine.answer_now(requests)
            return found

    class Changing:
        def predictor(self) -> Any:
            return id, Replaced()

        def close(self) -> None:
            engine.close()

    place.models = Changing()
    found = place.run([photo] * 40)
    assert len(found["predictions"]) == 40
    assert Replaced.calls == 4
