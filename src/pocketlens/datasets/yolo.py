"""YOLO: a label file a photo with boxes in shares of its size; photos or boxes as samples.

`data.yaml` names the classes and the parts, or there are just `images/` and `labels/`. A photo
with an empty label file shows none of the classes; one without a label file is not used.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketlens.core.dataset import Box, Dataset, Part, Sample, make_dataset
from pocketlens.core.decode import image_size
from pocketlens.core.errors import DataError, ImageError
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import is_photo, part_of, walk
from pocketlens.datasets._photos import MESSAGES, LabelFiles, Labels, as_box, files_below, part_in
from pocketlens.datasets._settings import read_settings

EXTRA = ""

_MESSAGES: Final = {
    **MESSAGES,
    "missing_part": "parts that the YAML file names aren't there; mend its paths",
    "unreadable_photo": "photos whose size can't be read, so that their boxes have no place",
    "photo_without_box": "photos without a box are not used; they are when photos are labelled "
    "as a whole (--labels photos)",
}
_TABLES: Final = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_HEAD_BYTES: Final = 65_536
_MAX_LABEL_BYTES: Final = 4_000_000


@dataclass(frozen=True)
class Config:
    """How to understand the annotations."""

    labels: Labels = "photos"
    """Samples: photos with the labels of all their boxes, or boxes with one label each."""


def recognises(root: Path) -> bool:
    """A YAML file with `names`, a folder with one, or a folder with images and label files."""
    if not root.is_dir():
        return root.suffix.lower() in (".yaml", ".yml") and _is_table(root)
    if _table(root) is not None:
        return True
    images = labels = False
    for folder, folders, files in walk(root):
        lower = {name.lower() for name in folders}
        if {"images", "labels"} <= lower:
            return True
        parts = os.path.relpath(folder, root).lower().split(os.sep)
        images |= "images" in parts and any(map(is_photo, files))
        labels |= "labels" in parts and any(name.lower().endswith(".txt") for name in files)
    return images and labels


def read(root: Path, config: Config) -> Dataset:
    """All photos with a label file, or all their boxes.

    Raises:
        DataError: the YAML file can't be understood, or there is no usable photo.
    """
    findings = Findings(_MESSAGES)
    table = _table(root) if root.is_dir() else root
    top = root if root.is_dir() else root.parent
    settings = {} if table is None else read_settings(table)
    names = _names(settings, top)
    samples: list[Sample] = []
    texts: dict[tuple[str, ...], tuple[str, ...]] = {}
    label_files = LabelFiles()
    for photo, part in _photos(top, settings, label_files, findings):
        label_file = _label_file(os.path.join(top, photo))
        label_files.use(label_file)
        lines = _lines(label_file, photo, findings)
        if lines is not None:
            things = list(_things(lines, names, photo, findings))
            samples += _samples(top, photo, part, things, config, texts, findings)
    for path in label_files.unused():
        findings.add("missing_photo", os.path.relpath(path, os.path.realpath(top)))
    classes = {label for sample in samples for label in sample.labels} | set(names.values())
    return make_dataset(
        top,
        "yolo",
        samples,
        task="single_label" if config.labels == "boxes" else "multi_label",
        classes=sorted(classes),
        problems=findings.problems(),
    )


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in _TABLES if _is_table(folder / name)), None)


def _is_table(path: Path) -> bool:
    try:
        settings = read_settings(path) if path.is_file() else {}
    except (DataError, OSError):
        return False
    return "names" in settings and "format" not in settings


def _names(settings: Mapping[str, Any], top: Path) -> dict[int, str]:
    """Class names by number; empty where none are given, so that numbers are the names."""
    given = settings.get("names")
    if given is None:
        for place in (top / "classes.txt", top / "labels" / "classes.txt"):
            if place.is_file():
                text = _text(place)
                given = [line.strip() for line in text.splitlines() if line.strip()]
                break
    pairs: Iterable[tuple[Any, Any]]
    pairs = given.items() if isinstance(given, dict) else enumerate(given or ())
    names: dict[int, str] = {}
    for number, name in pairs:
        if not str(number).isdecimal() or not isinstance(name, str | int | float):
            raise DataError(f"the YAML file of {top}: names must be a list or number: name")
        names[int(number)] = str(name)
    return names


def _photos(
    top: Path, settings: Mapping[str, Any], label_files: LabelFiles, findings: Findings
) -> Iterator[tuple[str, Part | None]]:
    """Photos with their part; the label files that lie there are added to `label_files`."""
    listed = [(key, settings[key]) for key in settings if part_of(str(key)) and settings[key]]
    if not listed:
        for path in files_below(top, findings):
            if is_photo(path):
                yield path, part_in(path)
            elif _is_label_file(path):
                label_files.add(os.path.join(top, path))
        return
    num_found = 0
    for key, value in listed:
        for name in value if isinstance(value, list) else [value]:
            place = _place(top, settings.get("path"), str(name))
            if place is None:
                findings.add("missing_part", f"{key}: {name}")
                continue
            num_found += 1
            for path in _listed(place, label_files, findings):
                full, base = os.path.abspath(path), os.path.abspath(top)
                inside = full.startswith(base + os.sep)
                yield os.path.relpath(full, base) if inside else full, part_of(key)
    if not num_found:
        names = ", ".join(f"{key}: {value}" for key, value in listed)
        raise DataError(f"the YAML file of {top} names parts that aren't there: {names}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error


def _place(top: Path, path: object, name: str) -> Path | None:
    """Where a part lies: below `path`, below the YAML file, or (Roboflow's `../train`) there."""
    below = [top / str(path)] if path else []
    plain = name
    while plain.startswith(("../", "./")):
        plain = plain.split("/", 1)[1]
    candidates = [base / name for base in (*below, top)] + [top / plain]
    try:
        return next((place for place in candidates if place.exists()), None)
    except (OSError, ValueError):  # a NUL byte, a name that is too long
        return None


def _listed(place: Path, label_files: LabelFiles, findings: Findings) -> Iterator[str]:
    """Photos of a folder, or of a text file with a path a line."""
    if place.is_dir():
        for file in files_below(place, findings):
            if is_photo(file):
                yield os.path.join(place, file)
        labels = os.path.dirname(_label_file(os.path.join(place, "x.jpg")))
        if os.path.isdir(labels):
            for file in files_below(labels, findings):
                if _is_label_file(os.path.join("labels", file)):
                    label_files.add(os.path.join(labels, file))
        return
    for line in _text(place).splitlines():
        if name := line.strip():
            path = os.path.join(place.parent, name)
            if os.path.isfile(path) and "\0" not in name:
                yield path
            else:
                findings.add("missing_photo", f"{place.name}: {name}")


def _is_label_file(path: str) -> bool:
    *folders, name = path.lower().split(os.sep)
    return name.endswith(".txt") and name != "classes.txt" and "labels" in folders


def _label_file(photo: str) -> str:
    """`…/images/x.jpg` -> `…/labels/x.txt`; without a folder `images`, beside the photo."""
    folders = os.path.splitext(photo)[0].split(os.sep)
    for i in range(len(folders) - 2, -1, -1):
        if folders[i].lower() == "images":
            folders[i] = "labels"
            break
    return os.sep.join(folders) + ".txt"


def _lines(label_file: str, photo: str, findings: Findings) -> list[str] | None:
    try:
        with open(label_file, encoding="utf-8-sig", errors="replace") as file:
            return file.read(_MAX_LABEL_BYTES).splitlines()
    except FileNotFoundError:
        findings.add("photo_without_annotation", photo)
    except OSError as error:
        findings.add("unreadable_annotation", f"{label_file}: {error.strerror}")
    return None


def _things(
    lines: Iterable[str], names: Mapping[int, str], photo: str, findings: Findings
) -> Iterator[tuple[str, Box]]:
    """Class name and box, in shares of the photo, of each line."""
    for line in lines:
        words = line.split()
        if not words:
            continue
        if not words[0].isdecimal() or (names and int(words[0]) not in names):
            findings.add("unknown_class", f"{photo}: {words[0]}")
            continue
        box = _share(words[1:])
        if box is None:
            findings.add("malformed_box", photo)
            continue
        number = int(words[0])
        yield names.get(number, str(number)), box


def _share(words: list[str]) -> Box | None:
    """Centre and size, or the outline of a polygon, as left, top, width, height."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    if len(values) in (4, 5):  # the fifth is a confidence
        x, y, width, height = values[:4]
        return as_box([x - width / 2, y - height / 2, width, height])
    if len(values) < 6 or len(values) % 2:
        return None
    xs, ys = values[::2], values[1::2]
    return as_box([min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)])


def _samples(
    top: Path,
    photo: str,
    part: Part | None,
    things: list[tuple[str, Box]],
    config: Config,
    texts: dict[tuple[str, ...], tuple[str, ...]],
    findings: Findings,
) -> list[Sample]:
    """Samples of one photo; equal labels are one object, by `texts`."""
    if config.labels == "photos":
        labels = tuple(sorted({label for label, _ in things}))
        return [Sample(photo, texts.setdefault(labels, labels), part=part)]
    if not things:
        findings.add("photo_without_box", photo)
        return []
    try:
        width, height = _size(os.path.join(top, photo))
    except (ImageError, OSError) as error:
        findings.add("unreadable_photo", f"{photo}: {error}")
        return []
    # Two decimals: the shares' own rounding must not make another sample of the same box.
    return [
        Sample(
            photo,
            texts.setdefault((label,), (label,)),
            box=Box(
                *(
                    round(share * side, 2)
                    for share, side in zip(box, (width, height) * 2, strict=True)
                )
            ),
            part=part,
        )
        for label, box in things
    ]


def _size(path: str) -> tuple[int, int]:
    with open(path, "rb") as file:
        start = file.read(_HEAD_BYTES)
        try:
            return image_size(start)
        except ImageError:  # the header lies further down
            return image_size(start + file.read())
