"""A search over settings: checked before it starts, judged on validation photos, resumable."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import SPLIT, Bundle, read_bundle, write_bundle
from pocketlens.core.errors import UserError
from pocketlens.training import checkpoint
from pocketlens.training.config import TrainConfig
from pocketlens.workflows import _study, _trial
from pocketlens.workflows import sweep as workflow
from pocketlens.workflows._sweep_space import read_space

FIXED = "{model: test_byobnet, weights: none, epochs: 2, image-size: 32, batch_size: 8}"
LR = "lr: {low: 1e-4, high: 1e-2, log: true}"


@pytest.fixture
def space(photos: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write `space.yaml` for the made-up photos."""

    def write(tried: str = LR, fixed: str = FIXED, **further: object) -> Path:
        lines = [f"data: {photos}", f"fixed: {fixed}", f"space: {{{tried}}}"]
        path = tmp_path / "space.yaml"
        path.write_text("\n".join([*lines, *(f"{k}: {v}" for k, v in further.items())]) + "\n")
        return path

    return write


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["number"]))


def test_interrupted_and_gone_on_with(
    space: Callable[..., Path],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scored, real = [], workflow.run_bundle
    monkeypatch.setattr(
        workflow, "run_bundle", lambda *a, **k: scored.append(a[0].path.name) or real(*a, **k)
    )
    save, saved = checkpoint.save, []

    def stop_in_second_trial(folder: Path, value: checkpoint.Checkpoint) -> None:
        save(folder, value)
        saved.append(folder.name)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop_in_second_trial)
    words = ["sweep", str(space(trials=2)), "--out", str(tmp_path / "s")]
    assert run(words) == 130
    assert saved == ["0000.run", "0000.run", "0001.run"]
    assert [row["state"] for row in rows(tmp_path / "s")] == ["complete"]
    assert scored == []
    assert run(words) == 2
    capsys.readouterr()
    monkeypatch.setattr(checkpoint, "save", save)
    assert run([*words, "--resume", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(row["number"] for row in found["rows"]) == [0, 1], "it is the same trial"
    assert [row["epochs"] for row in found["rows"]] == [2, 2]
    assert found["rows"][0]["number"] == found["best"]
    assert found["rows"][0]["score"] == found["score"] >= found["rows"][1]["score"]

    folder = tmp_path / "s"
    splits = {path.read_text() for path in folder.glob("trials/*.run/split.csv")}
    assert len(splits) == 1, "all trials have one split"
    assert len(list(folder.glob("trials/*.run/history.csv"))) == 2
    best = read_bundle(folder / "best")
    assert best.manifest.metrics["val"]["macro_f1"] == found["score"]
    assert best.manifest.metrics["test"] == found["test"]
    assert len(scored) == 1, "test photos are used once, for the best"
    assert list(folder.rglob("*.safetensors")) == [folder / "best" / "model.safetensors"]
    lines = (folder / "sweep.md").read_text().splitlines()
    assert lines[2].startswith(f"| {found['best']} |")
    assert "scored once on the test photos" in lines[-1]

    made = (folder / "best" / "manifest.json").stat().st_mtime_ns
    again = pl.sweep(tmp_path / "space.yaml", out=folder, resume=True)
    assert again.to_dict() == found
    assert len(scored) == 1
    assert (folder / "best" / "manifest.json").stat().st_mtime_ns == made


class FakeTraining:
    """Training whose validation scores are given: a curve a trial, by number."""

    def __init__(self, tiny: Bundle, curves: Mapping[int, Any], epochs: int = 4) -> None:
        self.tiny, self.curves, self.epochs = tiny, curves, epochs
        self.configs: list[TrainConfig] = []

    def __call__(self, data: Any, *, out: Path, config: TrainConfig, **options: Any) -> Bundle:
        assert options["test"] is False, "no trial sees a test photo"
        number = len(self.configs)
        self.configs.append(config)
        curve = self.curves.get(number, 50.0 + number)
        if isinstance(curve, BaseException):
            raise curve
        for epoch in range(1, self.epochs + 1):
            options["on_epoch"]({"epoch": epoch, "val_macro_f1": curve, "seconds": 6.0})
        files = {n: self.tiny.file(n) for n in self.tiny.manifest.files if n != SPLIT}
        scores = {"metric": "macro_f1", "val": {"macro_f1": curve, "loss": 1.0}}
        manifest = replace(self.tiny.manifest, metrics=scores)
        return write_bundle(out, manifest, files, split=self.tiny.split)


@pytest.fixture
def training(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTraining]:
    def use(curves: Mapping[int, Any] | None = None) -> FakeTraining:
        fake = FakeTraining(tiny, curves or {})
        monkeypatch.setattr(_trial, "train", fake)
        return fake

    return use


def test_pruned_failed_and_what_made_the_difference(
    space: Callable[..., Path], training: Callable[..., FakeTraining], tmp_path: Path
) -> None:
    lame = {2: UserError("this one can't be"), 7: 1.0, 8: MemoryError()}
    fake = training(lame)
    path = space(LR + ", optimizer: [adamw, sgd]", trials=16)
    found = pl.sweep(path, out=tmp_path / "s", keep_all=True)
    by_number = {row.number: row for row in found.rows}
    assert (by_number[2].state, by_number[2].reason) == ("failed", "this one can't be")
    assert (by_number[7].state, by_number[7].epochs, by_number[7].score) == ("pruned", 2, 1.0)
    assert (by_number[8].state, by_number[8].reason) == ("failed", "not enough memory")
    assert by_number[15].minutes == pytest.approx(0.4)
    assert (found.best, found.score) == (15, 65.0)
    assert [row.state for row in found.rows] == ["complete"] * 13 + ["pruned"] + ["failed"] * 2
    assert set(found.importances) == {"lr", "optimizer"}
    text = (tmp_path / "s" / "sweep.md").read_text()
    assert "| 2 |" in text
    assert "this one can't be" in text
    assert "Which settings made the difference" in text
    assert len(list((tmp_path / "s").glob("trials/*/model.safetensors"))) == 13
    assert read_bundle(tmp_path / "s" / "best").manifest.metrics["trial"] == 15
    assert {config.optimizer for config in fake.configs} == {"adamw", "sgd"}
    assert {config.seed for config in fake.configs} == {0}
    assert {config.metric for config in fake.configs} == {"macro_f1"}
    assert all(1e-4 <= config.lr <= 1e-2 for config in fake.configs)


def test_the_same_settings_are_trained_once(
    space: Callable[..., Path], training: Callable[..., FakeTraining], tmp_path: Path
) -> None:
    fake = training()
    found = pl.sweep(space("optimizer: [adamw, sgd], augment_only: [none, 'bars,disc']", trials=12),
                     out=tmp_path / "s")  # fmt: skip
    assert len(fake.configs) <= 4
    assert len(found.rows) == 12
    assert "same settings as trial" in found.rows[-1].reason + found.rows[1].reason
    assert {config.augment_only for config in fake.configs} == {None, ("bars", "disc")}
    assert [p.name for p in (tmp_path / "s").rglob("model.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_interrupted_search_is_the_search_it_would_have_been(
    sampler: str, space: Callable[..., Path], training: Callable[..., FakeTraining], tmp_path: Path
) -> None:
    path = space(LR + ", optimizer: [adamw, sgd]", trials=4, sampler=sampler)
    whole = training()
    pl.sweep(path, out=tmp_path / "whole")
    first = training({2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        pl.sweep(path, out=tmp_path / "cut")
    second = training()
    found = pl.sweep(path, out=tmp_path / "cut", resume=True)
    assert first.configs[:2] + second.configs == whole.configs
    assert len({config.lr for config in whole.configs}) == 4
    assert len(found.rows) == 4, "what was begun for nothing is no row"


def test_a_better_trial_later_takes_the_place_of_the_best(
    space: Callable[..., Path], training: Callable[..., FakeTraining], tmp_path: Path
) -> None:
    training()
    path = space(trials=1, minutes=60)
    assert pl.sweep(path, out=tmp_path / "s").best == 0
    assert pl.sweep(path, out=tmp_path / "s", trials=3, resume=True).best == 2
    assert read_bundle(tmp_path / "s" / "best").manifest.metrics["trial"] == 2
    with pytest.raises(UserError, match="begun with another space"):
        pl.sweep(space("lr: [0.1, 0.2]"), out=tmp_path / "s", resume=True)
    with pytest.raises(UserError, match="begun with another fixed"):
        pl.sweep(space(fixed=FIXED[:-1] + ", seed: 1}"), out=tmp_path / "s", resume=True)


def test_time_is_limited_and_a_fault_is_not_met_again(
    space: Callable[..., Path], training: Callable[..., FakeTraining], tmp_path: Path
) -> None:
    fake = training()
    found = pl.sweep(space(trials=50, minutes=0.00001), out=tmp_path / "s")
    assert len(fake.configs) == len(found.rows) == 1
    training({0: RuntimeError("a bug")})
    with pytest.raises(RuntimeError, match="a bug"):
        pl.sweep(space(trials=2), out=tmp_path / "s", resume=True)
    training()
    found = pl.sweep(space(trials=3), out=tmp_path / "s", resume=True)
    assert [row.state for row in found.rows] == ["complete", "complete", "failed"]
    assert "RuntimeError" in found.rows[-1].reason


def test_when_all_fail_the_first_reason_is_told(
    space: Callable[..., Path], training: Callable[..., FakeTraining], tmp_path: Path
) -> None:
    training({0: UserError("too odd"), 1: UserError("too even")})
    with pytest.raises(UserError, match=r"the first failed: too (odd|even)"):
        pl.sweep(space(trials=2), out=tmp_path / "s")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"samplr": "tpe"}, "no key is called 'samplr'; choose from data, space"),
        ({"sampler": "grid"}, "sampler must be one of tpe, random, not 'grid'"),
        ({"pruner": "hyperband"}, "pruner must be one of median, none"),
        ({"trials": "0"}, "trials must be at least 1"),
        ({"trials": "many"}, "trials needs a value of kind int"),
        ({"minutes": "-1"}, "minutes more than 0"),
        ({"metric": "auc"}, "metric must be one of macro_f1"),
        ({"metric": "map"}, "map"),
        ({"format": "[a]"}, "format needs text"),
        ({"format": "shoe-box"}, "choose from"),
        ({"fixed": "{warmup: fast}"}, "fixed: warmup needs a value of kind float"),
        ({"fixed": "{colour: 1}"}, "fixed: no setting is called 'colour'"),
        ({"fixed": "{epochs: 0}"}, "--epochs must be at least 1"),
        ({"fixed": "{lr: 0.1}"}, "lr is fixed and in the space"),
        ({"fixed": "{metric: loss}"}, "name it beside `space`"),
        ({"fixed": "{model: no_such_net}"}, "no network is called"),
        ({"fixed": "{track: comet}"}, "choose from mlflow"),
        ({"tried": "seed: [1, 2]"}, "it decides the split too"),
        ({"tried": "colour: [1]"}, "space: no setting is called 'colour'"),
        ({"tried": "lr: []"}, "space: lr needs a list of values, or low and high"),
        ({"tried": "lr: [0.1, fast]"}, "space: lr needs a value of kind float, not 'fast'"),
        ({"tried": "lr: [0.1, -1]"}, "space: lr -1.0: --lr must be above 0"),
        ({"tried": "epochs: {low: 1.5, high: 3}"}, "epochs: low needs a value of kind int"),
        ({"tried": "lr: {low: 1, high: 0.1}"}, "low must be less than high"),
        ({"tried": "lr: {low: 0, high: 0.1, log: true}"}, "low must be above 0 for log"),
        ({"tried": "lr: {low: 0.1}"}, "`high:` is missing"),
        ({"tried": "lr: {low: 0.1, high: 1, sep: 2}"}, "no key is called 'sep'"),
        ({"tried": "lr: {low: 0.1, high: 1, step: 2}"}, "step must be above 0, within the range"),
        ({"tried": "optimizer: [adamw, adamax]"}, "must be one of adamw, adam, sgd"),
        ({"tried": "optimizer: {low: 1, high: 2}"}, "is no number"),
        (
            {"tried": "model: [resnet18, no_such_net]", "fixed": "{weights: none}"},
            "no network is called 'no_such_net'",
        ),
        ({"tried": ""}, "space is empty"),
        ({"storage": "nonsense"}, "storage is no database that can be used"),
        ({"storage": "nosuch://me:hush@there/x"}, "storage is no database that can be used"),
    ],
)
def test_mistakes_are_told_before_a_photo_is_read(
    words: dict[str, str],
    told: str,
    space: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(path: str) -> str:
        raise AssertionError("a photo was read")

    monkeypatch.setattr("pocketlens.workflows.data.file_hash", read)
    path = space(**({"fixed": "{model: test_byobnet, weights: none, image_size: 32}"} | words))
    assert run(["sweep", str(path), "--out", str(tmp_path / "s")]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert "hush" not in err
    assert not (tmp_path / "s").exists()


def test_values_that_need_each_other_may_stand_in_the_space(space: Callable[..., Path]) -> None:
    tried = "epochs: [10, 40], freeze_epochs: {low: 0, high: 30}, patience: [none, 3]"
    plan = read_space(space(tried, fixed="{lr: 1e-3}"))
    assert plan.tried["patience"] == (None, 3)
    config = plan.config({"epochs": 40, "freeze_epochs": 20, "patience": None})
    assert (config.epochs, config.freeze_epochs, config.lr) == (40, 20, 1e-3)
    with pytest.raises(UserError, match="fewer than --epochs"):
        plan.config({"epochs": 10, "freeze_epochs": 20})


def test_a_password_is_never_told(
    space: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _study.masked("postgresql://me:hu%40sh@h/x") == "postgresql+psycopg://me:***@h/x"
    monkeypatch.setenv("STUDY", "postgresql://me:hu%40sh@127.0.0.1:1/x?connect_timeout=3")
    words = ["sweep", str(space(storage="$STUDY")), "--out", str(tmp_path / "s")]
    assert run(words) == 2
    err = capsys.readouterr().err
    assert "me:***@127.0.0.1:1/x" in err
    assert "doesn't answer" in err
    assert "hu@sh" not in err
    assert "hu%40sh" not in err
    assert not (tmp_path / "s").exists()
