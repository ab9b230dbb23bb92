"""What `compare` takes beyond the networks themselves.

    python benchmarks/overhead.py BUNDLE BUNDLE … --data DATA

Compares the bundles, and then takes the time in which each network alone answers the same photos,
prepared beforehand, one process and one runtime after the other. Prints both and the difference,
which is decoding (once for all bundles of one preprocessing), timing in turns, cold starts,
bootstrap and reports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import pocketlens as pl
from pocketlens.core.bundle import read_bundle
from pocketlens.core.stream import batched
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed

_BATCH = 8


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", required=True, type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        table = pl.compare(given.bundles, given.data, out=Path(folder) / "table")
        whole_s = time.monotonic() - began
    hashed = as_hashed(given.data)
    own_s = 0.0
    for path in given.bundles:
        bundle = read_bundle(path)
        with pl.load(bundle) as predictor:
            for part in ("test", "val"):
                examples = examples_of(bundle, hashed, part)
                requests = [examples.request(i) for i in range(len(examples))]
                for batch in batched(requests, _BATCH):
                    inputs = np.stack([predictor.prepare(request) for request in batch])
                    began = time.monotonic()
                    predictor.logits(inputs)
                    own_s += time.monotonic() - began
    print("| variants | photos, test and validation | compare s | networks alone s | beyond s |")
    print("|---|---|---|---|---|")
    counts = f"{table.comparison.data['num_test']} + {table.comparison.data.get('num_val', 0)}"
    print(
        f"| {len(given.bundles)} | {counts} | {whole_s:.0f} | {own_s:.0f} | {whole_s - own_s:.0f} |"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
