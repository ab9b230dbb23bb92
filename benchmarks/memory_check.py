"""Peak memory of `check` on 1,000 and on 50,000 samples, each in a process of its own.

    python benchmarks/memory_check.py [--distinct]

Links to the same photos by default; `--distinct` makes every file's bytes different, so that each
is decoded and compared, which links are not. Promise: at most 150 MB more for 50,000.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

LIMIT_MB = 150


def main() -> int:
    """Run, print one JSON object, and fail above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--sizes", type=int, nargs=2, default=(1_000, 50_000))
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        print(json.dumps(measure(args.of)))
        return 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for num in args.sizes:
            data = Path(folder) / str(num)
            make(data, num, distinct=args.distinct)
            command = [sys.executable, __file__, "--of", str(data)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results.append(json.loads(out))
    more = results[1]["peak_mb"] - results[0]["peak_mb"]
    print(json.dumps({"runs": results, "more_mb": round(more, 1), "limit_mb": LIMIT_MB}))
    return int(more > LIMIT_MB)


def measure(data: Path) -> dict[str, float]:
    """Check a data set in this process."""
    from pocketlens.workflows.check import check
    from pocketlens.workflows.data import read_dataset

    start = time.perf_counter()
    result = check(read_dataset(data))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - start
    return {
        "num_samples": result.num_samples,
        "peak_mb": round(peak_mb, 1),
        "seconds": round(seconds, 1),
    }


def make(data: Path, num: int, *, distinct: bool) -> None:
    """Write `num` photos in ten classes: links to twenty photos, or different ones."""
    rng = np.random.default_rng(0)
    photos = data.with_name(f"{data.name}_photos")
    photos.mkdir()
    for i in range(20):
        (photos / f"{i}.jpg").write_bytes(_jpeg(rng, 400))
    for i in range(num):
        file = data / f"class{i % 10}" / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if distinct:
            file.write_bytes(_jpeg(rng, 64))
        else:
            os.symlink(photos / f"{i % 20}.jpg", file)


def _jpeg(rng: np.random.Generator, side: int) -> bytes:
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
