"""Files below a folder, and photos found by the name that an annotation gives them."""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from pocketlens.core.dataset import Box, Part
from pocketlens.core.directory import is_output
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import is_hidden, is_photo, part_of

#: What annotations are read as: the whole photo with the labels of all its boxes, or each box.
Labels = Literal["photos", "boxes"]

#: Findings that all formats with annotations share.
MESSAGES: Final[Mapping[str, str]] = {
    "unreadable_folder": "folders that can't be read; mend their permissions",
    "broken_link": "links that lead nowhere or in a circle; remove them",
    "own_output": "folders that pocketlens made are not read",
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


def files_below(root: str | Path, findings: Findings) -> Iterator[str]:
    """All files, folder by folder in sorted order; links are followed, but in no circle.

    Yields:
        Paths relative to the root.
    """
    top = os.fspath(root)
    stack: list[tuple[str, frozenset[str]]] = [("", frozenset())]
    while stack:
        folder, trail = stack.pop()
        try:
            files, folders, links = _listed(os.path.join(top, folder))
        except OSError as error:
            findings.add("unreadable_folder", f"{folder or '.'}: {error.strerror}")
            continue
        prefix = f"{folder}{os.sep}" if folder else ""
        trails = {}
        for name in folders:
            if is_output(os.path.join(top, prefix + name)):
                findings.add("own_output", prefix + name)
            else:
                trails[name] = trail
        for name in links:
            full = os.path.join(top, prefix + name)
            if os.path.isdir(full):
                target = os.path.realpath(full)
                here = os.path.realpath(os.path.join(top, folder))
                if target not in trail and not f"{here}{os.sep}".startswith(f"{target}{os.sep}"):
                    trails[name] = trail | {target}
                    continue
            elif os.path.exists(full):
                files.append(name)
                continue
            findings.add("broken_link", prefix + name)
        for name in sorted(files):
            yield prefix + name
        stack += ((prefix + name, trails[name]) for name in sorted(trails, reverse=True))


def _listed(folder: str) -> tuple[list[str], list[str], list[str]]:
    """Names of a folder's files, folders and links."""
    # Names alone: directory entries hold their paths too, and one folder may have 100,000.
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_symlink():
                links.append(entry.name)
            elif entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
    return files, folders, sorted(links)


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
        self._by_name = _Index((os.path.basename(path), path) for path in self._paths)
        self._by_stem: _Index | None = None
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
            every = index.get(key)
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
    def _stems(self) -> _Index:
        if self._by_stem is None:
            self._by_stem = _Index(
                (os.path.splitext(os.path.basename(path))[0], path) for path in self._paths
            )
        return self._by_stem


class LabelFiles:
    """Label files that lie there, and those that a photo has; the rest have lost theirs."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._left: set[str] = set()

    def use(self, path: str) -> None:
        """A photo's label file."""
        path = os.path.abspath(path)
        self._used.add(path)
        self._left.discard(path)

    def add(self, path: str) -> None:
        """A label file that lies there."""
        path = os.path.abspath(path)
        if path not in self._used:
            self._left.add(path)

    def unused(self) -> list[str]:
        """Sorted paths of those without a photo; links to a used one count as used."""
        if not self._left:
            return []
        used = set(map(os.path.realpath, self._used))  # slow, so only where something is left
        return sorted({real for path in self._left if (real := os.path.realpath(path)) not in used})


class _Index:
    """Paths by a name; a list only where there are several, since nearly all names are unique."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        self._first: dict[str, str] = {}
        self._more: dict[str, list[str]] = {}
        for name, path in named:
            key = _key(name)
            if self._first.setdefault(key, path) is not path:
                self._more.setdefault(key, []).append(path)

    def get(self, name: str) -> list[str]:
        """All paths of a name; none for an empty one."""
        key = _key(name)
        if not key or key not in self._first:
            return []
        return [self._first[key], *self._more.get(key, ())]


def _key(name: str) -> str:
    # Archives made on a Mac spell Korean and accents in another Unicode form than the labels do.
    return name if name.isascii() else unicodedata.normalize("NFC", name)
