"""Models of a service without processes, for tests of which are retired when."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from pocketlens.service import model_files
from pocketlens.service.models import add_model, register_given
from pocketlens.service.promotion import Promotion, current_model, promote
from pocketlens.service.tables import comparisons, jobs, models, new_id
from support.fake import fake_imported
from support.house import House

CLASSES = ("bars", "disc", "square")
TABLE = {"schema": 1, "rows": []}


@dataclass
class Gallery:
    """`place` holds the bundles that come in; ids of models in the order they were made."""

    house: House
    place: Path
    made: list[str] = field(default_factory=list)

    def bundle(self, name: str) -> Path:
        bias = float(sum(map(ord, name)))  # another name, another bundle
        return fake_imported(self.place / name, CLASSES, bias=bias).path

    def give(self, bundle: Path) -> str:
        """As `serve BUNDLE` does at its start."""
        house = self.house
        return register_given(
            house.database, house.settings, bundle, storage=house.storage, now=house.now
        )

    def train(
        self, state: str = "offered", owner: str = "ann", *, parent: str | None = "", **job: Any
    ) -> str:
        """A model and its comparison, as a training leaves them; compared with the current one."""
        house, id = self.house, new_id()
        made = fake_imported(self.place / id, CLASSES, bias=float(len(self.made) + 1))
        compared_with = self.current if parent == "" else parent
        if state == "offered":
            model_files.keep(made, house.settings.home, id, house.storage)
        with house.database.begin() as connection:
            table = {"id": new_id(), "owner": owner, "name": "mine", "created_at": house.now}
            connection.execute(insert(comparisons).values(**table, table=TABLE))
            add_model(
                connection, made, id=id, owner=owner, state=state, now=house.now,
                parent_id=compared_with, comparison_id=table["id"],
            )  # fmt: skip
        self.made.append(id)
        return id

    def promote(self, id: str) -> Promotion:
        with self.house.database.begin() as connection:
            return promote(connection, id, "ann", now=self.house.now)

    def change(self) -> str:
        """Train a model and let it answer."""
        id = self.train()
        self.promote(id)
        return id

    def job(self, state: str, kind: str = "train") -> str:
        """A job in this state, begun now."""
        id = self.house.answer(kind, state)
        values = {"started_at": self.house.now, "created_at": self.house.now}
        with self.house.database.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == id).values(values))
        return id

    @property
    def current(self) -> str | None:
        with self.house.database.begin() as connection:
            found = current_model(connection)
        return None if found is None else found.model_id

    def states(self) -> dict[str, str]:
        with self.house.database.begin() as connection:
            found = connection.execute(select(models.c.id, models.c.state))
            return {row.id: row.state for row in found}

    def retired(self) -> set[str]:
        return {id for id, state in self.states().items() if state == "retired"}

    def tables(self) -> set[str]:
        """Models that have a comparison; a comparison without a model by its own id."""
        with self.house.database.begin() as connection:
            of = {
                row.comparison_id: row.id
                for row in connection.execute(select(models.c.id, models.c.comparison_id))
            }
            return {of.get(id, id) for id in connection.scalars(select(comparisons.c.id))}

    def here(self, home: Path | None = None) -> set[str]:
        """Models with files on a machine; halves by their name."""
        return {path.name for path in ((home or self.house.settings.home) / "models").glob("*")}

    def packed(self) -> set[str]:
        """Models with a packed copy in the storage."""
        found = self.house.storage.list_private("models")
        return {file.name.removesuffix(".zip") for file in found}
