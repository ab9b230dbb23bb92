"""Boxes to predict: read from any format that has some, and matched with the images by name."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from pocketlens import plugins
from pocketlens.core.dataset import Box
from pocketlens.core.directory import expand
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.problems import Findings
from pocketlens.core.text import one_line
from pocketlens.datasets._photos import as_box, files_below
from pocketlens.datasets.voc import boxes_of
from pocketlens.progress import warn
from pocketlens.workflows.data import check_readable, read_dataset, recognise

#: File name (or path) of an image -> its boxes.
Boxes = dict[str, list[Box]]

_MESSAGES: Final = {
    "unreadable_folder": "folders can't be read",
    "broken_link": "links lead nowhere or in a circle",
    "unreadable": "files hold no boxes",
    "malformed_box": "boxes are not four numbers and are left out",
}


def read_boxes(path: str | os.PathLike[str]) -> Boxes:
    """Boxes by the name of their image; the images needn't lie there.

    Args:
        path: JSON `{name: [[x, y, width, height], …]}` in pixels, a COCO or AI-Hub JSON, a VOC
            XML, a folder of such files, or labelled data with boxes (YOLO, a YAML file).

    Raises:
        UserError: it can't be read, or has no box.
    """
    root = expand(path)
    check_readable(root)
    found: defaultdict[str, list[Box]] = defaultdict(list)
    findings = Findings(_MESSAGES)
    if root.is_dir():
        for file in files_below(root, findings):
            if file.lower().endswith((".json", ".xml")):
                try:
                    _add(os.path.join(root, file), found, findings)
                except DataError as error:
                    findings.add("unreadable", f"{file}: {error}")
    elif root.suffix.lower() in (".json", ".xml"):
        _add(str(root), found, findings)
    for problem in findings.problems():
        warn(f"{root}: {problem.count} {problem.message}: {problem.examples[0]}")
    if not any(found.values()):
        _add_dataset(root, found)
    if not any(found.values()):
        raise DataError(
            f"{root} has no box; give a JSON {{name: [[x, y, width, height], …]}}, or COCO, "
            "AI-Hub, VOC or YOLO annotations"
        )
    return dict(found)


def match_boxes(files: Sequence[str], boxes: Boxes) -> list[list[Box]]:
    """The boxes of each file, by its path, else by its base name, else without its ending.

    Raises:
        UserError: no file has a box, or a name fits several of the files, or several names fit
            one.
    """
    matched = [""] * len(files)
    owner: dict[str, str] = {}
    for level in range(3):
        index: defaultdict[str, list[str]] = defaultdict(list)
        for name in boxes:
            if level < 2 or name not in owner:  # `a.jpg` isn't `a.png` where there is an `a.jpg`
                index[_keys(name)[level]].append(name)
        for i, file in enumerate(files):
            if not matched[i] and (names := index.get(_keys(file)[level])):
                matched[i] = _the_one(file, names)
                if owner.setdefault(matched[i], file) != file:
                    raise UserError(
                        f"boxes of {one_line(matched[i])} fit {one_line(owner[matched[i]])} and "
                        f"{one_line(file)}; name the images by their paths"
                    )
    if not owner:
        raise UserError(
            f"the boxes are for other images, such as {one_line(next(iter(boxes)))}, not for "
            f"{one_line(files[0])}"
        )
    return [boxes.get(name, []) for name in matched]


def _the_one(file: str, names: list[str]) -> str:
    """Of names that fit a file, the one that is the longest end of its path."""
    path = os.path.normpath(file)
    ending = [name for name in names if path.endswith(os.sep + os.path.normpath(name))]
    if len(names) > 1 and not ending:
        raise UserError(
            f"boxes of {one_line(names[0])} and {one_line(names[1])} fit {one_line(file)}; "
            "name the images by their paths"
        )
    return max(ending or names, key=len)


def _keys(name: str) -> tuple[str, str, str]:
    path = os.path.normpath(name.replace("\\", "/") if os.sep == "/" else name)
    base = os.path.basename(path)
    return os.path.abspath(path), base, os.path.splitext(base)[0]


def _add(path: str, found: defaultdict[str, list[Box]], findings: Findings) -> None:
    if path.lower().endswith(".xml"):
        name, boxes = boxes_of(path)
        found[name] += boxes
        return
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} must be an object {{name: [[x, y, width, height], …]}}")
    if isinstance(value.get("images"), list) and isinstance(value.get("annotations"), list):
        _add_instances(path, value, found, findings)
    else:
        _add_plain(path, value, found)


def _add_instances(
    path: str, value: dict[str, Any], found: defaultdict[str, list[Box]], findings: Findings
) -> None:
    """COCO's way, which is also AI-Hub's."""
    names: dict[Any, str] = {}
    for image in _objects(value["images"]):
        name, key = image.get("file_name") or image.get("imgfile"), image.get("id")
        if isinstance(name, str) and isinstance(key, int | str | None):
            names[key] = name
            found[name] += []  # an image without a box is known to have none
    for annotation in _objects(value["annotations"]):
        key = annotation.get("image_id")
        only = next(iter(names.values())) if len(names) == 1 else None
        owner = names.get(key, only) if isinstance(key, int | str | None) else only
        box = as_box(annotation.get("bbox"))
        if box is None or owner is None:
            findings.add("malformed_box", f"{path}: annotation {annotation.get('id')}")
        else:
            found[owner].append(box)


def _objects(values: Iterable[Any]) -> Iterable[dict[str, Any]]:
    return (value for value in values if isinstance(value, dict))


def _add_plain(path: str, value: dict[str, Any], found: defaultdict[str, list[Box]]) -> None:
    for name, given in value.items():
        single = as_box(given)
        boxes = [single] if single else [as_box(item) for item in _list(given)]
        for box in boxes:
            if box is None:
                raise DataError(
                    f"{path}: {one_line(name)!r} needs a list of [x, y, width, height] in pixels"
                )
            found[name].append(box)
        found[name] += []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _add_dataset(root: Path, found: defaultdict[str, list[Box]]) -> None:
    """Boxes of labelled data, whose photos are at hand (YOLO's are in shares of their sizes)."""
    try:
        name = recognise(root)
    except DataError:
        return
    options = {field.name for field in fields(plugins.load("datasets", name).Config)}
    dataset = read_dataset(root, format=name, labels="boxes" if "labels" in options else None)
    for sample in dataset.samples:
        if sample.box is not None:
            found[dataset.file(sample)].append(sample.box)
