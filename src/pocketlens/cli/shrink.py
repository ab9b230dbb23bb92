"""`pocketlens shrink`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, Out, Overwrite, Resume, Threads, print_table
from pocketlens.workflows.shrink import ShrinkConfig

_SHRINK, _DATA = ShrinkConfig(), DataOptions()


def run(
    bundle: Path,
    /,
    *,
    data: Path,
    out: Out,
    shrink: Annotated[ShrinkConfig, Parameter(name="*")] = _SHRINK,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    metric: str | None = None,
    calibration: Path | None = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    threads: Threads = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Try chains of compression steps on a float bundle; keep what is proven.

    A variant is kept only if it was measured on this machine, on photos it never saw, and is
    neither less accurate than allowed nor slower than the float model in its fastest runtime. If
    nothing passes, OUT/best is the float model.

    Example: `pocketlens shrink runs/a --data photos/ --out runs/b --max-drop 0.5`

    Parameters
    ----------
    bundle
        The float bundle that training wrote.
    data
        The photos it was trained on.
    metric
        Score to compare by; default: the one the bundle was chosen by.
    calibration
        Other photos to find INT8 ranges on.
    plan
        Only print what would be tried.
    """
    from pocketlens.workflows import shrink as workflow

    if plan:
        for number, candidate in enumerate(workflow.plan(bundle, reading.read(data), shrink), 1):
            note = ", while nothing keeps to all limits" if candidate.dear else ""
            print(
                f"{number}. {candidate.name}: {candidate.describe()} "
                f"(~{candidate.seconds:.0f} s{note})"
            )
        return
    table = workflow.shrink(
        bundle,
        reading.read(data),
        out=out,
        config=shrink,
        metric=metric,
        calibration=calibration,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
    )
    print_table(table, json=json)
