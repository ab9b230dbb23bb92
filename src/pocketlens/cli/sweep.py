"""`pocketlens sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import Json, Out, Overwrite, Resume, Threads, print_json


def run(
    space: Path,
    /,
    *,
    out: Out,
    trials: int | None = None,
    keep_all: Annotated[bool, Parameter(negative="")] = False,
    threads: Threads = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Search for the training settings that score best on validation photos.

    SPACE.yaml names the data, what is fixed and what is tried (docs/training.md). All trials have
    the same split, and none sees a test photo: the best alone is scored on them, once. Leaves
    OUT/best (its bundle), OUT/sweep.md, OUT/trials.csv and OUT/study.db. A trial that fails is a
    row with its reason.

    Example: `pocketlens sweep space.yaml --out runs/search --trials 30`

    Parameters
    ----------
    space
        YAML file: `data: photos/`, `fixed: {epochs: 10}`, `space: {lr: {low: 1e-4, high: 1e-2,
        log: true}, optimizer: [adamw, sgd]}`, perhaps metric, trials, minutes, sampler, pruner,
        storage and study.
    trials
        Trials in all, also those of other machines; default: the file's, else 20.
    keep_all
        Keep the bundles of all trials, not of the best alone.
    """
    from pocketlens.workflows import sweep as workflow
    from pocketlens.workflows._sweep_table import describe

    found = workflow.sweep(
        space,
        out=out,
        trials=trials,
        threads=threads,
        keep_all=keep_all,
        resume=resume,
        overwrite=overwrite,
    )
    if json:
        print_json(found.to_dict())
        return
    print(describe(found), end="")
    if found.path is not None:
        print(f"\nBest {found.path}")
