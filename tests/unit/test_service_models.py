"""Which model answers: registering, promoting by compare and swap, opening the new one in time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from pocketlens.core.errors import BundleError, UserError
from pocketlens.service import model_files
from pocketlens.service.database import open_database
from pocketlens.service.models import Models, add_model, register_given
from pocketlens.service.promotion import (
    ModelNotFoundError,
    Promotion,
    PromotionError,
    current_model,
    promote,
)
from pocketlens.service.settings import Settings
from pocketlens.service.tables import metadata, models, promotions
from support.databases import KINDS, FakeStorage, database_url, until
from support.fake import fake_imported

CLASSES = ("bars", "disc", "square")


class Place:
    """A service without processes: settings, database, storage and a first model."""

    def __init__(self, home: Path, url: str) -> None:
        self.settings = Settings(bundle=None, home=home, database=url)
        self.engine: Engine = open_database(self.settings.database_url)
        self.storage = FakeStorage()
        metadata.create_all(self.engine)

    def give(self, bundle: Path, now: float = 1.0) -> str:
        return register_given(self.engine, self.settings, bundle, storage=self.storage, now=now)

    def train(self, id: str, parent: str | None, state: str = "offered", bias: float = 1.0) -> str:
        made = fake_imported(self.settings.home / "work" / id, CLASSES, bias=bias)
        kept = model_files.keep(made, self.settings.home, id, self.storage)
        with self.engine.begin() as connection:
            add_model(
                connection, kept, id=id, owner="ann", state=state, now=2.0, parent_id=parent,
                reason="it was worse" if state == "rejected" else None,
            )  # fmt: skip
        return id

    def promote(self, id: str, expect: str | None = None) -> Promotion:
        with self.engine.begin() as connection:
            return promote(connection, id, "ann", now=3.0, expect=expect)

    @property
    def current(self) -> str | None:
        with self.engine.begin() as connection:
            found = current_model(connection)
        return None if found is None else found.model_id

    @property
    def changes(self) -> list[tuple[str, str | None]]:
        with self.engine.begin() as connection:
            rows = connection.execute(select(promotions.c.model_id, promotions.c.replaced_id))
            return [(row[0], row[1]) for row in rows]


@pytest.fixture(params=KINDS)
def place(request: Any, tmp_path: Path) -> Iterator[Place]:
    with database_url(request.param, tmp_path) as url:
        made = Place(tmp_path / "home", url)
        yield made
        made.engine.dispose()


@pytest.fixture
def first(place: Place, tmp_path: Path) -> str:
    return place.give(fake_imported(tmp_path / "first", CLASSES).path)


def test_a_given_bundle_is_copied_and_answers(place: Place, tmp_path: Path) -> None:
    original = fake_imported(tmp_path / "first", CLASSES)
    id = place.give(original.path)
    (original.path / "model.onnx").write_bytes(b"altered")
    assert place.current == id
    assert len(id) == 32
    with place.engine.begin() as connection:
        row = connection.execute(select(models)).mappings().one()
    assert (row["state"], row["bundle_id"]) == ("given", original.id)
    assert (row["about"]["runtime"], row["about"]["num_classes"]) == ("onnx", 3)
    assert (model_files.directory_of(place.settings.home, id) / "README.md").is_file()
    opened = Models(place.settings, place.engine, place.storage)
    model_id, engine = opened.predictor()
    assert model_id == id
    assert engine.predictor.classes == CLASSES
    opened.close()


def test_the_same_bundle_is_registered_once(place: Place, first: str, tmp_path: Path) -> None:
    place.promote(place.train("a" * 32, first))
    assert place.give(tmp_path / "first", now=9.0) == first
    assert place.current == "a" * 32, "a restart doesn't undo a promotion"
    assert len(place.changes) == 2


def test_another_bundle_becomes_current(
    place: Place, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = place.give(fake_imported(tmp_path / "second", CLASSES, bias=2.0).path, now=5.0)
    assert place.current == second != first
    assert f"in place of {first}" in capsys.readouterr().err
    assert place.give(tmp_path / "first", now=6.0) == first
    assert place.current == first, "the one that serve was given last"


def test_an_edited_class_info_is_another_model(place: Place, first: str, tmp_path: Path) -> None:
    file = tmp_path / "first" / "manifest.json"
    values = json.loads(file.read_text())
    values["class_info"] = {"bars": {"name": "Stripes"}}
    file.write_text(json.dumps(values))
    assert place.give(tmp_path / "first", now=5.0) == place.current != first


def test_no_bundle_registers_nothing(place: Place, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        place.give(tmp_path)
    assert place.current is None
    with pytest.raises(UserError, match="no model is registered"):
        Models(place.settings, place.engine, place.storage).predictor()


def test_promote_and_back(place: Place, first: str) -> None:
    new = place.train("a" * 32, first)
    assert place.promote(new, expect=first) == Promotion(new, first)
    assert place.promote(new) == Promotion(new, None), "twice changes nothing"
    assert place.promote(first) == Promotion(first, new)
    assert place.promote(new) == Promotion(new, first), "and forward again"
    assert place.changes.count((new, first)) == 2


@pytest.mark.parametrize(
    ("state", "parent", "expect", "code"),
    [
        ("rejected", "first", None, "not_offered"),
        ("retired", "first", None, "retired"),
        ("offered", "other", None, "stale_comparison"),
        ("offered", None, None, "stale_comparison"),
        ("offered", "first", "f" * 32, "changed_meanwhile"),
    ],
)
def test_what_may_not_take_the_place(
    place: Place, first: str, state: str, parent: str | None, expect: str | None, code: str
) -> None:
    new = place.train("a" * 32, first if parent == "first" else parent, state)
    with pytest.raises(PromotionError) as caught:
        place.promote(new, expect)
    assert caught.value.code == code
    assert place.current == first
    assert len(place.changes) == 1


def test_nobody_promotes_what_is_not_there(place: Place, first: str) -> None:
    with pytest.raises(ModelNotFoundError):
        place.promote("0" * 32)
    assert place.current == first


def test_of_two_threads_one_promotes(place: Place, first: str) -> None:
    """FAULTS 45, eight times over: both were compared with the same model."""
    base = first
    for i in range(8):
        pair = [place.train(f"{i}{k}".ljust(32, "0"), base) for k in range(2)]
        gate, ended = threading.Barrier(2), []

        def run(id: str, gate: threading.Barrier = gate, ended: list[str] = ended) -> None:
            gate.wait(10)
            try:
                place.promote(id)
                ended.append(id)
            except PromotionError as error:
                ended.append(error.code)

        threads = [threading.Thread(target=run, args=(id,)) for id in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(ended) == 2
        (won,) = set(ended) & set(pair)
        assert set(ended) - {won} <= {"stale_comparison", "changed_meanwhile"}
        assert place.current == won
        base = won
    assert len(place.changes) == 9


_PROMOTE = """
import sys
from pocketlens.service.database import open_database
from pocketlens.service.promotion import PromotionError, promote
engine = open_database(sys.argv[1])
with engine.begin() as connection:  # connected and warm before the start
    connection.exec_driver_sql("SELECT 1")
