"""Seconds and peak memory of reading an AI-Hub tree, without and with its cache.

    python benchmarks/aihub_read.py [--sizes 10000 100000]

Each reading is a process of its own. Five pills a photo, JSON files as large as genuine ones.
Promise: time grows as the number of files does (at most a third more a file).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PILLS = 5
CODES = 80


def main() -> int:
    """Run, print one JSON object, and fail where reading isn't linear."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=(10_000, 100_000))
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        print(json.dumps(measure(args.of)))
        return 0
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for num in args.sizes:
            data = Path(folder) / str(num)
            make(data, num)
            environment = {**os.environ, "POCKETLENS_CACHE": f"{folder}/cache"}
            for state in ("cold", "cached"):
                command = [sys.executable, __file__, "--of", str(data)]
                result = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=environment
                )
                runs.append({"state": state, **json.loads(result.stdout)})
    small, _, large, _ = (run["seconds"] / run["num_samples"] for run in runs)
    print(json.dumps({"runs": runs, "growth_per_file": round(large / small, 2)}, indent=1))
    return int(large > 1.33 * small)


def measure(data: Path) -> dict[str, float]:
    """Read a tree in this process."""
    from pocketlens.workflows.data import read_dataset

    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    dataset = read_dataset(data)
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert dataset.format == "aihub"
    return {
        "num_samples": len(dataset),
        "seconds": round(seconds, 2),
        "peak_mb": round(peak_mb, 1),
        "more_mb": round(peak_mb - before_mb, 1),
    }


def make(root: Path, num: int) -> None:
    """A tree of `num` JSON files; its photos are empty, since reading opens none."""
    images, annotations = root / "train_images", root / "train_annotations"
    images.mkdir(parents=True)
    known = {f"field_{i}": "에스오메프라졸마그네슘삼수화물" for i in range(40)}
    for k in range(num):
        photo, pill = divmod(k, PILLS)
        stem, code = f"K-{photo:06d}_0_2_0_2_70_000_200", f"K-{k % CODES:06d}"
        if pill == 0:
            (images / f"{stem}.png").touch()
        folder = annotations / f"{stem}_json" / f"{code}_{pill}"
        folder.mkdir(parents=True)
        image = {"file_name": f"{stem}.png", "width": 976, "height": 1280, "drug_N": code, "id": k}
        image |= {"dl_name": f"drug {code}", "camera_la": 70 + photo % 3, **known}
        value = {
            "images": [image],
            "type": "instances",
            "annotations": [{"bbox": [pill * 100, k % 900, 255, 322], "image_id": k, "id": k}],
            "categories": [{"id": 1, "name": code, "supercategory": "pill"}],
        }
        (folder / f"{stem}.json").write_text(json.dumps(value, ensure_ascii=False, indent=4))


if __name__ == "__main__":
    sys.exit(main())
