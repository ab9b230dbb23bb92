"""Files that take pixels, on real photos: the same answers, and the same class for every photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.predictor import Request
from pocketlens.workflows.images import find_images

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embed")


@pytest.fixture(scope="module")
def source(folder: Path, data_dir: Path) -> Callable[[str], Bundle]:
    """EfficientNet-lite0 with ImageNet weights as an ONNX file, in float or in INT8."""
    network = pl.import_model("tf_efficientnet_lite0", out=folder / "torch")
    made = {"float": pl.export(network, runtime="onnx", out=folder / "float")}

    def get(name: str) -> Bundle:
        if name not in made:
            made[name] = pl.compress(
                made["float"],
                method="onnx-static",
                calibration=data_dir / "coco_mini",
                out=folder / name,
                keep_float="first" if name == "int8" else "none",
            )
        return made[name]

    return get


def answers(bundle: Bundle, data_dir: Path) -> np.ndarray:
    files = find_images([data_dir / "imagenet_200"])
    assert len(files) == 200
    with pl.load(bundle) as predictor:
        return np.stack([a.logits_K for a in predictor.answers(map(Request, files))])  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ["float", "int8", "int8 all"])
def test_pixels_are_answered_as_before(
    runtime: str,
    name: str,
    source: Callable[[str], Bundle],
    data_dir: Path,
    folder: Path,
) -> None:
    bundle = source(name)
    outside = pl.export(bundle, runtime=runtime, out=folder / f"{name}-{runtime}")
    inside = pl.export(
        bundle, runtime=runtime, out=folder / f"{name}-{runtime}-e", batch=1, embed_preprocess=True
    )
    expected, found = answers(outside, data_dir), answers(inside, data_dir)
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    agreement = float(np.mean(found.argmax(1) == expected.argmax(1)))
    print(f"{name} in {runtime}: {difference:.1e} of the largest logit, {agreement:.1%} agree")
    if name == "float":
        assert difference <= 1e-4
        assert agreement == 1
    elif runtime == "onnx":
        np.testing.assert_array_equal(found, expected)
    else:  # it rounds the last bit of floats elsewhere, so single activations move by a step
        # Mean and std of 0.5 put each value of a pixel between two steps of the input, and where
        # the input is quantized that last bit decides which.
        assert difference <= (0.05 if name == "int8" else 0.1)
        assert agreement >= (0.99 if name == "int8" else 0.95)
