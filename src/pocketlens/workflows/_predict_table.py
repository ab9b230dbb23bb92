"""A CSV table of images to predict, with boxes and labels where it has such columns.

Columns and photos are found as for labelled data (`datasets.csv`); a `predictions.csv` can be read
again, boxes and all. A row whose photo isn't there stays a row, with its error.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pocketlens.core.dataset import LABEL_SEPARATOR, Box
from pocketlens.core.errors import DataError
from pocketlens.core.problems import Findings
from pocketlens.core.text import csv_cell
from pocketlens.datasets._layout import IMAGE_COLUMNS, LABEL_COLUMNS, header
from pocketlens.datasets._photos import MESSAGES, as_box
from pocketlens.datasets.csv import Photos

_SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"))


class TableRow(NamedTuple):
    """One row; `file` is None where there is nothing to read, and `error` says why."""

    name: str
    file: str | None
    box: Box | None = None
    labels: tuple[str, ...] | None = None
    error: str | None = None


def read_table(path: str) -> list[TableRow]:
    """All rows of a table.

    Raises:
        DataError: it can't be read, has no column of images, or no row.
    """
    table = Path(path)
    try:
        names, delimiter = header(table)
        lower = [name.lower() for name in names]
        image = next((lower.index(name) for name in IMAGE_COLUMNS if name in lower), None)
        if image is None:
            raise DataError(
                f"{path} has none of the columns {', '.join(IMAGE_COLUMNS)}; it has "
                f"{', '.join(names[:20]) or 'none'}: rename the one with the images"
            )
        # A column of labels beside probabilities is what a network said, not what is true.
        answers = any(name.startswith("prob_") for name in lower)
        label = next((lower.index(name) for name in LABEL_COLUMNS if name in lower), None)
        label = None if answers else label
        photos = Photos(table.parent, Findings(MESSAGES))
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.reader(file, delimiter=delimiter)
            next(rows, None)
            found = [_row(row, image, label, lower, photos, table.parent) for row in rows if row]
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} is no CSV table: {error}") from error
    if not found:
        raise DataError(f"{path} has no row; name the images in its column {names[image]}")
    return found


def _row(
    row: list[str],
    image: int,
    label: int | None,
    columns: Sequence[str],
    photos: Photos,
    root: Path,
) -> TableRow:
    cells = dict(zip(columns, row, strict=False))
    name = row[image].strip() if image < len(row) else ""
    text = row[label] if label is not None and label < len(row) else ""
    parts = (part.strip() for part in text.split(LABEL_SEPARATOR))
    truth = tuple(dict.fromkeys(part for part in parts if part)) or None
    file = photos.find(name)
    if file is None and name.startswith("'") and csv_cell(name[1:]) == name:
        # As `predict` itself writes a name that a spreadsheet would take for a formula.
        name = name[1:]
        file = photos.find(name)
    if file is None and "\0" not in name and os.path.isfile(name):
        file = os.path.abspath(name)  # as `predict` itself writes names, from where it ran
    if file is None:
        several = photos.is_ambiguous(name)
        reason = "several photos have this name" if several else "the photo isn't there"
        return TableRow(name, None, None, truth, reason)
    box, wrong = _box(cells)
    path = os.path.join(root, file)
    return TableRow(path, None if wrong else path, box, truth, wrong)


def _box(cells: dict[str, str]) -> tuple[Box | None, str | None]:
    """The row's box, if it has one, or what is wrong with it."""
    given = [cells.get("box", "").strip()]
    found = (sides for sides in _SIDES if all(side in cells for side in sides))
    given += [",".join(cells[side].strip() for side in sides) for sides in found]
    text = next((text for text in given if text.strip(",")), "")
    if not text:
        return None, None
    try:
        box = as_box([float(value) for value in text.split(",")])
    except ValueError:
        box = None
    return box, None if box else f"the box {text!r} is not x,y,width,height in pixels"
