"""`predict` end to end, against what this machine allows and against a plain PyTorch loop.

    python benchmarks/predict.py PHOTOS --model mobilenetv3_small_100 [--num 10000] [--rounds 3]

The limit is cores / (decoding + resizing + network), in core-seconds an image, each measured alone
on one thread: what is left out of it (reading files, normalising, batching, writing CSV, JSON,
overlays, sheets and the report) is what `predict` may not cost. The loop is Pillow + torchvision's
transforms + PyTorch eager with all cores at the same batch; it writes nothing. Weights are random,
which costs the same. Measured in turns; ratios are of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

BATCH = 8
RUNTIMES = ("onnx", "openvino")


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="mobilenetv3_small_100")
    parser.add_argument("--num", type=int, default=2_000, help="photos that predict is given")
    parser.add_argument("--loop", type=int, default=400, help="photos that the loop is given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES)
    parser.add_argument("--of", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of:
        print(json.dumps(_predict(*given.of)))
        return 0
    from pocketlens.core.decode import SUFFIXES

    files = sorted(p for p in given.photos.rglob("*") if p.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bundles = _bundles(place, given.model, given.runtimes)
        many = place / "photos"
        many.mkdir()
        for i in range(given.num):
            os.symlink(files[i % len(files)].resolve(), many / f"{i:06d}.jpg")
        # The same photos for all: those that lie evenly among them.
        some = files[:: max(1, len(files) // 200)]
        loop = _loop(place / "torch", (some * (given.loop // len(some) + 1))[: given.loop])
        for runtime, bundle in bundles.items():
            _compare(given, runtime, bundle, many, some, loop)
    return 0


def _compare(
    given: argparse.Namespace,
    runtime: str,
    bundle: Path,
    many: Path,
    files: Sequence[Path],
    loop: Callable[[], float],
) -> None:
    from pocketlens.core.predictor import available_cores

    shares, ratios, ours, limits, peaks = [], [], [], [], []
    for _ in range(given.rounds):
        costs = _stages(bundle, files)
        limit = available_cores() / sum(costs.values())
        found = _in_child(many, bundle)
        theirs = loop()
        ours.append(found["rate"])
        limits.append(limit)
        shares.append(100 * found["rate"] / limit)
        ratios.append(found["rate"] / theirs)
        peaks.append(found["peak_mb"])
        parts = ", ".join(f"{name} {1e3 * cost:.2f} ms" for name, cost in costs.items())
        print(
            f"{given.model}, {runtime}: {parts}; limit {limit:.0f}/s, predict "
            f"{found['rate']:.0f}/s, loop {theirs:.0f}/s",
            file=sys.stderr,
        )
    print(
        f"| {given.model}, {runtime} | {median(limits):.0f} | {median(ours):.0f} "
        f"| {_spread(shares)} % | {_spread(ratios, 2)} | {max(peaks):.0f} |",
        flush=True,
    )


def _spread(values: Sequence[float], digits: int = 0) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def _bundles(place: Path, model: str, runtimes: Sequence[str]) -> dict[str, Path]:
    import timm
    import torch
    from safetensors.torch import save_file

    import pocketlens as pl

    torch.manual_seed(0)
    save_file(timm.create_model(model).state_dict(), place / "weights.safetensors")
    made = pl.import_model(model, out=place / "torch", weights=place / "weights.safetensors")
    found = {}
    for runtime in ("onnx", *(name for name in runtimes if name != "onnx")):
        made = pl.export(made, runtime=runtime, out=place / runtime)
        if runtime in runtimes:
            found[runtime] = made.path
    return found


def _stages(bundle: Path, files: Sequence[Path]) -> dict[str, float]:
    """Core-seconds an image of each stage, alone on one thread."""
    from PIL import Image

    from pocketlens import plugins
    from pocketlens.core.bundle import read_bundle
    from pocketlens.core.decode import decode_image
    from pocketlens.core.session import SessionOptions

    opened = read_bundle(bundle)
    spec, takes = opened.manifest.preprocess, opened.manifest.input
    session = plugins.load("runtimes", opened.manifest.runtime).open(opened, SessionOptions(1))
    contents = [path.read_bytes() for path in files]
    images, decoding = _timed(decode_image, contents)

    def resize(image: Image.Image) -> Any:
        return spec._fit(image)  # what the fused way calls, without a copy before it

    fitted, resizing = _timed(resize, images)
    inputs = [takes.of(image, spec) for image in fitted]
    batches = [np.stack(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    _, network = _timed(session, batches)
    return {"decoding": decoding, "resizing": resizing, "network": network / BATCH}


def _timed(work: Callable[[Any], Any], items: Sequence[Any]) -> tuple[list[Any], float]:
    """Results, and seconds an item: the least of three rounds, which disturbs the limit least."""
    results = [work(item) for item in items]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for item in items:
            work(item)
        seconds.append((time.perf_counter() - start) / len(items))
    return results, min(seconds)


def _in_child(many: Path, bundle: Path) -> dict[str, float]:
    command = [sys.executable, __file__, str(many), "--of", str(bundle), str(many)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(out)
    return found


def _predict(bundle: Path, many: Path) -> dict[str, float]:
    import pocketlens as pl

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        number = pl.predict(bundle, many, out=Path(folder) / "out").num_images
        seconds = time.perf_counter() - start
    # Not getrusage: that hands a child its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"rate": number / seconds, "peak_mb": peak_mb}


def _loop(bundle: Path, files: Sequence[Path]) -> Callable[[], float]:
    """Images a second of a loop as people write it."""
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    from pocketlens.core.bundle import read_bundle
    from pocketlens.runtimes._module import restore

    opened = read_bundle(bundle)
    spec, network = opened.manifest.preprocess, restore(opened).eval()
    way = transforms.Compose(
        [
            transforms.Resize(int(spec.height / spec.crop_pct), InterpolationMode.BICUBIC),
            transforms.CenterCrop(spec.height),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )

    def run() -> float:
        start = time.perf_counter()
        answers = []
        with torch.inference_mode():
            for i in range(0, len(files), BATCH):
                photos = [Image.open(path).convert("RGB") for path in files[i : i + BATCH]]
                logits_NK = network(torch.stack([way(photo) for photo in photos]))
                answers += logits_NK.softmax(1).max(1).indices.tolist()
        return len(answers) / (time.perf_counter() - start)

    run()
    return run


if __name__ == "__main__":
    sys.exit(main())
