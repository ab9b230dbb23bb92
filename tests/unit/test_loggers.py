"""Trackers: told once of each epoch, also over an interruption, and never in the way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pocketlens as pl
from pocketlens import extras, plugins
from pocketlens.cli import run
from pocketlens.core.errors import UserError
from pocketlens.loggers._tracker import Tracker
from pocketlens.training import checkpoint
from pocketlens.training.config import TrainConfig, settings_of
from pocketlens.workflows import _tracking
from pocketlens.workflows._tracking import tracking
from support.tiny import CONFIG

TINY = replace(CONFIG, epochs=3)
ROWS = [{"epoch": n, "val_loss": 1.0 / n} for n in (1, 2, 3)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Whoever is asked by way of the network; all trackers are sent there."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"http://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    asked.append(caller.recv(200).decode(errors="replace"))

        threading.Thread(target=serve, daemon=True).start()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "WANDB_BASE_URL"):
            monkeypatch.setenv(name, here)
        for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield asked
        server.shutdown(socket.SHUT_RDWR)


def test_an_interrupted_training_is_one_run_of_each_tracker(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    config = replace(TINY, track=("tensorboard,mlflow", "wandb"))
    assert config.track == ("tensorboard", "mlflow", "wandb")
    save = checkpoint.save

    def stop_after_two(folder: Path, value: checkpoint.Checkpoint) -> None:
        if len(value.facts["history"]) == 2:
            raise KeyboardInterrupt  # told, but not in the checkpoint: this epoch is done again
        save(folder, value)

    monkeypatch.setattr(checkpoint, "save", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        pl.train(photos, out=tmp_path / "a", config=config)
    monkeypatch.setattr(checkpoint, "save", save)
    bundle = pl.train(photos, out=tmp_path / "a", config=config, resume=True)
    assert bundle.manifest.lineage.config["track"] == config.track
    place = tmp_path / "a.run"
    state = json.loads((place / _tracking.STATE).read_text())
    assert {told["epoch"] for told in state.values()} == {3}
    assert (place / "history.csv").is_file()

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_loss")] == [1, 2, 3]
    assert "test_byobnet" in str(events.Tensors("settings/text_summary")[0].tensor_proto)

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("pocketlens").experiment_id])
    assert found.info.run_id == state["mlflow"]["run_id"]
    assert found.info.status == "FINISHED"
    assert found.data.params["model"] == "test_byobnet"
    logged = client.get_metric_history(found.info.run_id, "val_loss")
    assert [metric.step for metric in logged] == [1, 2, 3]

    files = sorted((place / "wandb").rglob("*.wandb"))
    assert {file.name for file in files} == {f"run-{state['wandb']['run_id']}.wandb"}
    contents = [file.read_bytes() for file in files]
    assert len(contents) == 2
    assert all(b"val_loss" in content for content in contents)
    assert calls == []


def test_tracking_is_no_setting_of_the_result(
    photos: Path, tmp_path: Path, tracker: list[Any]
) -> None:
    quick = replace(TINY, epochs=1)
    pl.train(photos, out=tmp_path / "a", config=quick)
    pl.train(photos, out=tmp_path / "a", config=replace(quick, track=("fake",)), resume=True)
    assert settings_of(quick) == settings_of(replace(quick, track=("x",)))
    with pytest.raises(UserError, match="another --lr"):
        pl.train(photos, out=tmp_path / "a", config=replace(quick, lr=1.0), resume=True)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A tracker `fake`; what it was given. It fails at the third row."""
    told: list[Any] = []

    def begin(
        run_dir: Path, name: str, settings: Mapping[str, Any], run_id: str | None, config: object
    ) -> Tracker:
        told.append(("open", run_id))

        def log(row: Mapping[str, float]) -> None:
            if sum(isinstance(value, float) for value in told) == 2:
                told.append("failed")
                raise ConnectionError("the server\nis gone")
            told.append(float(row["epoch"]))

        return Tracker("id-1", log, lambda finished: told.append(("close", finished)))

    fake = SimpleNamespace(open=begin, Config=object, NEEDS=("json",), EXTRA="track")
    real = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda family, name: fake if name == "fake" else real(family, name)
    )
    return told


