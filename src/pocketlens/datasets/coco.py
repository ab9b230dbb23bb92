"""COCO instances JSON: photos with the labels of all their boxes, or each box as a sample.

The part is told by the JSON's name or folder (`instances_train2017.json`, `valid/…json`). All
categories are classes, also those without a box; category ids may have holes.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from pocketlens.core.dataset import Dataset, Part, Sample, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import describes_photos, head, heads, is_photo
from pocketlens.datasets._photos import (
    MESSAGES,
    Labels,
    Photos,
    as_box,
    files_below,
    part_in,
    part_in_name,
)

EXTRA = ""

_MESSAGES: Final = {
    **MESSAGES,
    "orphan_annotation": "annotations of a photo that their file doesn't list are not used",
    "crowd_box": "boxes around a crowd are not used, since they show no single thing",
    "photo_without_box": "photos without a box are not used; they are when photos are labelled "
    "as a whole (--labels photos)",
}
#: They accompany the instances in COCO's own archives and tell nothing of classes.
_OTHER: Final = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")


@dataclass(frozen=True)
class Config:
    """How to understand the annotations."""

    labels: Labels = "photos"
    """Samples: photos with the labels of all their boxes, or boxes with one label each."""


class _Photo(NamedTuple):
    """One image of a JSON file, and its annotations so far."""

    path: str
    part: Part | None
    samples: list[Sample]


def recognises(root: Path) -> bool:
    """An instances JSON, or a folder with such files."""
    if root.is_dir():
        found = list(heads(root, (".json",)))
        return any(map(_is_coco, found)) and not any(b'"drug_N"' in head for head in found)
    return root.suffix.lower() == ".json" and _is_coco(head(root))


def read(root: Path, config: Config) -> Dataset:
    """All photos that an instances JSON lists, or all their boxes.

    Raises:
        DataError: a file given by name can't be read, or there is no usable photo.
    """
    findings = Findings(_MESSAGES)
    top = root if root.is_dir() else _folder_of(root)
    photos, tables = [], []
    for file in files_below(top, findings):
        if is_photo(file.path):
            photos.append(file.path)
        elif file.path.lower().endswith(".json"):
            tables.append(file.path)
    chosen = _instances(top, tables) if root.is_dir() else [os.path.relpath(root, top)]
    found = Photos(photos)
    samples: dict[tuple[str, Part | None], Sample] = {}  # labelled photos
    boxes: list[Sample] = []
    info: dict[str, dict[str, Any]] = {}
    for table in chosen:
        value = _load(os.path.join(top, table))
        if value is None:
            if not root.is_dir():
                raise DataError(f"{root} is no COCO instances JSON")
            findings.add("unreadable_annotation", table)
            continue
        names = _categories(value, info)
        for photo in _photos(value, names, table, found, config.labels, findings):
            if config.labels == "boxes":
                if not photo.samples:
                    findings.add("photo_without_box", photo.path)
                boxes += photo.samples
                continue
            key = (photo.path, photo.part)
            labels = {label for sample in photo.samples for label in sample.labels}
            labels.update(samples[key].labels if key in samples else ())
            samples[key] = Sample(photo.path, tuple(sorted(labels)), part=photo.part)
    # A file given by name doesn't speak for the photos of other parts.
    found.tell_unused(findings, parts=() if root.is_dir() else {None, *map(_part, chosen)})
    return make_dataset(
        top,
        "coco",
        boxes if config.labels == "boxes" else list(samples.values()),
        task="single_label" if config.labels == "boxes" else "multi_label",
        classes=sorted(info),
        class_info=info,
        problems=findings.problems(),
    )


def _is_coco(head: bytes) -> bool:
    return describes_photos(head) and head.lstrip()[:1] != b"<" and b'"drug_N"' not in head


def _folder_of(table: Path) -> Path:
    """Where the photos of a JSON file lie."""
    named = table.resolve().parent.name.lower() in ("annotations", "labels")
    return Path(os.path.normpath(table.parent / "..")) if named else table.parent


def _instances(top: Path, tables: list[str]) -> list[str]:
    """The files that list instances; those that COCO gives beside them are none."""
    named = [t for t in tables if os.path.basename(t).lower().startswith("instances")]
    return named or [
        table
        for table in tables
        if not os.path.basename(table).lower().startswith(_OTHER)
        and _is_coco(head(os.path.join(top, table)))
    ]


def _part(table: str) -> Part | None:
    return part_in_name(os.path.splitext(os.path.basename(table))[0]) or part_in(table)


def _load(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    lists = ("images", "annotations", "categories")
    if not isinstance(value, dict) or not all(isinstance(value.get(k, []), list) for k in lists):
        return None
    return value if "images" in value else None


def _categories(value: dict[str, Any], info: dict[str, dict[str, Any]]) -> dict[Any, str]:
    """Names by id; what else is known of a category goes into `info`."""
    names: dict[Any, str] = {}
    for category in value.get("categories", ()):
        if isinstance(category, dict) and isinstance(category.get("id"), int | str):
            name = str(category.get("name", category["id"])).strip()
            names[category["id"]] = name
            known = {k: v for k, v in category.items() if isinstance(v, str | int | float)}
            info.setdefault(name, {k: v for k, v in known.items() if k not in ("id", "name")})
    return names


def _photos(
    value: dict[str, Any],
    names: dict[Any, str],
    table: str,
    found: Photos,
    labels: Labels,
    findings: Findings,
) -> Iterator[_Photo]:
    part = _part(table)
    photos: dict[Any, _Photo | None] = {}
    for image in value["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        key = image.get("id") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(key, int | str):
            findings.add("unreadable_annotation", f"{table}: an image without id or file_name")
            continue
        path = found.find(name, findings, part=part, beside=table)
        photos[key] = None if path is None else _Photo(path, part, [])
    texts = {name: (name,) for name in names.values()}
    for annotation in value.get("annotations", ()):
        if not isinstance(annotation, dict):
            findings.add("unreadable_annotation", f"{table}: an annotation that is no object")
            continue
        where = f"{table}: annotation {annotation.get('id')}"
        image_id, category = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(image_id, int | str) or image_id not in photos:
            findings.add("orphan_annotation", where)
            continue
        if not isinstance(category, int | str) or category not in names:
            findings.add("unknown_class", f"{where}: category {category}")
            continue
        photo = photos[image_id]
        if photo is None:
            continue
        sample = Sample(photo.path, texts[names[category]], part=part)
        if labels == "boxes":
            if annotation.get("iscrowd"):
                findings.add("crowd_box", where)
                continue
            box = as_box(annotation.get("bbox"))
            if box is None:
                findings.add("malformed_box", where)
                continue
            sample = replace(sample, box=box)
        photo.samples.append(sample)
    yield from (photo for photo in photos.values() if photo is not None)
