"""One float model in every runtime that is installed, float and INT8, in one measurement.

    python benchmarks/runtimes.py DATA --out DIR [--bundle FLOAT | --model M --epochs N …]

Trains the float model where none is given, makes the variants below (what is there stays, so it
can be interrupted), compares all, and prints the tables that people build by hand: PyTorch float
and INT8 by QAT against ONNX float and dynamic INT8; the float model against ONNX and static INT8;
then all rows, and how far the runtimes of one network lie apart.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.comparison import Row

#: Name -> method, its options, and what it starts from.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "torch-int8-qat": ("pt2e-qat", {"epochs": 2}),
    "onnx-int8-dynamic": ("onnx-dynamic", {}),
    "onnx-int8-static": ("onnx-static", {}),
    "pt2e-int8": ("pt2e-static", {"quantizer": "xnnpack"}),
    "litert-int8": ("litert-static", {}),
}
#: Name -> what is exported, and to which runtime.
EXPORTS = {
    "onnx": ("torch", "onnx"),
    "openvino": ("torch", "openvino"),
    "openvino-int8-static": ("onnx-int8-static", "openvino"),
    "executorch": ("torch", "executorch"),
    "executorch-int8": ("pt2e-int8", "executorch"),
    "litert": ("torch", "litert"),
}
FOUR = ("torch", "torch-int8-qat", "onnx", "onnx-int8-dynamic")
THREE = ("torch", "onnx", "onnx-int8-static")


def main() -> int:
    """Make, compare, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--bundle", type=Path, help="a float model; else one is trained")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    made = {"torch": _float(given)}
    for name, (method, options) in METHODS.items():
        if method == "pt2e-qat" and made["torch"].manifest.model["family"] == "compact":
            method = "eager-qat"  # which needs quantization stubs, and others lack them
        place = given.out / name
        if bundle := _there(place):
            made[name] = bundle
            continue
        try:
            made[name] = pl.compress(
                made["torch"], method=method, out=place, data=given.data, **options
            )
        except pl.UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
    for name, (source, runtime) in EXPORTS.items():
        if source not in made:
            continue
        place = given.out / name
        try:
            made[name] = _there(place) or pl.export(made[source], runtime=runtime, out=place)
        except pl.UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
    bundles = [bundle for name, bundle in made.items() if name != "pt2e-int8"]
    table = pl.compare(
        bundles, given.data, out=given.out / "table", reference=made["torch"], overwrite=True
    )
    rows = {row.name: row for row in table.rows}
    rows["torch"] = rows.pop(made["torch"].path.resolve().name)
    for title, names in (("Four ways", FOUR), ("Three ways", THREE), ("All", tuple(rows))):
        print(f"\n### {title}\n\n{_markdown([(name, rows.get(name)) for name in names])}")
    print("\n### One network in several runtimes\n")
    print("| runtimes | same answer % | largest difference | largest logit | photos |")
    print("|---|---|---|---|---|")
    for pair in table.comparison.parity:
        print(
            f"| {pair.rows[0]}, {pair.rows[1]} | {pair.agreement:.1f} | {pair.largest:.2g} "
            f"| {pair.scale:.2g} | {pair.num_photos} |"
        )
    return 0


def _there(place: Path) -> Bundle | None:
    return read_bundle(place) if (place / "manifest.json").exists() else None


def _float(given: argparse.Namespace) -> Bundle:
    if given.bundle:
        return read_bundle(given.bundle)
    place = given.out / "torch"
    return _there(place) or pl.train(
        given.data,
        model=given.model,
        out=place,
        image_size=given.image_size,
        epochs=given.epochs,
        resume=place.with_name("torch.run").exists(),
    )


def _markdown(rows: list[tuple[str, Row | None]]) -> str:
    lines = [
        "| variant | accuracy % | cross entropy | images/s | ms an image | place | memory MB "
        "| cold start ms | % of peak | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows:
        if row is None or row.score is None or row.latency_ms is None:
            why = "not made" if row is None else row.reason
            lines.append(f"| {name} | | | | | | | | | {why} |")
            continue
        noisy = "~" if row.noisy else ""
        lines.append(
            f"| {name} | {row.metrics['accuracy']:.2f} | {row.loss:.4f} "
            f"| {noisy}{row.throughput:.0f} | {noisy}{row.latency_ms:.2f} "
            f"| {row.rank_best}–{row.rank_worst} | {(row.memory_bytes or 0) / 1e6:.0f} "
            f"| {row.cold_start_ms:.0f} | {row.roofline_percent or 0:.0f} | {row.verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
