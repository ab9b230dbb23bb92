"""The list of what is left out: a CSV of `filename,box,reason`, written by `check`.

`box` is `x,y,width,height`, or empty for the whole photo. People may edit the file; only
`filename` is needed.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pocketlens.core.dataset import Box, Dataset, Sample
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.text import csv_cell

COLUMNS: Final = ("filename", "box", "reason")


class Excluded(NamedTuple):
    """A photo, or one box of it, and why it is left out."""

    filename: str
    box: Box | None
    reason: str


@dataclass(frozen=True)
class Kept:
    """What is left of a data set, and the entries that named nothing in it."""

    dataset: Dataset
    unmatched: tuple[str, ...]


def write_exclusions(path: Path, entries: Iterable[Excluded]) -> int:
    """Write the list whole or not at all, and give the number of entries.

    Raises:
        UserError: a file that is no such list lies there, or it can't be written.
    """
    try:
        if path.exists() and path.stat().st_size and not _is_exclusion_file(path):
            raise UserError(
                f"{path} exists and is no list of excluded photos; choose another name for it"
            )
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        count = 0
        try:
            # surrogateescape: file names may hold bytes that are no UTF-8.
            with temporary.open(
                "w", newline="", encoding="utf-8", errors="surrogateescape"
            ) as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                for entry in entries:
                    row = (_text(entry.box), entry.reason)
                    writer.writerow((_cell(entry.filename), *map(csv_cell, row)))
                    count += 1
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from error
    return count


def read_exclusions(path: Path) -> list[Excluded]:
    """The entries of a list.

    Raises:
        DataError: it can't be read, has no column `filename`, or a box is no box.
    """
    entries: list[Excluded] = []
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            if "filename" not in (reader.fieldnames or ()):
                raise DataError(f"{path} has no column 'filename'; it needs {','.join(COLUMNS)}")
            for row in reader:
                if name := row["filename"]:
                    box = _box(row.get("box") or "", f"{path}, line {reader.line_num}")
                    entries.append(Excluded(name, box, row.get("reason") or ""))
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}") from error
    return entries


def exclude(dataset: Dataset, entries: Iterable[Excluded]) -> Kept:
    """Leave out what the entries name; an entry without a box takes all boxes of its photo.

    Classes stay, so that leaving out photos never changes what a network's outputs mean.

    Raises:
        DataError: nothing would be left.
    """
    unused = {
        (_normal(dataset.root, entry.filename), _text(entry.box)): entry.filename
        for entry in entries
    }
    named = frozenset(unused)

    def kept(sample: Sample) -> bool:
        path = os.path.normpath(sample.path)
        whole, part = (path, ""), (path, _text(sample.box))
        if whole not in named and part not in named:
            return True
        unused.pop(whole, None)
        unused.pop(part, None)
        return False

    samples = [sample for sample in dataset.samples if kept(sample)]
    if not samples:
        raise DataError("the list of excluded photos names all of them; nothing is left to use")
    return Kept(dataset.subset(samples), tuple(unused.values()))


def _is_exclusion_file(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.readline(100).decode("utf-8-sig", "replace")
    return head.strip().replace('"', "") == ",".join(COLUMNS)


def _cell(filename: str) -> str:
    # `./` keeps a spreadsheet from running the name as a formula and is still the same path.
    return filename if csv_cell(filename) == filename else f"./{filename}"


def _text(box: Box | None) -> str:
    return "" if box is None else str(box)


def _normal(root: Path, filename: str) -> str:
    if os.path.isabs(filename):
        relative = os.path.relpath(filename, os.path.abspath(root))
        return os.path.normpath(filename) if relative.startswith("..") else relative
    return os.path.normpath(filename)


def _box(text: str, where: str) -> Box | None:
    if not text.strip():
        return None
    try:
        return Box(*(float(value) for value in text.lstrip("'").split(",")))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the box must be x,y,width,height, not {text!r}") from error
