"""How the cores are shared out: chosen by measuring, remembered, never slower by a hiccup."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Thread

import pytest

from pocketlens.core.predictor import Request, available_cores
from pocketlens.service import plan as planning
from pocketlens.service.engine import open_engine
from pocketlens.service.plan import Measured, Plan, candidates, choose, measure, plan_for
from pocketlens.service.settings import Settings
from support.fake import fake_imported
from support.layouts import photo

ONE, ALL, BATCH = Plan(1, 2), Plan(2, 1), Plan(1, 2, 4)


def seen(plan: Plan, *rates: float, cpu: float = 0.01) -> Measured:
    return Measured(plan, rates, (cpu,) * len(rates))


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([seen(ONE, 100, 90, 95), seen(ALL, 60, 50, 55)], ONE),
        ([seen(ONE, 60, 50, 55), seen(ALL, 100, 90, 95)], ALL),
        # A tie: the cheaper one.
        ([seen(ONE, 100, 100, cpu=0.01), seen(ALL, 102, 102, cpu=0.02)], ONE),
        # Alike in both: one thread a call, which is steady when many ask.
        ([seen(ALL, 102, 102, cpu=0.0100), seen(ONE, 100, 100, cpu=0.0101)], ONE),
        # A batch that helps each time, one that helps twice of three times, one that costs more.
        ([seen(ONE, 100, 100, 100), seen(BATCH, 115, 120, 111)], BATCH),
        ([seen(ONE, 100, 100, 100), seen(BATCH, 150, 150, 105)], ONE),
        ([seen(ONE, 100, 100, 100), seen(BATCH, 150, 150, 150, cpu=0.02)], ONE),
    ],
)
def test_choosing(rows: list[Measured], chosen: Plan) -> None:
    assert choose(rows) == chosen


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 16])
def test_candidates_stay_within_the_cores(cores: int) -> None:
    plans = candidates(cores)
    assert all(1 <= plan.threads * plan.workers <= cores for plan in plans)
    assert len(set(plans)) == len(plans)
    assert Plan(1, cores) in plans


def test_what_is_measured_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    settings = Settings(bundle=bundle.path, home=tmp_path / "home")
    calls = []

    def told(*given: object) -> list[Measured]:
        calls.append(given)
        time.sleep(0.2)  # so that both threads below come while it is measured
        return [seen(Plan(1, 7), 100), seen(Plan(7, 1), 10)]

    monkeypatch.setattr(planning, "_measured_apart", told)
    found: list[Plan] = []
    threads = [Thread(target=lambda: found.append(plan_for(bundle, settings))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [Plan(1, 7)] * 2
    assert len(calls) == 1
    (kept,) = (settings.home / "plans").glob("*.json")
    assert json.loads(kept.read_text())["plan"] == {"threads": 1, "workers": 7, "batch": 1}
    other = fake_imported(tmp_path / "b", ("a", "b"), bias=1.0)
    plan_for(other, settings)
    assert len(calls) == 2


@pytest.mark.parametrize("text", ["", "{}", '{"plan": {"threads": 1, "width": 2}}', "[1]"])
def test_a_damaged_memory_is_measured_again(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    settings = Settings(bundle=bundle.path, home=tmp_path / "home")
    monkeypatch.setattr(planning, "_measured_apart", lambda *_: [seen(ONE, 100)])
    plan_for(bundle, settings)
    (kept,) = (settings.home / "plans").glob("*.json")
    kept.write_text(text)
    assert plan_for(bundle, settings) == ONE
    assert json.loads(kept.read_text())["plan"]["workers"] == 2


@pytest.mark.parametrize(
    ("threads", "workers", "expected"),
    [(3, 2, Plan(3, 2)), (1, None, Plan(1, available_cores())), (None, 1, None)],
)
def test_settings_are_kept_to(
    threads: int | None, workers: int | None, expected: Plan | None, tmp_path: Path
) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    settings = Settings(bundle.path, tmp_path / "home", threads=threads, workers=workers)
    assert plan_for(bundle, settings) == (expected or Plan(available_cores(), 1))
    assert not (tmp_path / "home").exists()  # nothing was measured


def test_measuring_keeps_to_its_time(tmp_path: Path) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    start = time.monotonic()
    rows = measure(bundle, candidates(2), 0.5)
    assert time.monotonic() - start < 5  # on a busy machine; the clock is looked at in each round
    assert [row.plan for row in rows] == candidates(2)
    assert all(row.rate > 0 and row.cpu_seconds > 0 for row in rows)


def test_a_network_too_slow_to_measure_gets_a_call_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    assert measure(bundle, candidates(2), 0.0) == []
    monkeypatch.setattr(planning, "_measured_apart", lambda *_: [])
    assert plan_for(bundle, Settings(bundle.path, tmp_path / "home")) == Plan(1, available_cores())


def test_a_process_that_cannot_measure_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    (bundle.path / "model.onnx").unlink()
    settings = Settings(bundle.path, tmp_path / "home")
    assert plan_for(bundle, settings) == Plan(1, available_cores())
    assert "can't be measured" in caplog.text
    assert not list((tmp_path / "home" / "plans").glob("*.json")), "the next start tries again"


def test_an_engine_from_settings_answers(tmp_path: Path) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    engine = open_engine(bundle.path, Settings(bundle.path, tmp_path / "home"))
    try:
        assert engine.plan.threads * engine.plan.workers <= available_cores()
        found = engine.answer_now([Request(photo(tmp_path / "x.png"))])
        assert found[0].label in ("a", "b")
    finally:
        engine.close()
    engine = open_engine(bundle, Settings(bundle.path, tmp_path / "h", threads=1, workers=3))
    assert (engine.plan, engine.predictor.streams) == (Plan(1, 3), 3)
    engine.close()
