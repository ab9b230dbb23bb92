"""Folders named after classes: CLASS/photo.jpg, optionally under train/val/test and groups.

The class is the folder that directly holds photos. Folders between the part and the class are
the group: of `train/denim/torn/1.jpg` the class is `torn` and the group `denim`.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pocketlens.core.dataset import Dataset, Part, Sample, make_dataset
from pocketlens.core.directory import is_output
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import has_annotations, is_hidden, is_photo, part_of, table_in

EXTRA = ""

_MESSAGES: Final = {
    "unreadable_folder": "folders that can't be read; mend their permissions",
    "broken_link": "links that lead nowhere or in a circle; remove them",
    "outside_class": "photos outside any class folder are not used; move them into one",
    "mixed_folder": "folders with photos and class folders side by side; their own photos count "
    "as a class of the folder's name",
    "empty_class": "class folders without a photo; fill or remove them",
    "unused_folder": "folders beside train, val and test are not used",
    "own_output": "folders that pocketlens made are not read",
}


@dataclass(frozen=True)
class Config:
    """An image folder has no options."""


class _Folder(NamedTuple):
    """One folder's content, sorted, so that the order of samples is the same everywhere."""

    path: str  # relative to the root; empty for the root itself
    photos: list[str]
    folders: list[str]
    trail: tuple[tuple[int, int], ...]  # device and inode of it and of all above it


def recognises(root: Path) -> bool:
    """A folder with photos at least one level down, which no other file describes."""
    if not root.is_dir() or table_in(root) is not None or has_annotations(root):
        return False
    return any(True for _ in _samples(root, Findings(_MESSAGES)))


def read(root: Path, config: Config) -> Dataset:
    """All photos with the names of their folders.

    Raises:
        DataError: there is no photo in a class folder.
    """
    findings = Findings(_MESSAGES)
    samples = list(_samples(root, findings))
    return make_dataset(root, "image-folder", samples, problems=findings.problems())


def _samples(root: Path, findings: Findings) -> Iterator[Sample]:
    top = _top(root, findings)
    parts = {name: part for name in top.folders if (part := part_of(name))}
    # A class may be called `test`: part names count where class folders lie in one of them, or
    # where there are no others, so that unlabelled train/ and test/ aren't taken for classes.
    if len(parts) < len(top.folders) and not any(
        inner.folders for name in parts if (inner := _scan(root, top, name, Findings(_MESSAGES)))
    ):
        parts = {}
    for photo in top.photos:
        findings.add("outside_class", os.path.join(top.path, photo))
    for name in top.folders:
        if parts and name not in parts:
            findings.add("unused_folder", os.path.join(top.path, name))
        elif folder := _scan(root, top, name, findings):
            names = () if parts else (_text(name),)
            yield from _below(root, folder, parts.get(name), names, findings)


def _top(root: Path, findings: Findings) -> _Folder:
    """The folder where parts or classes begin: a lone wrapper around train/val/test is entered."""
    top = _scan(root, None, "", findings) or _Folder("", [], [], ())
    while len(top.folders) == 1 and not top.photos and not part_of(top.folders[0]):
        inner = _scan(root, top, top.folders[0], Findings(_MESSAGES))
        if inner is None or not any(map(part_of, inner.folders)):
            break
        top = inner
    return top


def _below(
    root: Path, folder: _Folder, part: Part | None, names: tuple[str, ...], findings: Findings
) -> Iterator[Sample]:
    """Samples of a folder and of all below; `names` leads from the part (no name) to it."""
    if not names:
        for photo in folder.photos:
            findings.add("outside_class", os.path.join(folder.path, photo))
    else:
        if not folder.photos and not folder.folders:
            findings.add("empty_class", folder.path)
        if folder.photos and folder.folders:
            findings.add("mixed_folder", folder.path)
        labels, group = names[-1:], "/".join(names[:-1]) or None  # shared by all its samples
        for photo in folder.photos:
            yield Sample(f"{folder.path}{os.sep}{photo}", labels, group=group, part=part)
    for name in folder.folders:
        if inner := _scan(root, folder, name, findings):
            yield from _below(root, inner, part, (*names, _text(name)), findings)


def _scan(root: Path, above: _Folder | None, name: str, findings: Findings) -> _Folder | None:
    """A folder's content; None, and a finding, where there is no way in."""
    path = os.path.join(above.path, name) if above else ""
    full = os.path.join(root, path)
    trail = above.trail if above else ()
    photos: list[str] = []
    folders: list[str] = []
    try:
        status = os.stat(full)
        here = (status.st_dev, status.st_ino)
        if here in trail:
            findings.add("broken_link", path)
            return None
        with os.scandir(full) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                try:
                    if entry.is_dir():
                        if is_output(entry.path):
                            findings.add("own_output", os.path.join(path, entry.name))
                        else:
                            folders.append(entry.name)
                    elif is_photo(entry.name) and entry.is_file():
                        photos.append(entry.name)
                    elif entry.is_symlink() and not os.path.exists(entry.path):
                        findings.add("broken_link", os.path.join(path, entry.name))
                except OSError:  # a link to itself
                    findings.add("broken_link", os.path.join(path, entry.name))
    except OSError as error:
        findings.add("unreadable_folder", f"{path or '.'}: {error.strerror}")
        return None
    return _Folder(path, sorted(photos), sorted(folders), (*trail, here))


def _text(name: str) -> str:
    """A folder's name as text, also where its bytes are no UTF-8 (old archives)."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
