"""Labelled photos out of an archive: folders named after classes, AI-Hub's JSONs, YOLO's boxes.

The readers of `pocketlens.datasets` read them, from a private directory into which accepted entries
are laid. Folders there have the archive's names only where these are harmless on any file system.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import yaml

from pocketlens import plugins
from pocketlens.core.dataset import Dataset, Sample, Task
from pocketlens.core.errors import DataError
from pocketlens.datasets._cache import cache_file
from pocketlens.datasets._layout import is_photo, part_of
from pocketlens.datasets._photos import Labels
from pocketlens.progress import hidden
from pocketlens.service.archives import Archive, ArchiveError, Entry, Limits, open_archive
from pocketlens.service.marks import Incoming, Mark, Rejected, shown
from pocketlens.service.storage import StorageFullError
from pocketlens.workflows.data import read_dataset

#: Formats that an archive may have, the most telling first; others would follow paths that their
#: files name.
FORMATS: Final = ("aihub", "yolo", "image-folder")
_TABLES: Final = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SIDE_FILES: Final = (".json", ".txt")
#: Of tables and annotations, those of other layouts included.
_ANNOTATIONS: Final = (".csv", ".tsv", ".json", ".jsonl", ".xml")
_MAX_SIDE_BYTES: Final = 4_000_000
_MAX_TABLE_BYTES: Final = 65_536
_MAX_NAME_BYTES: Final = 200
_ARCHIVES: Final = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Contents:
    """What an archive holds.

    Attributes:
        photos: one after the other, read when they are asked for.
        rejected: what isn't used, with the reason.
    """

    format: str
    task: Task
    class_info: Mapping[str, Mapping[str, Any]]
    photos: Iterator[Incoming]
    rejected: list[Rejected]


@contextmanager
def read_archive(
    file: IO[bytes],
    work: Path,
    *,
    classes: Sequence[str] | None = None,
    labels: Labels = "boxes",
    limits: Limits | None = None,
) -> Iterator[Contents]:
    """Labelled photos of a zip archive.

    Args:
        file: seekable, open until the block ends.
        work: a directory that isn't there yet; it is gone when the block ends.
        classes: of YOLO's numbers, in place of `data.yaml` or `classes.txt`.
        labels: of YOLO data: each box with its label, or photos with the labels of all boxes.

    Raises:
        ArchiveError: it isn't read at all; its `code` is for programs.
        StorageFullError: there is no room to unpack it.
    """
    archive = open_archive(file, limits)
    work.mkdir(mode=0o700, parents=True)
    root = work / "data"
    try:
        laid = _Laid(root, archive)
        try:
            laid.lay(classes)
            with hidden():
                dataset = _read(root, labels)
            _refuse_other_layouts(dataset, archive)
        except OSError as error:
            raise StorageFullError("there is no room to unpack the archive") from error
        problems = [one for problem in dataset.problems for one in laid.told(problem)]
        rejected = [*archive.rejected, *problems]
        yield Contents(
            dataset.format,
            dataset.task,
            {laid.text(name): info for name, info in dataset.class_info.items()},
            laid.photos(dataset),
            rejected,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # made for data that is read again
            cache_file("aihub", root).unlink()


def _read(root: Path, labels: Labels) -> Dataset:
    name = next((n for n in FORMATS if plugins.load("datasets", n).recognises(root)), None)
    if name is None:
        raise ArchiveError(
            "unknown_layout",
            "no layout that is known here: put photos into folders named after their classes, or "
            "send AI-Hub's JSON files or YOLO's label files with the photos",
        )
    try:
        return read_dataset(root, format=name, labels=labels if name == "yolo" else None)
    except DataError as error:  # its words name the directory
        raise ArchiveError("no_labelled_photo", _without(root, str(error))) from error


def _refuse_other_layouts(dataset: Dataset, archive: Archive) -> None:
    """One folder of photos beside tables or annotations is no class: COCO, VOC or CSV was meant.

    Taken in, all photos would have the folder's name as their label, and hold it against the right
    one when they are sent again.
    """
    if dataset.format != "image-folder" or len(dataset.classes) > 1:
        return
    names = (entry for entry in archive.entries if entry.parts[-1].lower().endswith(_ANNOTATIONS))
    if (found := next(names, None)) is not None:
        raise ArchiveError(
            "unknown_layout",
            f"{found.shown} is of a layout that isn't read here, and all photos lie in one folder; "
            "put them into folders named after their classes, or send AI-Hub's JSON files or "
            "YOLO's label files with them",
        )


def _without(root: Path, text: str) -> str:
    text = text.replace("--labels photos", "read_as=photos")  # the option's name here
    return text.replace(f"{root}{os.sep}", "").replace(str(root), "the archive")


class _Laid:
    """Accepted entries on disk, and what they are called in the archive."""

    def __init__(self, root: Path, archive: Archive) -> None:
        self._root = root
        self._archive = archive
        self._shown: dict[str, str] = {}  # path below the root -> name in the archive
        self._folders: dict[tuple[str, ...], str] = {(): ""}  # folders in the archive -> on disk
        self._taken: set[tuple[str, str]] = set()  # folder on disk, name whatever its case
        self._instead: dict[str, str] = {}  # generated name -> the archive's

    def lay(self, classes: Sequence[str] | None) -> None:
        """Write what a reader may need.

        Raises:
            ArchiveError: the archive asks for too much, or holds no photo.
        """
        self._root.mkdir(mode=0o700)
        useful = [entry for entry in self._archive.entries if self._is_useful(entry)]
        wrapper = _wrapper(useful)
        for entry in useful:
            parts = entry.parts[wrapper:]
            name = parts[-1].lower()
            if name.endswith((".yaml", ".yml")):
                if len(parts) == 1 and name in _TABLES and classes is None:
                    self._write_names(entry)
                continue
            if not is_photo(name) and entry.info.file_size > _MAX_SIDE_BYTES:
                self._archive.reject(entry, "entry_too_large")
                continue
            data = self._archive.read(entry)
            if data is not None:
                self._write(entry, parts, data)
        if not any(map(is_photo, self._shown)):
            raise ArchiveError("no_photo", "the archive holds no photo that can be read")
        if classes is not None:
            self._write_table(dict(enumerate(classes)))

    def photos(self, dataset: Dataset) -> Iterator[Incoming]:
        """The reader's samples, photo by photo; only files that were laid here."""
        of_photo: dict[str, list[Sample]] = {}
        for sample in dataset.samples:
            if sample.path in self._shown:
                of_photo.setdefault(sample.path, []).append(sample)
        for path, samples in of_photo.items():
            marks = tuple(
                Mark(tuple(map(self.text, s.labels)), s.box, self._group(s.group), s.part)
                for s in samples
            )
            yield Incoming(self._shown[path], (self._root / path).read_bytes(), marks)

    def text(self, name: str) -> str:
        """A folder's or class's name as the archive has it, in the one Unicode form of labels."""
        return unicodedata.normalize("NFC", self._instead.get(name, name))

    def told(self, problem: Any) -> Iterator[Rejected]:
        """A reader's finding, with names as they are in the archive."""
        message = _without(self._root, problem.message)
        for example in problem.examples:
            text = _without(self._root, example)
            for generated, name in self._instead.items():
                text = text.replace(generated, name)
            yield Rejected(shown(text), problem.kind, message)
        if (more := problem.count - len(problem.examples)) > 0:
            yield Rejected("…", problem.kind, f"and {more:,} more: {message}")

    def _group(self, group: str | None) -> str | None:
        return None if group is None else "/".join(map(self.text, group.split("/")))

    def _is_useful(self, entry: Entry) -> bool:
        name = entry.parts[-1].lower()
        if is_photo(name) or name.endswith((*_SIDE_FILES, ".yaml", ".yml")):
            return True
        if name.endswith(_ARCHIVES):
            reason = "archives in archives are not read; send each by itself"
            self._archive.reject(entry, "nested_archive", reason)
        else:
            reason = "it is neither a photo nor an annotation, told by its ending"
            self._archive.reject(entry, "not_used", reason)
        return False

    def _write(self, entry: Entry, parts: tuple[str, ...], data: bytes) -> None:
        folder = self._folder(parts[:-1])
        name = parts[-1]
        if len(name.encode()) > _MAX_NAME_BYTES:
            name = secrets.token_hex(16) + os.path.splitext(name)[1][:8]
        if (folder, name.casefold()) in self._taken:  # a folder has it
            self._archive.reject(entry, "name_collision")
            return
        self._taken.add((folder, name.casefold()))
        path = os.path.join(folder, name)
        handle = os.open(self._root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        self._shown[path] = entry.shown

    def _folder(self, parts: tuple[str, ...]) -> str:
        """The folder on disk; one that only some file systems tell from another gets a new name."""
        if parts in self._folders:
            return self._folders[parts]
        above, name = self._folder(parts[:-1]), parts[-1]
        if len(name.encode()) > _MAX_NAME_BYTES or (above, name.casefold()) in self._taken:
            generated = secrets.token_hex(16)
            self._instead[generated] = name
            name = generated
        self._taken.add((above, name.casefold()))
        path = self._folders[parts] = os.path.join(above, name)
        (self._root / path).mkdir(mode=0o700)
        return path

    def _write_names(self, entry: Entry) -> None:
        """Keep the classes of a YAML file; the paths in it could lead anywhere."""
        if entry.info.file_size > _MAX_TABLE_BYTES:
            self._archive.reject(entry, "entry_too_large")
            return
        data = self._archive.read(entry)
        if data is None:
            return
        try:
            names = yaml.safe_load(data)["names"]
            if not isinstance(names, dict | list):
                raise TypeError(names)
            pairs = names.items() if isinstance(names, dict) else enumerate(names)
            table = {int(number): _class_name(name) for number, name in pairs}
        except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError):
            self._archive.reject(entry, "damaged", "it names no classes (`names: [...]`)")
            return
        self._write_table(table)

    def _write_table(self, names: Mapping[int, str]) -> None:
        text = json.dumps({"names": names}, ensure_ascii=True)
        (self._root / _TABLES[0]).write_text(text, encoding="utf-8")


def _class_name(value: object) -> str:
    """A plain name; text of a nested value could grow without end (YAML's references)."""
    if not isinstance(value, str | int | float):
        raise TypeError(value)
    return str(value)


def _wrapper(entries: Sequence[Entry]) -> int:
    """How many folders merely wrap the data: all lies in them, and none is a class or a part."""
    depth = 0
    while entries:
        inside = {entry.parts[depth] for entry in entries}
        if len(inside) > 1 or any(len(entry.parts) == depth + 1 for entry in entries):
            return depth
        (name,) = inside
        below = [entry.parts[depth + 1 :] for entry in entries]
        is_class = all(is_photo(parts[-1]) for parts in below) and any(
            len(parts) == 1 for parts in below
        )
        if is_class or part_of(name) or name.lower() in ("images", "labels"):
            return depth
        depth += 1
    return depth