print("ready", flush=True)
sys.stdin.readline()
try:
    with engine.begin() as connection:
        promote(connection, sys.argv[2], "ann", now=3.0)
    print("promoted")
except PromotionError as error:
    print(error.code)
"""


def test_of_two_processes_one_promotes(place: Place, first: str) -> None:
    url = place.settings.database_url
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROMOTE, url, place.train(k * 32, first)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for k in "ab"
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=60)[0].strip() for process in started)
    assert said.count("promoted") == 1
    assert set(said) <= {"promoted", "stale_comparison", "changed_meanwhile"}
    assert len(place.changes) == 2


def test_the_new_model_is_opened_while_the_old_one_answers(place: Place, first: str) -> None:
    new = place.train("a" * 32, first)
    opening, may_open = threading.Event(), threading.Event()

    def slowly(path: Path) -> Any:
        if path.name == new:
            opening.set()
            assert may_open.wait(30)
        return path.name

    open_models = Models(
        place.settings, place.engine, place.storage, open=slowly, check_seconds=0.0
    )
    assert open_models.predictor() == (first, first)
    place.promote(new)
    until(lambda: open_models.predictor() and opening.is_set())
    assert [open_models.predictor() for _ in range(5)] == [(first, first)] * 5
    may_open.set()
    until(lambda: open_models.predictor() == (new, new))


def test_it_is_looked_only_now_and_then(place: Place, first: str) -> None:
    time = [0.0]
    open_models = Models(
        place.settings, place.engine, place.storage,
        open=lambda path: path.name, check_seconds=1.0, monotonic=lambda: time[0],
    )  # fmt: skip
    open_models.predictor()
    place.promote(place.train("a" * 32, first))
    time[0] = 0.9
    assert open_models.predictor()[0] == first
    time[0] = 1.1
    until(lambda: open_models.predictor()[0] == "a" * 32)
    place.promote(first)
    time[0] = 3_600.0  # after an idle time the first call waits for what is current by now
    assert open_models.predictor()[0] == first


def test_a_model_that_cannot_be_opened_leaves_the_old_one(place: Place, first: str) -> None:
    new = place.train("a" * 32, first)

    def opens(path: Path) -> Any:
        if path.name == new:
            raise BundleError("its runtime isn't here")
        return path.name

    open_models = Models(place.settings, place.engine, place.storage, open=opens, check_seconds=0)
    assert open_models.predictor()[0] == first
    place.promote(new)
    until(lambda: open_models.predictor() and open_models.problem == "its runtime isn't here")
    assert open_models.predictor()[0] == first
    place.promote(first)
    until(lambda: open_models.predictor() and open_models.problem is None)


def test_the_database_may_be_away(place: Place, first: str) -> None:
    open_models = Models(place.settings, place.engine, place.storage, check_seconds=0)
    open_models.refresh()
    metadata.drop_all(place.engine)
    for _ in range(20):
        assert open_models.predictor()[0] == first
    metadata.create_all(place.engine)


def test_a_prepared_model_is_not_opened_again(place: Place, first: str) -> None:
    opened: list[str] = []

    def opens(path: Path) -> Any:
        opened.append(path.name)
        return path.name

    open_models = Models(place.settings, place.engine, place.storage, open=opens)
    open_models.predictor()
    new = place.train("a" * 32, first)
    open_models.prepare(new)
    assert open_models.predictor()[0] == first
    place.promote(new)
    open_models.refresh()
    assert open_models.predictor()[0] == new
    assert opened == [first, new]


def test_another_machine_fetches_the_model(place: Place, first: str, tmp_path: Path) -> None:
    far = tmp_path / "far"
    bundle = model_files.fetch(far, first, place.storage)
    assert bundle.path == model_files.directory_of(far, first)
    assert bundle.card is not None
    model_files.forget(place.settings.home, first, place.storage)
    assert not place.storage.files
    with pytest.raises(BundleError, match="not in the storage"):
        model_files.fetch(tmp_path / "third", first, place.storage)


def test_what_was_altered_on_the_way_is_refused(place: Place, first: str, tmp_path: Path) -> None:
    packed = place.storage.files[model_files.packed_name(first)]
    at = packed.index(b"pooled")
    damaged = packed[:at] + b"POOLED" + packed[at + 6 :]
    place.storage.files[model_files.packed_name(first)] = damaged
    with pytest.raises(BundleError):
        model_files.fetch(tmp_path / "far", first, place.storage)
    assert not list((tmp_path / "far").rglob("*.onnx"))
