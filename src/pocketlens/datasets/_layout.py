"""What several formats need: names of parts, links that lead nowhere, files that describe photos.

A folder must be claimed by one format alone, so the image folder, which could claim any folder
with photos in it, stands back where one of these finds a description of the photos.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import csv
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pocketlens.core.dataset import Part
from pocketlens.core.decode import SUFFIXES
from pocketlens.core.directory import is_output

PART_NAMES: Final[dict[str, Part]] = {
    **dict.fromkeys(("train", "training", "trainset", "train2017"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "val2017"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "test2017"), "test"),
}

IMAGE_COLUMNS: Final = (
    "image", "filename", "file_name", "file", "path", "filepath", "file_path", "image_path",
    "image_file", "image_name", "img", "img_path", "image_id",
)  # fmt: skip
LABEL_COLUMNS: Final = ("label", "labels", "class", "class_name", "category", "tags", "target")

_MAX_FOLDERS: Final = 200
_MAX_CHILDREN: Final = 8
_MAX_SNIFFED: Final = 20
_SNIFFED_BYTES: Final = 65_536


def part_of(name: str) -> Part | None:
    """The part that a folder's name or a table's cell means."""
    return PART_NAMES.get(name.strip().lower())


def is_hidden(name: str) -> bool:
    """Files that file managers and archives leave behind."""
    return name.startswith(".") or name == "__MACOSX"


def is_photo(name: str) -> bool:
    """Whether a file's ending says that it is a photo."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def table_in(root: Path) -> Path | None:
    """The CSV table that describes a folder: `labels.csv`, or the only one at its top.

    A lone table under another name counts only if it has an image and a label column.
    """
    try:
        with os.scandir(root) as entries:
            tables = [e.name for e in entries if e.name.lower().endswith(".csv") and e.is_file()]
    except OSError:
        return None
    tables = [name for name in tables if not is_hidden(name)]
    named = [name for name in tables if name.lower() == "labels.csv"]
    if named:
        return root / named[0]
    if len(tables) != 1:
        return None
    try:
        columns = {name.lower() for name in header(root / tables[0])[0]}
    except (OSError, ValueError):
        return None
    found = columns.intersection(IMAGE_COLUMNS) and columns.intersection(LABEL_COLUMNS)
    return root / tables[0] if found else None


def header(table: Path) -> tuple[list[str], str]:
    """Column names of a table and its delimiter, the most frequent of `,` `;` and tab.

    Raises:
        OSError, ValueError: it can't be read, or isn't UTF-8.
    """
    with table.open(newline="", encoding="utf-8-sig") as file:
        line = file.readline(_SNIFFED_BYTES)
    delimiter = max(",;\t", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return [cell.strip() for cell in cells], delimiter


def has_annotations(root: Path) -> bool:
    """Whether COCO/AI-Hub JSON, VOC XML or YOLO label files lie beside or among the photos.

    A photo's own side file (camera data, a label tool's project) isn't one of these.
    """
    for _, folders, files in walk(root):
        if {"images", "labels"} <= {name.lower() for name in folders}:
            return True
        if any(name.lower() in ("data.yaml", "data.yml") for name in files):
            return True
    return any(describes_photos(head) for head in heads(root, (".json", ".xml")))


def heads(root: Path, suffixes: tuple[str, ...]) -> Iterator[bytes]:
    """How the first files with these endings begin, at the root and in the upper folders."""
    num_sniffed = 0
    for folder, _, files in walk(root):
        for name in sorted(files):
            if name.lower().endswith(suffixes):
                yield head(os.path.join(folder, name))
                num_sniffed += 1
                if num_sniffed == _MAX_SNIFFED:
                    return


def head(path: str | Path) -> bytes:
    """How a file begins; nothing where it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_SNIFFED_BYTES)
    except (OSError, ValueError):
        return b""


def describes_photos(head: bytes) -> bool:
    """Whether a file that begins so is an annotation in XML or JSON."""
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"<":
        return b"<annotation" in head
    return b'"images"' in head or b'"annotations"' in head


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Some folders, breadth first and at most a few hundred: recognising must be quick.

    Of each only the first few inner folders are entered, so that a level of 20,000 folders hides
    nothing that lies below it.
    """
    queue = deque([str(root)])
    for _ in range(_MAX_FOLDERS):
        if not queue:
            return
        folder = queue.popleft()
        folders, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_hidden(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if not is_output(entry.path):
                            folders.append(entry.name)
                    else:
                        files.append(entry.name)
        except OSError:
            continue
        yield folder, folders, files
        queue.extend(os.path.join(folder, name) for name in sorted(folders)[:_MAX_CHILDREN])
