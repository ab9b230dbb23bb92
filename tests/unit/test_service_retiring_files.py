"""Files of retired models: who opens them at that moment, and what a kill or a machine leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlens.core.errors import BundleError
from pocketlens.core.predictor import Request
from pocketlens.service import model_files, retiring
from pocketlens.service.clocks import DAY
from pocketlens.service.models import Models
from pocketlens.service.promotion import PromotionError, promote
from pocketlens.service.storage import Storage, StorageUnavailableError, open_storage
from support.databases import KINDS, until
from support.gallery import CLASSES, Gallery
from support.house import opened_house
from support.places import PLACES, place_url


@pytest.fixture(params=KINDS)
def gallery(request: Any, tmp_path: Path, encode: Callable[..., bytes]) -> Iterator[Gallery]:
    with opened_house(request.param, tmp_path, encode) as house:
        yield Gallery(house, tmp_path / "bundles")


@pytest.fixture
def old(gallery: Gallery) -> str:
    """A model that answered long ago: it may come back, and it may be retired."""
    gallery.give(gallery.bundle("first"))
    id = gallery.change()
    gallery.change()
    gallery.change()
    gallery.house.now += 40 * DAY
    return id


def retire(gallery: Gallery) -> tuple[int, int]:
    house = gallery.house
    home, before = house.settings.home, house.now - 30 * DAY
    return retiring.retire(home, house.database, house.storage, before, house.now)


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that has begun, and what came of it."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(work())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_promoted_while_it_is_to_be_retired(gallery: Gallery, old: str) -> None:
    """The promotion isn't committed yet: who retires waits for it, and lets the model be."""
    house = gallery.house
    with house.database.begin() as connection:
        promote(connection, old, "ann", now=house.now)
        thread, ended = in_thread(lambda: retire(gallery))
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(20)
    assert gallery.current == old
    assert old in gallery.here() & gallery.packed()
    assert gallery.retired() == {gallery.made[1]}, "no longer the way back"
    assert ended == [(1, 1)]


