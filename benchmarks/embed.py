"""What it saves to normalise inside the file: from a photo's bytes to its logits, both ways.

    python benchmarks/embed.py BUNDLE … --photos DIR --out DIR [--repeats 5]

BUNDLE is for torch (float) or ONNX (float or INT8). Each is exported for ONNX Runtime and OpenVINO,
as it is and with `--embed-preprocess`. All are timed in turns, a process each, by the measures
that `compare` uses; the whole is repeated, and medians of the repeats are printed as a table in
Markdown. `whole way` is from the file on disk to logits, one photo at a time; `network` has the
normalisation only where it is embedded, so `normalise` says what it takes in Python.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.predictor import Request, available_cores
from pocketlens.measures.latency import Timing, measure_latency
from pocketlens.workflows.images import find_images

RUNTIMES = ("onnx", "openvino")


def main() -> int:
    """Export, time, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--num-photos", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="blocks of each variant a repeat")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    requests = [Request(file) for file in find_images([given.photos])[: given.num_photos]]
    variants: dict[str, Path] = {}
    normalise_ms: dict[str, float] = {}
    for path in given.bundles:
        bundle = read_bundle(path)
        for runtime in given.runtimes:
            name = f"{bundle.path.name} {bundle.manifest.precision}, {runtime}"
            pair = exported(bundle, runtime, given.out)
            variants |= {f"{name}, outside": pair[0].path, f"{name}, embedded": pair[1].path}
            normalise_ms[name] = normalising(pair[0], requests[0])
    repeats = [
        measure_latency(
            variants, requests, threads=available_cores(), batch=16, rounds=given.rounds
        )
        for _ in range(given.repeats)
    ]
    failed = {f"{n}: {t.failed}" for timings in repeats for n, t in timings.items() if t.failed}
    if failed:
        print("\n".join(sorted(failed)), file=sys.stderr)
        return 1
    print("| file | way | whole way ms | network ms | images/s | whole way, times faster |")
    print("|---|---|---|---|---|---|")
    for name, alone in normalise_ms.items():
        for way in ("outside", "embedded"):
            print(row(name, way, repeats))
        print(f"| | normalise | {alone:.2f} | | | |")
    noisy = sorted({n for timings in repeats for n, t in timings.items() if t.noisy})
    if noisy:
        print(f"\nnoisy, so not to be ranked: {'; '.join(noisy)}")
    return 0


def exported(bundle: Bundle, runtime: str, out: Path) -> tuple[Bundle, Bundle]:
    """The same network as it is, and normalising itself."""
    place = out / f"{bundle.path.name}-{runtime}"
    outside = pl.export(bundle, runtime=runtime, out=place, overwrite=True)
    inside = place.with_name(f"{place.name}-embedded")
    return outside, pl.export(
        bundle, runtime=runtime, out=inside, embed_preprocess=True, overwrite=True
    )


def normalising(bundle: Bundle, request: Request, calls: int = 50) -> float:
    """Median milliseconds of normalising one photo in Python, what embedding takes away."""
    spec = bundle.manifest.preprocess
    assert isinstance(request.source, str | Path)
    image_HWC = spec.fit(spec.decode(Path(request.source).read_bytes()))
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        bundle.manifest.input.of(image_HWC, spec)
        times.append((time.perf_counter() - begin) * 1000)
    return float(np.median(times[3:]))


def row(name: str, way: str, repeats: list[dict[str, Timing]]) -> str:
    """A line of the table; the ratio is the median of those within a repeat."""
    key = f"{name}, {way}"

    def median(of: Callable[[Timing], float]) -> float:
        return float(np.median([of(timings[key]) for timings in repeats]))

    whole = [
        timings[f"{name}, outside"].e2e_latency_ms / timings[key].e2e_latency_ms
        for timings in repeats
    ]
    figures = (
        f"{median(lambda t: t.e2e_latency_ms):.2f}",
        f"{median(lambda t: t.latency_ms):.2f}",
        f"{median(lambda t: t.throughput):.0f}",
        f"{np.median(whole):.3f}",
    )
    return f"| {name if way == 'outside' else ''} | {way} | {' | '.join(figures)} |"


if __name__ == "__main__":
    sys.exit(main())
