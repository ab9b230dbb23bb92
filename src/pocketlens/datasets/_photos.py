"""Files below a folder, and photos found by the name that an annotation gives them."""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pocketlens.core.dataset import Box, Part
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import is_hidden, is_photo, part_of

#: What annotations are read as: the whole photo with the labels of all its boxes, or each box.
Labels = Literal["photos", "boxes"]

#: Findings that all formats with annotations share.
MESSAGES: Final[Mapping[str, str]] = {
    "unreadable_folder": "folders that can't be read; mend their permissions",
    "broken_link": "links that lead nowhere or in a circle; remove them",
    "unreadable_annotation": "annotation files that can't be understood are not used; mend or "
    "remove them",
    "missing_label": "annotations without a class are not used; label them or remove them",
    "unknown_class": "annotations of a class that the data doesn't name are not used",
    "malformed_box": "annotations whose box is not four numbers are not used; mend them",
    "missing_photo": "annotations whose photo isn't there are not used; add the photo",
    "ambiguous_photo": "annotations whose name fits photos in several folders are not used; give "
    "the photos different names",
    "photo_without_annotation": "photos without an annotation are not used; annotate them",
}

_LARGEST: Final = 1e9  # pixels; beyond it arithmetic with boxes would leave all sense


class File(NamedTuple):
    """A file: its path relative to the root, and what its directory says of it."""

    path: str
    entry: os.DirEntry[str]


def files_below(root: str | Path, findings: Findings) -> Iterator[File]:
    """All files, folder by folder in sorted order; links are followed, but in no circle."""
    top = os.fspath(root)
    stack: list[tuple[str, frozenset[str]]] = [("", frozenset())]
    while stack:
        folder, trail = stack.pop()
        below: list[tuple[str, frozenset[str]]] = []
        try:
            with os.scandir(os.path.join(top, folder)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            findings.add("unreadable_folder", f"{folder or '.'}: {error.strerror}")
            continue
        for entry in found:
            if is_hidden(entry.name):
                continue
            path = f"{folder}{os.sep}{entry.name}" if folder else entry.name
            if entry.is_symlink():
                if os.path.isdir(entry.path):
                    target = os.path.realpath(entry.path)
                    here = os.path.realpath(os.path.join(top, folder))
                    if target in trail or f"{here}{os.sep}".startswith(f"{target}{os.sep}"):
                        findings.add("broken_link", path)
                    else:
                        below.append((path, trail | {target}))
                    continue
                if not os.path.exists(entry.path):
                    findings.add("broken_link", path)
                    continue
            if entry.is_dir():
                below.append((path, trail))
            elif entry.is_file():
                yield File(path, entry)
        stack += reversed(below)


def part_in(path: str) -> Part | None:
    """The part that a path's folders tell, the uppermost first: `train_images/x.jpg` is train."""
    for folder in path.split(os.sep)[:-1]:
        if part := part_in_name(folder):
            return part
    return None


def part_in_name(name: str) -> Part | None:
    """The part that a word of a name tells: `instances_val2017`, `1.Training`."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((part for word in words if (part := part_of(word))), None)


def as_box(values: object) -> Box | None:
    """Four numbers as a box, or None."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return None
    if not all(abs(v) <= _LARGEST for v in values):  # NaN and infinity aren't either
        return None
    return Box(*map(float, values))


class Photos:
    """Finds the photo that an annotation names, and remembers which were never named."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = [path for path in paths if is_photo(path)]
        self._by_name: dict[str, list[str]] = {}
        for path in self._paths:
            self._by_name.setdefault(_key(os.path.basename(path)), []).append(path)
        self._by_stem: dict[str, list[str]] | None = None
        self._used: set[str] = set()
        self._part_of_folder: dict[str, Part | None] = {}

    def find(
        self, name: str, findings: Findings, *, part: Part | None, beside: str, note: bool = True
    ) -> str | None:
        """The photo's path, or None and a finding.

        A photo in the annotation's own folder comes first, then one of the same part (else of
        none) by base name, then by base name without its ending. Of several, one that ends with
        the whole `name` is taken; where that is no help nobody knows which is meant.

        Args:
            name: as the annotation says; folders in it may be wrong.
            beside: the annotation's own path.
            note: whether a name that isn't found is a finding.
        """
        wanted = os.path.normpath(name.replace("\\", "/")) if name else ""
        found = self._candidates(wanted, part)
        if len(found) > 1:
            here = os.path.join(os.path.dirname(beside), os.path.basename(wanted))
            found = (
                [path for path in found if path == here]
                or [path for path in found if path == wanted or path.endswith(os.sep + wanted)]
                or found
            )
        if len(found) == 1:
            self._used.add(found[0])
            return found[0]
        if note:
            findings.add("ambiguous_photo" if found else "missing_photo", f"{beside}: {name}")
        return None

    def tell_unused(self, findings: Findings, *, parts: Collection[Part | None] = ()) -> None:
        """Note the photos that no annotation names, of all parts or of these."""
        for path in self._paths:
            if path not in self._used and (not parts or self._part(path) in parts):
                findings.add("photo_without_annotation", path)

    def _candidates(self, name: str, part: Part | None) -> list[str]:
        base = os.path.basename(name)
        for index, key in ((self._by_name, base), (self._stems, os.path.splitext(base)[0])):
            every = index.get(_key(key), []) if key else []
            same = [path for path in every if self._part(path) == part]
            if not same and part is not None:
                same = [path for path in every if self._part(path) is None]
            if found := same or (every if part is None else []):
                return found
        return []

    def _part(self, path: str) -> Part | None:
        folder = os.path.dirname(path)
        if folder not in self._part_of_folder:
            self._part_of_folder[folder] = part_in(path)
        return self._part_of_folder[folder]

    @property
    def _stems(self) -> dict[str, list[str]]:
        if self._by_stem is None:
            self._by_stem = {}
            for path in self._paths:
                stem = os.path.splitext(os.path.basename(path))[0]
                self._by_stem.setdefault(_key(stem), []).append(path)
        return self._by_stem


def _key(name: str) -> str:
    # Archives made on a Mac spell Korean and accents in another Unicode form than the labels do.
    return name if name.isascii() else unicodedata.normalize("NFC", name)
