"""A CSV table with an image and a label column, optionally group and split.

Several labels of one photo are joined by `|`. Columns are found by their usual names, or named
in the options. Paths are relative to the table, or absolute; where a name alone is given
(`ISIC_0027388`, `IMG_1.jpg`), the photo is looked for in the folders below.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from pocketlens.core.dataset import LABEL_SEPARATOR, Dataset, Part, Sample, Task, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    header,
    is_hidden,
    is_photo,
    part_of,
    table_in,
)
from pocketlens.datasets._photos import MESSAGES, files_below

EXTRA = ""

#: In the order of preference: a patient's photos must stay together, not only a lesion's.
_GROUP_COLUMNS: Final = (
    "group", "group_id", "patient_id", "patient", "subject_id", "subject", "lesion_id", "fabric",
)  # fmt: skip
_SPLIT_COLUMNS: Final = ("split", "set", "subset", "part")

_MESSAGES: Final = {
    "missing_photo": "rows whose photo isn't there; mend the path or remove the row",
    "ambiguous_photo": "rows whose name fits photos in several folders; give the path",
    "missing_label": "rows without a label are not used; label them or remove them",
    "unknown_split": "rows whose split is none of train, val, test are not used",
    "repeated_row": "rows that repeat an earlier one are not used",
    "conflicting_rows": "photos with rows of different labels are not used; keep one row each, "
    "or join several labels of one photo with |",
    "photo_without_annotation": "photos beside those of the table that no row names are not "
    "used; add rows",
    **{kind: MESSAGES[kind] for kind in ("unreadable_folder", "broken_link")},
}


@dataclass(frozen=True)
class Config:
    """Column names where they aren't found by themselves.

    Attributes:
        image_column, label_column, split_column: names in the table's first line.
        group_column: likewise; `none` for no groups.
        multi_label: whether a photo may have several labels or none; else it is told from `|`.
    """

    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    multi_label: bool = False


class _Columns(NamedTuple):
    image: int
    label: int
    group: int | None
    split: int | None
    extra: tuple[int, ...]


def recognises(root: Path) -> bool:
    """A .csv file, or a folder that one describes."""
    return _table(root) is not None


def read(root: Path, config: Config) -> Dataset:
    """All rows whose photo is there.

    Raises:
        DataError: the table can't be read, has no image or label column, or no usable row.
    """
    table = _table(root)
    if table is None:
        raise DataError(f"{root} has no labels.csv; name the .csv file itself")
    findings = Findings(_MESSAGES)
    try:
        names, delimiter = header(table)
        columns = _columns(table, names, config)
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, delimiter=delimiter)
            next(rows, None)
            photos = Photos(table.parent, findings)
            samples = list(_samples(photos, rows, columns, findings))
    except OSError as error:
        raise DataError(f"{table} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 text; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{table} is no CSV table: {error}") from error
    if root.is_dir():  # a table given by name doesn't speak for the photos of others
        photos.tell_unnamed()
    several = config.multi_label or any(len(sample.labels) > 1 for sample in samples)
    task: Task = "multi_label" if several else "single_label"
    return make_dataset(
        table.parent,
        "csv",
        _united(samples, findings) if several else _agreeing(samples, findings),
        task=task,
        extra_columns=tuple(names[i] for i in columns.extra),
        problems=findings.problems(),
    )


def _table(root: Path) -> Path | None:
    if root.is_dir():
        return table_in(root)
    return root if root.suffix.lower() == ".csv" else None


def _columns(table: Path, names: Sequence[str], config: Config) -> _Columns:
    lower = [name.lower() for name in names]

    def find(wanted: str | None, usual: Sequence[str]) -> int | None:
        if wanted is not None:
            if wanted.lower() not in lower:
                raise DataError(f"{table} has no column {wanted!r}; it has {', '.join(names)}")
            return lower.index(wanted.lower())
        return next((lower.index(name) for name in usual if name in lower), None)

    def need(option: str, wanted: str | None, usual: Sequence[str]) -> int:
        if (found := find(wanted, usual)) is None:
            raise DataError(
                f"{table} has none of the columns {', '.join(usual)}; it has "
                f"{', '.join(names) or 'none'}: rename one, or name it by "
                f"`{option}_column:` in a YAML file that describes the data"
            )
        return found

    image = need("image", config.image_column, IMAGE_COLUMNS)
    label = need("label", config.label_column, LABEL_COLUMNS)
    no_group = (config.group_column or "").lower() == "none" and "none" not in lower
    group = None if no_group else find(config.group_column, _GROUP_COLUMNS)
    split = find(config.split_column, _SPLIT_COLUMNS)
    used = {image, label, group, split}
    return _Columns(
        image, label, group, split, tuple(i for i in range(len(names)) if i not in used)
    )


def _samples(
    photos: Photos, rows: Iterator[list[str]], columns: _Columns, findings: Findings
) -> Iterator[Sample]:
    """Samples in the order of the rows; equal texts are one object, so 100,000 rows stay small."""
    labels_of: dict[str, tuple[str, ...]] = {}
    texts: dict[str, str] = {}
    extras: dict[tuple[str, ...], tuple[str, ...]] = {}

    def cell(row: list[str], column: int | None) -> str:
        text = row[column].strip() if column is not None and column < len(row) else ""
        return texts.setdefault(text, text)

    for row in rows:
        if not any(row):
            continue
        name = row[columns.image].strip() if columns.image < len(row) else ""
        path = photos.find(name)
        if path is None:
            findings.add("ambiguous_photo" if photos.is_ambiguous(name) else "missing_photo", name)
            continue
        split = cell(row, columns.split)
        part: Part | None = part_of(split)
        if split and part is None:
            findings.add("unknown_split", f"{name}: {split}")
            continue
        label = cell(row, columns.label)
        if label not in labels_of:
            parts = (part.strip() for part in label.split(LABEL_SEPARATOR))
            labels_of[label] = tuple(dict.fromkeys(part for part in parts if part))
        extra = tuple(cell(row, column) for column in columns.extra)
        yield Sample(
            path,
            labels_of[label],
            group=cell(row, columns.group) or None,
            part=part,
            extra=extras.setdefault(extra, extra),
        )


def _agreeing(samples: list[Sample], findings: Findings) -> list[Sample]:
    """Single-label samples: one row a photo and part; photos with two labels are left out.

    The same photo in two parts stays, so that it is seen as a leak.
    """
    first: dict[str, tuple[str, ...]] = {}
    several: dict[str, set[str]] = {}  # only photos with different labels, which are few
    for sample in samples:
        if sample.labels and first.setdefault(sample.path, sample.labels) != sample.labels:
            several.setdefault(sample.path, {*first[sample.path]}).update(sample.labels)
    seen: dict[Part | None, set[str]] = {None: set(), "train": set(), "val": set(), "test": set()}
    kept: list[Sample] = []
    for sample in samples:
        path, again = sample.path, sample.path in seen[sample.part]
        if not sample.labels:
            findings.add("missing_label", path)
            continue
        seen[sample.part].add(path)
        if path in several:
            if not again:
                findings.add("conflicting_rows", f"{path}: {' / '.join(sorted(several[path]))}")
        elif again:
            findings.add("repeated_row", path)
        else:
            kept.append(sample)
    return kept


def _united(samples: list[Sample], findings: Findings) -> list[Sample]:
    """Multi-label samples: rows of one photo and part are one sample with the labels of all."""
    first: dict[tuple[str, Part | None], int] = {}
    kept: list[Sample] = []
    for sample in samples:
        at = first.setdefault((sample.path, sample.part), len(kept))
        if at == len(kept):
            kept.append(sample)
            continue
        labels = tuple(dict.fromkeys((*kept[at].labels, *sample.labels)))
        if labels == kept[at].labels:
            findings.add("repeated_row", sample.path)
        kept[at] = replace(kept[at], labels=labels)
    return kept


class Photos:
    """Finds a row's photo: at its path, else anywhere below by its name or stem."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self._root = os.path.abspath(root)
        self._findings = findings
        self._by_name: dict[str, str | None] | None = None
        self._named: set[str] = set()

    def find(self, name: str) -> str | None:
        """The photo's path relative to the root, or None."""
        if not name or "\0" in name:
            return None
        path = os.path.normpath(name.replace("\\", "/") if os.sep == "/" else name)
        if os.path.isabs(path) and path.startswith(self._root + os.sep):
            path = path[len(self._root) + 1 :]
        found: str | None = path
        if not os.path.isfile(os.path.join(self._root, path)):
            found = self._names().get(path) if os.path.basename(path) == path else None
        self._named.add(found or path)
        return found

    def is_ambiguous(self, name: str) -> bool:
        """Whether several photos have this name, so that none was taken."""
        return name in self._names()

    def tell_unnamed(self) -> None:
        """Note photos in the folders of named ones, and links there that lead nowhere."""
        folders = {os.path.dirname(path) for path in self._named if not os.path.isabs(path)}
        for folder in sorted(folders):
            try:
                names = sorted(os.listdir(os.path.join(self._root, folder)))
            except (OSError, ValueError):  # its rows' photos were missed already
                continue
            for name in names:
                path = os.path.join(folder, name)
                if is_hidden(name) or not is_photo(name) or path in self._named:
                    continue
                full = os.path.join(self._root, path)
                if os.path.isfile(full):
                    self._findings.add("photo_without_annotation", path)
                elif os.path.islink(full) and self._by_name is None:  # else it was noted there
                    self._findings.add("broken_link", path)

    def _names(self) -> dict[str, str | None]:
        if self._by_name is None:
            self._by_name = {}
            for path in files_below(self._root, self._findings):
                name = os.path.basename(path)
                for key in {name, os.path.splitext(name)[0]} if is_photo(name) else ():
                    known = self._by_name.setdefault(key, path)
                    if known not in (None, path) and not self._are_one(known, path):
                        self._by_name[key] = None
        return self._by_name

    def _are_one(self, *paths: str | None) -> bool:
        """Whether they are one file, by links."""
        places = {os.path.realpath(os.path.join(self._root, path or "")) for path in paths}
        return len(places) == 1
