"""`pocketlens compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, Out, Overwrite, Threads, print_table
from pocketlens.core.gate import Goal

_DATA = DataOptions()


def run(
    *bundles: Path,
    data: Path,
    out: Out,
    reference: Path | None = None,
    metric: str | None = None,
    max_drop: float = 0.5,
    max_size_mb: float | None = None,
    max_latency_ms: float | None = None,
    goal: Goal = "latency",
    throughput_batch: int = 16,
    emulate: Literal["arm64"] | None = None,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """One table for any number of bundles, all measured the same way.

    Leaves compare.json, compare.csv and report.html in OUT.

    Example: `pocketlens compare runs/a runs/a-onnx runs/a-int8 --data photos/ --out runs/table`

    Parameters
    ----------
    bundles
        Bundles for the same classes, trained on the same split.
    data
        The photos they were trained on; each is scored on the test part.
    reference
        Float bundle that drops are counted from; default: the one that all others were made from.
    metric
        macro_f1, accuracy or map; default: the one the reference was chosen by.
    max_drop
        Points of the metric that may be lost.
    max_size_mb
        Largest size of what is shipped, in megabytes.
    max_latency_ms
        Longest time for one photo, network alone.
    goal
        What is best among those that pass.
    throughput_batch
        Photos at a time for the throughput.
    emulate
        Processor on which ONNX and .pte files answer a few photos too, in QEMU: what a phone would
        say, never how fast.
    """
    from pocketlens.workflows.compare import compare

    table = compare(
        bundles,
        reading.read(data),
        out=out,
        reference=reference,
        metric=metric,
        max_drop=max_drop,
        max_size_mb=max_size_mb,
        max_latency_ms=max_latency_ms,
        goal=goal,
        threads=threads,
        batch=throughput_batch,
        emulate=emulate,
        overwrite=overwrite,
    )
    print_table(table, json=json)
