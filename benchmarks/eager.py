"""ONNX Runtime against eager PyTorch at batch 1, with and without settings of the allocator.

    python benchmarks/eager.py BUNDLE --data DATA

Eager PyTorch asks the system for large buffers at each layer and gives them back; with glibc's
own thresholds that costs page faults. A comparison that leaves it so flatters every other runtime,
so both are measured, in turns, one process each. Prints mean, standard deviation, median, speed-up
and size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import pocketlens as pl
from pocketlens.core.bundle import read_bundle
from pocketlens.core.predictor import available_cores
from pocketlens.measures.latency import measure_latency, speedup
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch = read_bundle(given.bundle)
    examples = examples_of(torch, as_hashed(given.data), "test")
    requests = [examples.request(i) for i in range(min(16, len(examples)))]
    with tempfile.TemporaryDirectory() as folder:
        onnx = pl.export(torch, runtime="onnx", out=Path(folder) / "onnx")
        made = {"torch": torch, "onnx": onnx}
        sizes = {name: bundle.size_bytes for name, bundle in made.items()}
        paths = {f"{n}, {how}": b.path for how in ("tuned", "as it is") for n, b in made.items()}
        timings = measure_latency(
            paths,
            requests,
            threads=available_cores(),
            rounds=given.rounds,
            untuned=[name for name in paths if name.endswith("as it is")],
        )
    print("| variant | mean ms | deviation | median ms | x eager, same allocator | MB |")
    print("|---|---|---|---|---|---|")
    for name, timing in timings.items():
        runtime, how = name.split(", ")
        ratio = speedup(timings[f"torch, {how}"], timing)
        blocks = timing.blocks_ms
        noisy = "~" if timing.noisy else ""
        print(
            f"| {name} | {noisy}{np.mean(blocks):.2f} | {np.std(blocks):.2f} "
            f"| {noisy}{timing.latency_ms:.2f} | {noisy}{ratio:.2f} "
            f"| {sizes[runtime] / 1e6:.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
