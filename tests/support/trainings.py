"""A service without processes that has uploads and a model, and runs its trainings itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pocketlens.core.dataset import bytes_hash
from pocketlens.core.split import Split, make_split
from pocketlens.service import jobs
from pocketlens.service.context import Cancelled, Context
from pocketlens.service.database import open_database
from pocketlens.service.intake import take_in
from pocketlens.service.jobs import Job
from pocketlens.service.kinds import train
from pocketlens.service.marks import Incoming, Mark
from pocketlens.service.models import Models, register_given
from pocketlens.service.settings import Settings
from pocketlens.service.storage import open_storage
from pocketlens.service.tables import metadata
from pocketlens.workflows.data import as_hashed
from support.databases import FakeStorage
from support.fake import COLOURS, colour_bundle

__all__ = ["TINY", "FakeStorage", "Shop"]

#: Settings of a training that takes a second.
TINY: Mapping[str, Any] = {
    "model": "test_byobnet", "weights": "none", "epochs": 1, "image_size": 32, "batch_size": 8,
    "lr": 3e-3,
}  # fmt: skip


class Shop:
    """`photos` are uploaded as data set `shapes` of the user `ann`."""

    def __init__(self, home: Path, photos: Path, url: str, **bundle: Any) -> None:
        self.settings = Settings(bundle=None, home=home, database=url)
        self.engine = open_database(self.settings.database_url)
        metadata.create_all(self.engine)
        self.storage = open_storage(self.settings.storage_url)
        files = sorted(photos.rglob("*.*"))
        sent = [
            Incoming(file.name, file.read_bytes(), (Mark((file.parent.name,)),)) for file in files
        ]
        found = take_in(
            self.engine, self.storage, "ann", "shapes", sent,
            task="single_label", max_pixels=10**6, quota_bytes=None, now=1.0,
        )  # fmt: skip
        assert found.added == len(files)
        self.uploaded = {bytes_hash(one.data) for one in sent}
        hashed = as_hashed(photos)
        #: Of the model that answers at first: of half of the photos.
        half = range(0, len(hashed.identities), 2)
        self.split: Split = make_split(
            [hashed.dataset.samples[i] for i in half], [hashed.identities[i] for i in half]
        )
        given = {"classes": tuple(COLOURS), "split": self.split, "config": TINY} | bundle
        self.first = register_given(
            self.engine,
            self.settings,
            colour_bundle(home / "given", **given).path,
            storage=self.storage,
            now=1.0,
        )
        self.models = Models(self.settings, self.engine, self.storage, check_seconds=0)
        self.told: list[Mapping[str, Any]] = []

    @staticmethod
    def run_elsewhere(home: Path, url: str, id: str) -> None:
        """In another process: run a job that this one has claimed for it."""
        shop = Shop.__new__(Shop)
        shop.settings = Settings(bundle=None, home=home, database=url)
        shop.engine = open_database(url)
        shop.storage = open_storage(shop.settings.storage_url)
        shop.models = Models(shop.settings, shop.engine, shop.storage)
        shop.told = []
        with shop.engine.begin() as connection:
            job = jobs.get(connection, "ann", id)
        assert job is not None
        train.run(job, shop.context(job))

    def submit(self, **request: Any) -> Job:
        """A training as `POST /v1/trainings` writes it."""
        values = {
            "dataset": "shapes", "shrink": False, "max_drop": 100, "max_latency_ms": 10_000.0,
        }  # fmt: skip
        with self.engine.begin() as connection:
            return jobs.submit(connection, "ann", "train", values | request, now=time.time())[0]

    def claim(self, job: Job, *, later: float = 0.0) -> Job:
        """Take the job up as a worker does, `later` seconds from now."""
        with self.engine.begin() as connection:
            found = jobs.claim(
                connection,
                job.id,
                "w",
                now=time.time() + later,
                lease_seconds=60,
                max_attempts=3,
            )
        assert found is not None
        return found

    def context(self, job: Job) -> Context:
        """What a worker hands to the kind; each beat is written at once."""

        def beat(progress: Mapping[str, Any] | None) -> None:
            if progress is not None:
                self.told.append(progress)
            with self.engine.begin() as connection:
                if not jobs.heartbeat(
                    connection, job, now=time.time(), lease_seconds=60, progress=progress
                ):
                    raise Cancelled

        log = logging.getLogger("test")
        return Context(self.settings, self.engine, self.storage, self.models, log, beat)

    def close(self) -> None:
        self.models.close()
        self.engine.dispose()
