"""What all requests share, opened once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine as Database

from pocketlens.service import retiring
from pocketlens.service.api.metrics import Metrics
from pocketlens.service.models import Models, register_given
from pocketlens.service.queue import Queue, open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.storage import Storage, open_storage
from pocketlens.service.worker_process import open_migrated


@dataclass
class Service:
    """An opened service.

    Attributes:
        database: the truth about jobs, data sets and models.
        queue: carries ids of jobs to workers.
        storage: photos, and the private files of jobs.
        models: the one that answers, and those that could.
        stopping: set when the server ends; who waits for a job is then answered with it.
    """

    settings: Settings
    database: Database
    queue: Queue
    storage: Storage
    models: Models
    metrics: Metrics
    stopping: threading.Event = field(default_factory=threading.Event)


@contextmanager
def open_service(settings: Settings, metrics: Metrics) -> Iterator[Service]:
    """Bring the database up to date, open all parts and the model, and close them at the end.

    Raises:
        UserError: a part can't be opened; the message says which and why.
    """
    database = open_migrated(settings)
    try:
        storage = open_storage(settings.storage_url)
        if settings.bundle is not None:
            register_given(database, settings, settings.bundle, storage=storage, now=time.time())
        # Of what lies on this machine; no worker needs to run here, which would do so each hour.
        retiring.lost_models(settings.home, database, None, None)
        models = Models(settings, database, storage)
        models.predictor()  # the first request must not wait for the model
        queue = open_queue(settings)
        try:
            yield Service(settings, database, queue, storage, models, metrics)
        finally:
            queue.close()
            models.close()
    finally:
        database.dispose()