def test_a_tracker_that_fails_is_warned_of_once_and_catches_up(
    tmp_path: Path, tracker: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(TINY, track=("fake",))
    seen = []
    with tracking(config, tmp_path, "a", resume=False, then=seen.append) as told:
        for row in [*ROWS, {"epoch": 4, "val_loss": 0.1}]:
            told(row)
    assert tracker == [("open", None), 1.0, 2.0, "failed", ("close", False)]
    assert [row["epoch"] for row in seen] == [1, 2, 3, 4]
    err = capsys.readouterr().err
    assert err.count("fake doesn't track this run any more") == 1
    assert "the server is gone" in err
    tracker.clear()
    rows = "".join(f"{row['epoch']},{row['val_loss']}\n" for row in ROWS)
    (tmp_path / "history.csv").write_text("epoch,val_loss\n" + rows)
    with tracking(config, tmp_path, "a", resume=True) as told:
        told({"epoch": 4, "val_loss": 0.1})
    assert tracker == [("open", "id-1"), 3.0, 4.0, ("close", True)]


def test_a_tracker_that_can_not_begin_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> Tracker:
        raise ConnectionError("no route")

    monkeypatch.setattr(plugins.load("loggers", "tensorboard"), "open", refuse)
    with tracking(replace(TINY, track=("tensorboard",)), tmp_path, "a", resume=False) as told:
        told(ROWS[0])
    assert "no route" in capsys.readouterr().err


def test_what_the_caller_raises_gets_out(tmp_path: Path, tracker: list[Any]) -> None:
    def stop(row: Mapping[str, float]) -> None:
        raise StopAsyncIteration

    config = replace(TINY, track=("fake",))
    with (
        pytest.raises(StopAsyncIteration),
        tracking(config, tmp_path, "a", resume=False, then=stop) as told,
    ):
        told(ROWS[0])
    assert tracker[-1] == ("close", False)


def test_epochs_are_told_once_after_their_row_is_written(photos: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, int]] = []

    def look(row: Mapping[str, float]) -> None:
        lines = (tmp_path / "a.run" / "history.csv").read_text().splitlines()
        seen.append((row["epoch"], len(lines) - 1))

    bundle = pl.train(photos, out=tmp_path / "a", config=TINY, on_epoch=look, test=False)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert "test" not in bundle.manifest.metrics
    assert "macro_f1" in bundle.manifest.metrics["val"]
    assert not (tmp_path / "a.run" / "confusion_matrix.csv").exists()


@pytest.mark.parametrize("verb", ["train", "fit", "zoo"])
def test_mistakes_are_told_before_a_photo_is_read(
    verb: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(path: str) -> str:
        raise AssertionError("a photo was read")

    monkeypatch.setattr("pocketlens.workflows.data.file_hash", read)
    words = [verb, str(photos), "--out", str(tmp_path / "a"), "--track"]
    assert run([*words, "tensorboard,comet"]) == 2
    assert "choose from mlflow, tensorboard, wandb" in capsys.readouterr().err
    real = extras.importlib.import_module

    def without(name: str) -> Any:
        if name == "wandb":
            raise ModuleNotFoundError("gone", name=name)
        return real(name)

    monkeypatch.setattr(extras.importlib, "import_module", without)
    assert run([*words, "tensorboard", "--track", "wandb"]) == 2
    assert "pip install 'pocketlens[track]'" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_names_are_divided_at_commas() -> None:
    assert TrainConfig(track="wandb, mlflow,").track == ("wandb", "mlflow")  # type: ignore[arg-type]
    assert TrainConfig(track=("wandb", "wandb")).track == ("wandb",)
    assert TrainConfig().track == ()
