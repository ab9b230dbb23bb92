"""Many networks in one table: counted, trained, failed, gone on with."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.errors import UserError
from pocketlens.measures.latency import Timing
from pocketlens.workflows import zoo as workflow
from pocketlens.workflows._zoo_table import PUBLISHED
from support.tiny import CONFIG

QUICK = replace(CONFIG, epochs=1)


def test_counting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["zoo", "--models", "mobilenetv1_100,no_such_net,resnet18", "--classes", "11"]
    assert run([*words, "--image-size", "64", "--json", "--out", str(tmp_path / "z")]) == 0
    first, failed, last = json.loads(capsys.readouterr().out)["rows"]
    assert (first["params"], last["params"]) == (3218251, 11182155)
    assert first["operations_share"] == 100
    assert last["size_bytes"] == 4 * last["params"]
    assert last["published_accuracy"] == 99.45
    assert failed["params"] is None
    assert "no network is called" in failed["reason"]
    with (tmp_path / "z" / "zoo.csv").open(newline="") as file:
        assert [row["model"] for row in csv.DictReader(file)][2] == "resnet18"
    assert "| resnet18 |" in (tmp_path / "z" / "zoo.md").read_text()


def test_the_published_forty_are_the_default() -> None:
    assert len(PUBLISHED) == 40
    assert len({told.operations for told in PUBLISHED.values()}) == 40


def test_none_that_can_be_used_is_an_error() -> None:
    with pytest.raises(UserError, match="no network is called"):
        pl.zoo(models=["no_such_net"])


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--classes", "0"], "--classes"), (["PHOTOS", "--classes", "3"], "leave out --classes"),
     (["PHOTOS"], "--out")],
)  # fmt: skip
def test_mistakes(
    words: list[str], told: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(photos) if word == "PHOTOS" else word for word in words]
    assert run(["zoo", *given, "--models", "resnet18"]) == 2
    assert told in capsys.readouterr().err


def test_training_goes_on_where_it_stopped(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untimed(bundles: dict[str, Path], *_: object, **__: object) -> dict[str, Timing]:
        return dict.fromkeys(bundles, Timing(2.5, 3.0, 0.0, 1.0, 1.0, 1, (2.5,)))

    monkeypatch.setattr(workflow, "measure_latency", untimed)
    real, calls = workflow.train, []

    def stop_at_second(*given: Any, **options: Any) -> Any:
        calls.append(options["config"].model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **options)

    monkeypatch.setattr(workflow, "train", stop_at_second)
    models = ["test_byobnet", "no_such_net", "test_resnet"]
    with pytest.raises(KeyboardInterrupt):
        pl.zoo(photos, models=models, out=tmp_path / "z", config=QUICK)
    first = (tmp_path / "z" / "test_byobnet" / "manifest.json").stat().st_mtime_ns
    found = pl.zoo(photos, models=models, out=tmp_path / "z", config=QUICK, resume=True)
    assert (tmp_path / "z" / "test_byobnet" / "manifest.json").stat().st_mtime_ns == first
    good, failed, last = found.rows
    for row in (good, last):
        assert row.score is not None
        assert row.loss is not None
        assert row.loss > 0
        assert row.latency_ms == 2.5
        assert row.reason == ""
    assert failed.score is None
    assert failed.reason
    with (tmp_path / "z" / "zoo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[2]["score"]) == pytest.approx(last.score)
