"""`pocketlens fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, Out, Overwrite, Resume, Threads, print_table
from pocketlens.training.config import TrainConfig
from pocketlens.workflows.shrink import ShrinkConfig

_TRAIN, _SHRINK, _DATA = TrainConfig(), ShrinkConfig(), DataOptions()


def run(
    data: Path,
    /,
    *,
    out: Out,
    train: Annotated[TrainConfig, Parameter(name="*")] = _TRAIN,
    shrink: Annotated[ShrinkConfig, Parameter(name="*")] = _SHRINK,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    keep_split: Path | None = None,
    calibration: Path | None = None,
    threads: Threads = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """From a folder of labelled photos to the model to ship, with the evidence.

    Leaves OUT/best (the bundle to ship), OUT/model (the float model), OUT/variants,
    OUT/compare.json and OUT/report.html.

    Example: `pocketlens fit photos/ --out runs/fruit --epochs 10 --max-drop 0.5`

    Parameters
    ----------
    data
        Folder with one folder a class, a table (CSV), COCO, YOLO, VOC or AI-Hub data, or a YAML
        file that describes some.
    keep_split
        Earlier bundle whose photos keep their part of the split.
    calibration
        Other photos to find INT8 ranges on.
    """
    from pocketlens.workflows.fit import fit

    table = fit(
        reading.read(data),
        out=out,
        train_config=train,
        shrink_config=shrink,
        keep_split=keep_split,
        calibration=calibration,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
    )
    print_table(table, json=json)
