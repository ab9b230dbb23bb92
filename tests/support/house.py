"""A service without processes, for tests of what is deleted when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, select, update

from pocketlens.core.dataset import bytes_hash
from pocketlens.service import blobs, clocks, datasets, jobs, maintenance, tables
from pocketlens.service.clocks import DAY
from pocketlens.service.database import open_database
from pocketlens.service.intake import take_in
from pocketlens.service.maintenance import Account, tend
from pocketlens.service.marks import Incoming, Mark
from pocketlens.service.settings import Settings
from pocketlens.service.storage import Storage, open_storage, owner_folder
from support.databases import database_url

_STEP = 20 * 3600.0
#: A moment, as the files of this test have it too.
_START = 1_800_000_000.0


@dataclass
class House:
    """A service without processes, whose clocks are the test's."""

    settings: Settings
    database: Engine
    storage: Storage
    encode: Callable[..., bytes]
    now: float = _START
    monotonic: float = 1000.0

    def tend(self, **changes: Any) -> Account:
        settings = Settings(**{**vars(self.settings), **changes})
        return tend(settings, self.database, self.storage, self.now, self.monotonic)

    def wait(self, seconds: float, **changes: Any) -> Account:
        """Time goes by, with maintenance now and then; what was deleted."""
        total = Account(trusted=True)
        until = self.now + seconds
        while self.now < until:
            step = min(_STEP, until - self.now)
            self.now += step
            self.monotonic += step
            done = self.tend(**changes)
            for name, value in vars(done).items():
                setattr(total, name, value if name == "trusted" else getattr(total, name) + value)
        return total

    def restart(self) -> None:
        """As if another process went on."""
        clocks._last.clear()
        maintenance._looked.clear()

    def upload(self, seed: int, label: str = "a", owner: str = "ann", name: str = "pills") -> str:
        rng = np.random.default_rng(seed)
        data = self.encode(rng.integers(0, 256, size=(20, 30, 3), dtype=np.uint8))
        taken = take_in(
            *(self.database, self.storage, owner, name),
            [Incoming("x", data, (Mark((label,)),))],
            task="single_label",
            max_pixels=10_000,
            quota_bytes=None,
            now=self.now,
        )
        assert taken.added + taken.duplicates == 1
        with self.database.connect() as connection:
            table = tables.samples.c
            mine = select(table.blob).where(table.identity == bytes_hash(data))
            return str(connection.scalars(mine).first())

    def answer(self, kind: str = "predict", state: str = "Done") -> str:
        with self.database.begin() as connection:
            job = jobs.record(connection, "ann", kind, {}, now=self.now, result={})
            row = update(tables.jobs).where(tables.jobs.c.id == job.id)
            connection.execute(row.values(state=state))
        self.private(f"results/{job.id}/map-0.png")
        self.private(f"spool/{job.id}/0")
        return job.id

    def private(self, name: str) -> None:
        self.storage.put_private(name, b"12345")
        if self.storage.is_local:
            os.utime(f"{self.storage.root}/private/{name}", (self.now, self.now))

    def ids(self) -> set[str]:
        with self.database.connect() as connection:
            return set(connection.scalars(select(tables.jobs.c.id)))

    def samples(self, owner: str = "ann", name: str = "pills") -> int:
        with self.database.connect() as connection:
            kept = datasets.find(connection, owner, name)
        return 0 if kept is None else kept.num_samples

    def files(self) -> set[str]:
        return {file.name for file in self.storage.list_photos()}

    def privates(self) -> set[str]:
        return {file.name for file in self.storage.list_private()}

    def lines(self) -> list[tuple[str, str, str, int]]:
        table = tables.deletions.c
        with self.database.connect() as connection:
            rows = connection.execute(select(table.owner, table.what, table.why, table.count))
            return sorted((row[0], row[1], row[2], row[3]) for row in rows)

    def agrees(self) -> None:
        """Files and rows tell the same, and so does the sum."""
        with self.database.connect() as connection:
            rows = connection.execute(select(tables.blobs)).all()
            found = {f"{owner_folder(row.owner)}/{row.name[:2]}/{row.name}" for row in rows}
            for owner in {row.owner for row in rows}:
                total = sum(row.size_bytes for row in rows if row.owner == owner)
                assert blobs.used_bytes(connection, owner)[1] == total
        assert found == self.files()


@contextmanager
def opened_house(kind: str, place: Path, encode: Callable[..., bytes]) -> Iterator[House]:
    """A house that has run for a day, so that its clock is believed."""
    with database_url(kind, place) as url:
        settings = Settings(bundle=None, home=place / "home", database=url)
        database = open_database(settings.database_url)
        tables.metadata.create_all(database)
        made = House(settings, database, open_storage(settings.storage_url), encode)
        assert not made.tend().trusted  # a clock that was never seen before
        assert not made.wait(DAY - 1).trusted
        assert made.wait(1).trusted
        yield made
        database.dispose()
