"""What compression does to one float model: every variant on the same photos, in one measurement.

    python benchmarks/compress.py BUNDLE --data DATA --out DIR [--only NAME …] [--max-drop 0.5]

Makes the variants below (what is there already stays, so it can be interrupted), opens each INT8
file in ONNX Runtime and in OpenVINO, compares all with `pocketlens compare`, and prints a table in
Markdown: score and drop on test photos with its interval, size as a share of the float file, and
speed as a multiple of the float model in its fastest runtime.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle

#: Name -> methods and options. `plain` is what other tools ship: all in INT8, min-max ranges.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("onnx-static", {"keep_float": "none", "float_logits": False}),
    "static": ("onnx-static", {}),
    "static-mse": ("onnx-static", {"ranges": "mse"}),
    "nncf": ("nncf", {}),
    "nncf-full": ("nncf", {"bias_correction": "full"}),
    "bias-correction": ("bias-correction", {}),
    "adaround": ("adaround", {}),
    "lsq": ("lsq", {}),
    "lsq4": ("lsq", {"bits": 4, "epochs": 8, "lr": 5e-4}),
    "prune50": ("prune", {"ratio": 0.5, "epochs": 8}),
    "prune30-lsq": ("prune,lsq", {"prune:ratio": 0.3, "prune:epochs": 6, "lsq:epochs": 4}),
    "prune50-lsq": ("prune,lsq", {"prune:ratio": 0.5, "prune:epochs": 8, "lsq:epochs": 4}),
    "prune70-distill-lsq": (
        "prune,distill,lsq",
        {"prune:ratio": 0.7, "prune:epochs": 4, "distill:epochs": 10, "lsq:epochs": 4},
    ),
    "relu6-lsq": (
        "activation-exchange,lsq",
        {"activation-exchange:epochs": 10, "lsq:epochs": 4},
    ),
    "relu6-ema-lsq": (
        "activation-exchange,lsq",
        {
            "activation-exchange:epochs": 10,
            "activation-exchange:ema": 0.99,
            "lsq:epochs": 4,
            "lsq:ema": 0.99,
        },
    ),
    "relu6-bias": (
        "activation-exchange,bias-correction",
        {"activation-exchange:epochs": 14, "bias-correction:ranges": "percentile"},
    ),
    "relu6-prune50-lsq": (
        "activation-exchange,prune,lsq",
        {
            "activation-exchange:epochs": 10,
            "prune:ratio": 0.5,
            "prune:epochs": 8,
            "lsq:epochs": 4,
        },
    ),
}


def main() -> int:
    """Make, compare, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--only", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--make-only", action="store_true", help="measure later")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    bundles = [read_bundle(given.bundle), *floats(given.bundle, given.out)]
    for name in given.only:
        bundles += variants(name, given)
    if given.make_only:
        return 0
    table = pl.compare(
        bundles,
        given.data,
        out=given.out / "table",
        reference=given.bundle,
        max_drop=given.max_drop,
        overwrite=True,
    )
    print(markdown(table))
    return 0


def floats(bundle: Path, out: Path) -> list[Bundle]:
    """The float model in the other runtimes."""
    found = []
    network_id = read_bundle(bundle).network_id
    for runtime in ("onnx", "openvino", "executorch"):
        place = out / f"float-{runtime}"
        there = (place / "manifest.json").exists()
        if not there or read_bundle(place).network_id != network_id:
            pl.export(bundle, runtime=runtime, out=place, overwrite=True)
        found.append(read_bundle(place))
    return found


def variants(name: str, given: argparse.Namespace) -> list[Bundle]:
    """One variant in ONNX Runtime and in OpenVINO; none, with a word why, where it can't be."""
    method, options = VARIANTS[name]
    place = given.out / name
    began = time.monotonic()
    try:
        made = pl.compress(
            given.bundle,
            method=method,
            out=place,
            data=given.data,
            calibration=given.calibration,
            resume=place.exists() or place.with_name(f"{name}.run").exists(),
            **options,
        )
    except pl.UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return []
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if made.manifest.precision == "float32":
        return [
            pl.export(made, runtime=runtime, out=given.out / f"{name}-{runtime}", overwrite=True)
            for runtime in ("onnx", "openvino")
        ]
    twin = given.out / f"{name}-openvino"
    return [made, pl.export(made, runtime="openvino", out=twin, overwrite=True)]


def markdown(table: Any) -> str:
    """The rows, fastest first."""
    reference = next(r for r in table.rows if r.name == table.comparison.reference)
    rows = sorted(table.rows, key=lambda row: row.latency_ms or float("inf"))
    metric = reference.metric
    lines = [
        f"| variant | runtime | {metric} % | lost on test [95 %] | on validation | agreement % "
        "| size, % of float | ms | x fastest float | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.score is None:
            lines.append(f"| {row.name} | | | | | | | | | {row.verdict}: {row.reason} |")
            continue
        noisy = "~" if row.noisy else ""
        val = "" if row.val_drop is None else f"{row.val_drop:.2f}"
        lines.append(
            f"| {row.name} | {row.runtime} | {row.score:.2f} "
            f"| {row.drop:.2f} [{row.drop_low:.2f}, {row.drop_high:.2f}] | {val} "
            f"| {row.agreement:.1f} | {100 * row.size_bytes / reference.size_bytes:.1f} "
            f"| {noisy}{row.latency_ms:.2f} | {noisy}{row.speedup_float:.2f} | {row.verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
