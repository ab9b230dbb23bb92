"""INT8 without training, calibrated on other photos: how often is the answer the float network's?

    python benchmarks/agreement.py --data DATA/imagenet_200 --calibration DATA/coco_mini

lite0 with ImageNet weights, each setting in ONNX Runtime and, the same file, in OpenVINO.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import pocketlens as pl
from pocketlens.core import metrics
from pocketlens.core.bundle import Bundle
from pocketlens.core.examples import Examples
from pocketlens.core.scored import Scored
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed
from pocketlens.workflows.evaluate import run_bundle

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("onnx-static", {"keep_float": "none", "float_logits": False}),
    ("onnx-static", {}),
    ("onnx-static", {"ranges": "mse"}),
    ("onnx-static", {"ranges": "percentile"}),
    ("onnx-static", {"ranges": "mse", "keep_float": "none"}),
    ("onnx-static", {"ranges": "percentile", "keep_float": "none"}),
    ("bias-correction", {"ranges": "mse"}),
    ("bias-correction", {"ranges": "percentile"}),
    ("bias-correction", {"ranges": "entropy"}),
    ("adaround", {"ranges": "mse"}),
    ("nncf", {}),
    ("nncf", {"bias_correction": "full"}),
]


def main() -> int:
    """Print a Markdown table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--calibration", required=True, type=Path)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--methods", nargs="+", help="only these")
    given = parser.parse_args()
    hashed = as_hashed(given.data)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        parent = pl.import_model(given.model, out=root / "float")
        examples = examples_of(parent, hashed, "test")
        expected = _scored(parent, examples)
        print("| method | options | runtime | top-1 % | agreement % |\n|---|---|---|---|---|")
        print(f"| float | | torch | {metrics.score('accuracy', expected)[0]:.1f} | |", flush=True)
        for number, (method, options) in enumerate(SETTINGS):
            if given.methods and method not in given.methods:
                continue
            made = pl.compress(
                parent,
                method=method,
                out=root / str(number),
                calibration=given.calibration,
                **options,
            )
            other = pl.export(made, runtime="openvino", out=root / f"{number}-ov")
            words = " ".join(f"{k}={v}" for k, v in options.items())
            for bundle in (made, other):
                scored = _scored(bundle, examples)
                print(
                    f"| {method} | {words} | {bundle.manifest.runtime} "
                    f"| {metrics.score('accuracy', scored)[0]:.1f} "
                    f"| {metrics.agreement(expected, scored):.1f} |",
                    flush=True,
                )
    return 0


def _scored(bundle: Bundle, examples: Examples) -> Scored:
    return run_bundle(bundle, examples).scored


if __name__ == "__main__":
    sys.exit(main())
