"""Does the file that `lsq` wrote answer test photos as the fake-quantized network that was trained?

    python benchmarks/faithful.py BUNDLE --data DATA

Builds the network that was trained from the file's own weights and steps, in torch, and compares
its answers with those of ONNX Runtime (integer kernels) and, where it is installed, OpenVINO.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

import pocketlens as pl
from pocketlens.compression._graph import Graph
from pocketlens.core.bundle import read_bundle
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed
from pocketlens.workflows.open import load


def main() -> int:
    """Compare and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    given = parser.parse_args()
    made = read_bundle(given.bundle)
    # Without the float weights it starts from what the file holds: what was trained, rounded.
    graph = Graph(onnx.load(str(made.file("model.onnx"))), {}).eval()
    examples = examples_of(made, as_hashed(given.data), "test")
    with tempfile.TemporaryDirectory() as folder:
        other = pl.export(made, runtime="openvino", out=Path(folder) / "openvino")
        predictors = {"ONNX Runtime": load(made), "OpenVINO": load(other)}
        same = dict.fromkeys(predictors, 0)
        for start in range(0, len(examples), 32):
            rows = range(start, min(start + 32, len(examples)))
            first = next(iter(predictors.values()))
            inputs = np.stack([first.prepare(examples.request(i)) for i in rows])
            with torch.inference_mode():
                trained = graph(torch.from_numpy(inputs)).numpy().argmax(1)
            for name, predictor in predictors.items():
                same[name] += int((predictor.logits(inputs).argmax(1) == trained).sum())
    for name, number in same.items():
        share = 100 * number / len(examples)
        print(f"{name}: {share:.2f} % of {len(examples)} test photos as the trained network")
    return 0


if __name__ == "__main__":
    sys.exit(main())
