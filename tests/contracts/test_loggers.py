"""What holds for every tracker, found through the folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pocketlens import extras, plugins

LOGGERS = plugins.names("loggers")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_run_is_begun_closed_and_gone_on_with(name: str, tmp_path: Path) -> None:
    plugin = plugins.load("loggers", name)
    assert set(plugin.NEEDS) & set(extras.MODULES[plugin.EXTRA])
    assert dataclasses.is_dataclass(plugin.Config)
    settings = {"lr": 0.1, "model": "x", "patience": None, "augment_only": ("a", "b")}
    first = plugin.open(tmp_path, "run", settings, None, plugin.Config())
    first.log({"epoch": 1, "val_loss": 2.0})
    first.close(False)
    again = plugin.open(tmp_path, "run", settings, first.run_id, plugin.Config())
    assert again.run_id == first.run_id
    again.log({"epoch": 2, "val_loss": 1.0})
    again.close(True)
    assert any(tmp_path.iterdir()), "without a server it leaves something beside the run"
