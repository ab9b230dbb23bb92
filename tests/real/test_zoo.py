"""The published table of forty networks, counted again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.training.config import TrainConfig

pytestmark = pytest.mark.real


def ranks(values: list[float]) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


@pytest.fixture(scope="module")
def published(data_dir: Path) -> dict[str, dict[str, str]]:
    with (data_dir.parent / "zoo_reference.csv").open(newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_forty_networks_count_as_published(published: dict[str, dict[str, str]]) -> None:
    found = pl.zoo(num_classes=11, config=TrainConfig(image_size=224))
    rows = {row.model: row for row in found.rows}
    assert set(rows) == set(published)
    assert len(rows) == 40
    shares = {}
    for name, told in published.items():
        row = rows[name]
        assert row.params == int(told["params"]), name
        assert row.size_bytes is not None
        assert row.macs is not None
        assert row.size_bytes / 2**20 == pytest.approx(float(told["size_mb"]), rel=0.02)
        shares[name] = row.macs / int(told["operations_224"])
        assert row.published_accuracy == pytest.approx(100 * float(told["test_accuracy"]), abs=0.01)
    assert 0.83 <= min(shares.values()) <= max(shares.values()) <= 1.0
    ours = ranks([float(rows[name].macs or 0) for name in published])
    theirs = ranks([float(told["operations_224"]) for told in published.values()])
    assert np.corrcoef(ours, theirs)[0, 1] >= 0.998
