"""Peak memory of a verb on 1,000 and on 50,000 samples, each in a process of its own.

    python benchmarks/memory.py check|evaluate|predict|calibrate [--distinct] [--classes N]

Links to the same photos by default; `--distinct` makes every file's bytes different. `--classes`
asks a network that knows so many classes, ten of which the photos have; for `check`, which asks no
network, they have all. `calibrate` finds the ranges of static INT8 on all samples. Promise: at most
150 MB more for 50,000.
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
VERBS = ("check", "evaluate", "predict", "calibrate")


def main() -> int:
    """Run, print one JSON object, and fail above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--classes", type=int, default=10, help="10 or more")
    parser.add_argument("--sizes", type=int, nargs=2, default=(1_000, 50_000))
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        print(json.dumps(measure(args.verb, args.of)))
        return 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for num in args.sizes:
            data = Path(folder) / str(num)
            num_classes = args.classes if args.verb == "check" else 10
            make(data, num, distinct=args.distinct, num_classes=num_classes)
            if args.verb != "check" and not (Path(folder) / "bundle").exists():
                make_bundle(Path(folder), args.classes)
            command = [sys.executable, __file__, args.verb, "--of", str(data)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results.append(json.loads(out))
    more = results[1]["peak_mb"] - results[0]["peak_mb"]
    summary = {"verb": args.verb, "classes": args.classes, "runs": results}
    print(json.dumps(summary | {"more_mb": round(more, 1), "limit_mb": LIMIT_MB}))
    return int(more > LIMIT_MB)


def measure(verb: str, data: Path) -> dict[str, float]:
    """Run a verb on a data set in this process."""
    start = time.perf_counter()
    num_samples = run(verb, data)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - start
    return {
        "num_samples": num_samples,
        "peak_mb": round(peak_mb, 1),
        "seconds": round(seconds, 1),
    }


def run(verb: str, data: Path) -> int:
    """Run a verb; returns the number of samples it has seen."""
    import pocketlens as pl

    bundle, out = data.parent / "bundle", data.parent / f"{verb}-{data.name}"
    if verb == "check":
        return pl.check(pl.read_dataset(data)).num_samples
    if verb == "evaluate":
        return pl.evaluate(bundle, data, split="all").num_samples
    if verb == "predict":
        return pl.predict(bundle, data, out=out).num_images
    dataset = pl.read_dataset(data)
    made = pl.compress(
        bundle, method="onnx-static", out=out, calibration=dataset, num_images=len(dataset)
    )
    return int(made.manifest.lineage.config["num_calibrated"])


def make_bundle(folder: Path, num_classes: int) -> None:
    """`folder/bundle`, a small ONNX one; in a process of its own so that torch isn't counted."""
    if num_classes == 10:
        make(folder / "small", 200, distinct=True)
        code = TRAINED
    else:
        code = IMPORTED
        (folder / "names.txt").write_text("".join(f"class{i}\n" for i in range(num_classes)))
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=folder)


TRAINED = """
import pocketlens as pl
settings = dict(model="test_byobnet", weights="none", epochs=1, image_size=32)
pl.export(pl.train("small", out="float", **settings), runtime="onnx", out="bundle")
"""

#: Mean colours times random weights: as many answers as there are names.
IMPORTED = """
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pocketlens as pl

num = len(Path("names.txt").read_text().split())
weight = np.random.default_rng(0).standard_normal((3, num)).astype("f4")
graph = helper.make_graph(
    [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], "head"),
    ],
    "colours",
    [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 32, 32])],
    [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", num])],
    [numpy_helper.from_array(weight, "weight")],
)
opsets = [helper.make_opsetid("", 17)]
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), "net.onnx")
Path("pre.yaml").write_text(
    "{size: 32, resize: stretch, interpolation: bilinear, mean: [0, 0, 0], std: [1, 1, 1]}"
)
pl.import_model("net.onnx", out="bundle", preprocess="pre.yaml", class_names="names.txt")
"""


def make(data: Path, num: int, *, distinct: bool, num_classes: int = 10) -> None:
    """Write `num` photos in so many classes: links to twenty photos, or different ones."""
    rng = np.random.default_rng(0)
    photos = data.with_name(f"{data.name}_photos")
    photos.mkdir()
    for i in range(20):
        (photos / f"{i}.jpg").write_bytes(_jpeg(rng, 400))
    for i in range(num):
        file = data / f"class{i % num_classes}" / f"{i}.jpg"
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
