"""COCO photos with all their labels through `fit` to INT8, against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import pocketlens as pl
from pocketlens.core.bundle import read_bundle
from pocketlens.core.dataset import Dataset
from pocketlens.measures.score import collect
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed
from pocketlens.workflows.open import load

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def coco(data_dir: Path) -> Dataset:
    return pl.read_dataset(data_dir / "coco_mini")


@pytest.fixture(scope="module")
def fitted(coco: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("coco") / "run"
    settings: dict[str, Any] = {"model": "test_byobnet", "weights": "none", "image_size": 64}
    pl.fit(
        coco, out=out, **settings, epochs=4, lr=3e-3, num_images=24, max_drop=100, effort="quick"
    )
    return out


def test_photos_without_a_label_stay(coco: Dataset, fitted: Path) -> None:
    assert (len(coco), len(coco.classes)) == (100, 80)
    assert sum(not sample.labels for sample in coco.samples) == 3
    split = read_bundle(fitted / "model").split
    parts = (split.train, split.val, split.test)
    assert sum(map(len, parts)) == 100
    # COCO's own: its val photos test, validation is carved from train.
    assert len(split.test) == 50


@pytest.mark.parametrize("name", ["model", "variants/float-onnx", "variants/int8-static", "best"])
def test_average_precision_is_scikit_learns(coco: Dataset, fitted: Path, name: str) -> None:
    bundle = read_bundle(fitted / name)
    hashed = as_hashed(coco)
    examples = examples_of(bundle, hashed, "test")
    with load(bundle) as predictor:
        scored = collect(predictor, examples).scored
        predictions = predictor.predict([hashed.dataset.file(s) for s in examples.samples])
    found = pl.evaluate(bundle, hashed.dataset)
    present = np.flatnonzero(scored.truth.any(axis=0))
    assert 20 < len(present) < len(bundle.manifest.classes)
    assert found.metrics["num_classes_scored"] == len(present)
    expected = []
    for k in present:
        truth = scored.truth[:, k]
        mine = found.per_class[bundle.manifest.classes[k]]
        expected.append(100 * average_precision_score(truth, scored.logits_NK[:, k]))
        assert mine["average_precision"] == pytest.approx(expected[-1], abs=1e-6)
        assert mine["num_samples"] == truth.sum()
    assert found.score == pytest.approx(np.mean(expected), abs=1e-6)
    # The same from what `predict` hands out.
    probabilities = np.array([p.probabilities_K for p in predictions])
    again = [
        100 * average_precision_score(scored.truth[:, k], probabilities[:, k]) for k in present
    ]
    assert found.score == pytest.approx(np.mean(again), abs=1e-6)


def test_rare_classes_take_the_global_threshold(fitted: Path) -> None:
    for name in ("model", "variants/int8-static"):
        manifest = read_bundle(fitted / name).manifest
        record = manifest.metrics["thresholds"]
        assert manifest.thresholds is not None
        rare = {manifest.thresholds[label] for label in record["global_for"]}
        assert rare == {record["global"]}
        assert len(record["global_for"]) > 40
        assert "person" not in record["global_for"]
