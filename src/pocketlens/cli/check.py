"""`pocketlens check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, print_json

_DATA = DataOptions()


def run(
    data: Path,
    /,
    *,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    exclude_to: Path | None = None,
    max_box_height: float = 0.9,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Is this data ready for training?

    Counts by class and split, unreadable files, exact and near duplicates (and those that cross
    splits or labels), sizes, boxes, tiny classes. No photo is moved or deleted.

    Example: `pocketlens check photos/ --exclude-to exclude.csv`

    Parameters
    ----------
    data
        Folder with one folder a class, a table (CSV), COCO, YOLO, VOC or AI-Hub data, or a YAML
        file that describes some.
    exclude_to
        Write the samples that are better left out to this CSV, one reason a line.
    max_box_height
        Share of a photo's height above which a box is listed.
    strict
        Exit with 2 when there is any problem.
    """
    from pocketlens.core.errors import DataError
    from pocketlens.core.text import count_of
    from pocketlens.workflows.check import check, describe

    result = check(reading.read(data), exclude_to=exclude_to, max_box_height=max_box_height)
    if json:
        print_json(result.to_dict())
    else:
        print(describe(result))
    if strict and result.problems:
        raise DataError(f"{data} has problems of {count_of(len(result.problems), 'kind')}")
