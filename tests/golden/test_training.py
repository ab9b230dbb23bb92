"""A few epochs' losses: a change of the recipe is noticed.

They are compared within half a percent, since processors add in different orders.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pocketlens as pl
from pocketlens.training.config import TrainConfig


def test_losses(
    photos: Path, tmp_path: Path, project: Path, golden: Callable[[str, Any], None]
) -> None:
    config = TrainConfig(
        model="test_byobnet", weights="none", epochs=3, image_size=32, batch_size=8, lr=3e-3
    )
    pl.train(photos, out=tmp_path / "a", config=config)
    with (tmp_path / "a.run" / "history.csv").open(newline="") as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    path = project / "tests" / "golden" / "losses.json"
    stored = json.loads(path.read_text()) if path.exists() else []
    if losses == pytest.approx(stored, rel=5e-3):
        return
    golden("losses", losses)
