"""Flags that several verbs share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from pocketlens.core.dataset import Dataset, SplitGroups

if TYPE_CHECKING:
    from pocketlens.workflows._result import Table


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """How to read DATA."""

    format: str | None = None
    """Format of DATA; recognised by default (`pocketlens plugins` lists all)."""

    exclude: Path | None = None
    """CSV of samples to leave out (filename, box, reason), as `check --exclude-to` writes it."""

    group_column: str | None = None
    """Column of a table whose samples must stay together in the split."""

    labels: Literal["photos", "boxes"] | None = None
    """Annotated photos (COCO, YOLO, VOC): each photo with all its labels, or each box with one;
    default: photos."""

    split_groups: SplitGroups | None = None
    """Groups (patients, fabrics): across keeps each in one part of the split, inside divides each;
    default: across."""

    def read(self, path: Path) -> Dataset:
        """The data set."""
        from pocketlens.workflows.data import read_dataset

        return read_dataset(
            path,
            format=self.format,
            exclude=self.exclude,
            group_column=self.group_column,
            labels=self.labels,
            split_groups=self.split_groups,
        )


Overwrite = Annotated[bool, Parameter(negative="", help="Replace what was made at --out before.")]
Resume = Annotated[bool, Parameter(negative="", help="Go on where an interrupted run stopped.")]
Json = Annotated[bool, Parameter(negative="", help="Print the result as one JSON object.")]
MapMethod = Literal["auto", "gradcam", "gradcam++", "eigencam", "occlusion"]
Threads = Annotated[
    int | None,
    Parameter(help="Processor threads; default: all cores.", validator=validators.Number(gte=1)),
]
Out = Annotated[Path, Parameter(help="Directory to make; it must not exist yet.")]


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(table: Table, *, json: bool) -> None:
    """A comparison: as one JSON object, or as the table with what to do next."""
    if json:
        print(table.comparison.to_json(), end="")
        return
    print(table)
    ship = f"Ship {table.best}\n" if table.best == table.out / "best" else ""
    print(f"\n{ship}Report {table.out / 'report.html'}")