def test_retired_while_it_is_to_be_promoted(
    gallery: Gallery, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row isn't committed yet: who promotes waits for it, and is refused."""
    changed, may_end = threading.Event(), threading.Event()
    retire_rows = retiring._retire_rows

    def slowly(*values: Any) -> Any:
        done = retire_rows(*values)
        changed.set()
        assert may_end.wait(20)
        return done

    monkeypatch.setattr(retiring, "_retire_rows", slowly)
    current = gallery.current
    retirer, _ = in_thread(lambda: retire(gallery))
    assert changed.wait(20)
    promoter, ended = in_thread(lambda: gallery.promote(old))
    promoter.join(0.3)
    assert promoter.is_alive()
    may_end.set()
    for thread in (retirer, promoter):
        thread.join(20)
    assert old in gallery.retired()
    assert gallery.current == current
    [error] = ended
    assert isinstance(error, PromotionError)
    assert error.code == "retired"
    assert old not in gallery.here() | gallery.packed()


def test_both_at_once(gallery: Gallery, old: str) -> None:
    """Six times: it answers with its files, or it is retired without, and nothing between."""
    house = gallery.house
    for _ in range(6):
        gate = threading.Barrier(2)

        def promoting(gate: threading.Barrier = gate, id: str = old) -> object:
            gate.wait(10)
            return gallery.promote(id)

        def retiring_it(gate: threading.Barrier = gate) -> object:
            gate.wait(10)
            return retire(gallery)

        threads = [in_thread(promoting), in_thread(retiring_it)]
        for thread, _ in threads:
            thread.join(30)
        ([promoted], [retired]) = (ended for _, ended in threads)
        assert isinstance(retired, tuple), retired
        if isinstance(promoted, PromotionError):
            assert promoted.code == "retired"
            assert gallery.states()[old] == "retired"
            assert old not in gallery.here() | gallery.packed()
        else:
            assert gallery.current == old
            assert old not in gallery.retired()
            assert old in gallery.here() & gallery.packed()
        old = gallery.change()  # the next one that answered long ago
        gallery.change()
        gallery.change()
        house.now += 40 * DAY


def test_served_again_while_it_is_retired(
    gallery: Gallery, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle that was given first, retired and given again before its files have gone."""
    first = gallery.give(gallery.place / "first")
    gallery.give(gallery.bundle("second"))
    gallery.change()
    gallery.house.now += 40 * DAY
    forget = retiring._forget

    def given_first(*values: Any, **more: Any) -> bool:
        if values[3] == first:
            assert gallery.give(gallery.place / "first") == first
        return forget(*values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(retiring, "_forget", given_first)
        retire(gallery)
    assert (gallery.current, gallery.states()[first]) == (first, "given")
    assert first in gallery.here() & gallery.packed()


def test_killed_between_row_and_files(
    gallery: Gallery, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_files, "forget", die)
        with pytest.raises(KeyboardInterrupt):
            retire(gallery)
    assert old in gallery.retired()
    assert old in gallery.here() & gallery.packed()
    assert retire(gallery) == (0, 0)
    lines = gallery.house.lines()
    gallery.house.restart()
    assert gallery.house.tend().lost_models == 1
    assert old not in gallery.here() | gallery.packed()
    assert gallery.house.lines() == lines, "it stands in the account once"


def test_a_storage_that_is_away(
    gallery: Gallery, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete_private", away)
        with pytest.raises(StorageUnavailableError):
            retire(gallery)
    assert old in gallery.packed() - gallery.here()
    home, house = gallery.house.settings.home, gallery.house
    assert retiring.lost_models(home, house.database, house.storage, None) == 1
    assert old not in gallery.packed()


def test_another_machine_clears_its_own_copies(gallery: Gallery, old: str, tmp_path: Path) -> None:
    house, far = gallery.house, tmp_path / "far"
    for id in (old, gallery.current):
        assert id is not None
        model_files.fetch(far, id, house.storage)
    retire(gallery)
    assert gallery.here(far) == {old, gallery.current}
    assert old not in gallery.here()
    # As the API does at its start, where no worker runs.
    assert retiring.lost_models(far, house.database, None, None) == 1
    assert gallery.here(far) == {gallery.current}
    with pytest.raises(BundleError, match="not in the storage"):
        model_files.fetch(far, old, house.storage)


def test_a_directory_that_vanishes_meanwhile(
    gallery: Gallery, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process of this machine finishes fetching a model, under its temporary name."""
    home, database = gallery.house.settings.home, gallery.house.database
    iterdir = Path.iterdir

    def and_one_more(path: Path) -> Iterator[Path]:
        yield from iterdir(path)
        yield path / f".{old}.4711.tmp"

    monkeypatch.setattr(Path, "iterdir", and_one_more)
    assert retiring.lost_models(home, database, None, None) == 0


@pytest.mark.parametrize("kind", PLACES)
def test_files_without_a_row(tmp_path: Path, encode: Callable[..., bytes], kind: str) -> None:
    """What was killed left files that go after a day; those of a training at work stay."""
    with place_url(kind, tmp_path) as url, opened_house("sqlite", tmp_path, encode) as house:
        house = replace(house, storage=open_storage(url))
        gallery = Gallery(house, tmp_path / "bundles")
        home, kept, lost = house.settings.home, gallery.give(gallery.bundle("first")), "0" * 32
        at_work = model_files.id_of_training(gallery.job("Running"))
        rejected = gallery.train("rejected")  # offered, as another attempt found
        for id in (lost, at_work, rejected):
            bundle = model_files.fetch(home, kept, house.storage)
            model_files.keep(bundle, home, id, house.storage)
        (home / "models" / f".{lost}.4711.tmp").mkdir()
        if kind == "local":
            half = tmp_path / "files" / "private" / "models" / f".{lost}.zip.{lost}.tmp"
            half.write_bytes(b"half")

        def look(oldest: float | None) -> int:
            return retiring.lost_models(home, house.database, house.storage, oldest)

        assert look(None) == 1
        assert gallery.here() & gallery.packed() == {kept, lost, at_work}
        assert look(time.time() - DAY) == 0, "they may be being written"
        assert look(time.time() + DAY) == (3 if kind == "local" else 2)
        assert gallery.here() == gallery.packed() == {kept, at_work}


def test_a_process_that_still_has_it_open_goes_on(
    gallery: Gallery, old: str, encode: Callable[..., bytes]
) -> None:
    """The current model can't be opened there, so an older one answers; then that is retired."""
    house = gallery.house
    with closing(Models(house.settings, house.database, house.storage, check_seconds=0)) as here:
        gallery.promote(old)
        assert here.predictor()[0] == old
        for id in [gallery.change() for _ in range(3)]:
            folder = house.settings.home / "models" / id
            (folder / "model.onnx").write_bytes(b"damaged")
            house.storage.delete_private(model_files.packed_name(id))  # else it is made anew
        house.now += 40 * DAY
        until(lambda: here.predictor() and here.problem is not None)
        retire(gallery)
        assert old in gallery.retired()
        assert old not in gallery.here()
        model_id, engine = here.predictor()
        assert model_id == old
        photo = encode(np.zeros((20, 20, 3), np.uint8))
        [found] = engine.answer_now([Request(photo)])
        assert (found.error, found.label) == (None, CLASSES[0])
        with pytest.raises(BundleError):
            here.directory(old)
