"""`pocketlens zoo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, Overwrite, Resume, Threads, print_json
from pocketlens.training.config import TrainConfig

_TRAIN, _DATA = TrainConfig(), DataOptions()


def run(
    data: Path | None = None,
    /,
    *,
    models: str | None = None,
    classes: int | None = None,
    out: Path | None = None,
    train: Annotated[TrainConfig, Parameter(name="*")] = _TRAIN,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    threads: Threads = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Many architectures side by side.

    Without DATA parameters, operations and size only. With DATA each is trained on the same split
    and scored; leaves the bundles, zoo.csv and zoo.md in OUT. One that fails is a row with its
    reason.

    Example: `pocketlens zoo --models mobilenetv3_small_100,resnet18 --classes 11 --image-size 224`

    Parameters
    ----------
    data
        Labelled photos to train on.
    models
        Names with commas between; default: the forty of a published table.
    classes
        Classes of the counted networks; default 1000.
    out
        Directory to make.
    """
    from pocketlens.workflows import zoo as workflow

    names = None if models is None else [name for name in models.split(",") if name.strip()]
    found = workflow.zoo(
        None if data is None else reading.read(data),
        models=names and [name.strip() for name in names],
        num_classes=classes,
        out=out,
        config=train,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
    )
    if json:
        print_json(found.to_dict())
    else:
        print(workflow.describe(found), end="")
