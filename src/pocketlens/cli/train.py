"""`pocketlens train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Out, Overwrite, Resume, Threads
from pocketlens.training.config import TrainConfig

_TRAIN, _DATA = TrainConfig(), DataOptions()


def run(
    data: Path,
    /,
    *,
    out: Out,
    train: Annotated[TrainConfig, Parameter(name="*")] = _TRAIN,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    keep_split: Path | None = None,
    threads: Threads = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a network on labelled photos.

    Leaves the float bundle in OUT, and history, curves, confusion matrix, split and checkpoints
    in OUT.run.

    Example: `pocketlens train photos/ --out runs/a --epochs 10`

    Parameters
    ----------
    data
        Folder with one folder a class, a table (CSV), COCO, YOLO, VOC or AI-Hub data, or a YAML
        file that describes some.
    keep_split
        Earlier bundle whose photos keep their part of the split.
    """
    from pocketlens.workflows.train import train as train_workflow

    bundle = train_workflow(
        reading.read(data),
        out=out,
        config=train,
        keep_split=keep_split,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
    )
    print(bundle.path)
