"""COCO instances JSON: photos with the labels of all their boxes, or each box as a sample.

The part is told by the JSON's name or folder (`instances_train2017.json`, `valid/…json`). All
categories are classes, also those without a box; category ids may have holes.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from pocketlens.core.dataset import Box, Dataset, Part, Sample, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.core.problems import Findings
from pocketlens.datasets._json import read_arrays
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
    things: list[tuple[str, Box | None]]


class _Annotation(NamedTuple):
    """What is kept of an annotation; the box only where boxes are asked for."""

    number: Any
    image: Any
    category: Any
    bbox: Any = None
    crowd: bool = False


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
        if is_photo(file):
            photos.append(file)
        elif file.lower().endswith(".json"):
            tables.append(file)
    chosen = _instances(top, tables) if root.is_dir() else [os.path.relpath(root, top)]
    found = Photos(photos)
    samples: dict[tuple[str, Part | None], Sample] = {}  # labelled photos
    texts: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal labels are one object
    boxes: list[Sample] = []
    info: dict[str, dict[str, Any]] = {}
    for table in chosen:
        value = _load(os.path.join(top, table), config.labels)
        if value is None:
            if not root.is_dir():
                raise DataError(f"{root} is no COCO instances JSON")
            findings.add("unreadable_annotation", table)
            continue
        names = _categories(value, info)
        for photo in _photos(value, names, table, found, config.labels, findings):
            if config.labels == "boxes":
                if not photo.things:
                    findings.add("photo_without_box", photo.path)
                for label, box in photo.things:
                    one = texts.setdefault((label,), (label,))
                    boxes.append(Sample(photo.path, one, box=box, part=photo.part))
                continue
            key = (photo.path, photo.part)
            names_of = {label for label, _ in photo.things}
            names_of.update(samples[key].labels if key in samples else ())
            labels = tuple(sorted(names_of))
            labels = texts.setdefault(labels, labels)
            samples[key] = Sample(photo.path, labels, part=photo.part)
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


def _load(path: str, labels: Labels) -> dict[str, list[Any]] | None:
    """What matters of a file: images, annotations, categories; None where it is no such file."""
    keep = {"images": _image, "categories": _itself}
    try:
        value = read_arrays(path, {**keep, "annotations": _boxed if labels == "boxes" else _named})
    except (OSError, ValueError, RecursionError):
        return None
    return value if value is not None and "images" in value else None


def _itself(item: Any) -> Any:
    return item


def _image(item: Any) -> tuple[Any, Any]:
    return (item.get("id"), item.get("file_name")) if isinstance(item, dict) else (None, None)


def _named(item: Any) -> _Annotation | None:
    if not isinstance(item, dict):
        return None
    return _Annotation(item.get("id"), item.get("image_id"), item.get("category_id"))


def _boxed(item: Any) -> _Annotation | None:
    named = _named(item)
    if named is None:
        return None
    return named._replace(bbox=item.get("bbox"), crowd=bool(item.get("iscrowd")))


def _categories(value: dict[str, list[Any]], info: dict[str, dict[str, Any]]) -> dict[Any, str]:
    """Names by id; what else is known of a category goes into `info`."""
    names: dict[Any, str] = {}
    for category in value.get("categories", ()):
        if isinstance(category, dict) and isinstance(category.get("id"), int | str):
            given = category.get("name")
            name = ("" if given is None else str(given).strip()) or str(category["id"])
            names[category["id"]] = name
            known = {k: v for k, v in category.items() if isinstance(v, str | int | float)}
            info.setdefault(name, {k: v for k, v in known.items() if k not in ("id", "name")})
    return names


def _photos(
    value: dict[str, list[Any]],
    names: dict[Any, str],
    table: str,
    found: Photos,
    labels: Labels,
    findings: Findings,
) -> Iterator[_Photo]:
    part = _part(table)
    photos: dict[Any, _Photo | None] = {}
    for key, name in value["images"]:
        if not isinstance(name, str) or not isinstance(key, int | str):
            findings.add("unreadable_annotation", f"{table}: an image without id or file_name")
            continue
        path = found.find(name, findings, part=part, beside=table)
        photos[key] = None if path is None else _Photo(path, part, [])
    texts: dict[str, tuple[str, None]] = {name: (name, None) for name in names.values()}
    for annotation in value.get("annotations", ()):
        if annotation is None:
            findings.add("unreadable_annotation", f"{table}: an annotation that is no object")
            continue
        where = f"{table}: annotation {annotation.number}"
        image, category = annotation.image, annotation.category
        if not isinstance(image, int | str) or image not in photos:
            findings.add("orphan_annotation", where)
            continue
        if not isinstance(category, int | str) or category not in names:
            findings.add("unknown_class", f"{where}: category {category}")
            continue
        photo = photos[image]
        if photo is None:
            continue
        if labels == "photos":
            photo.things.append(texts[names[category]])
        elif annotation.crowd:
            findings.add("crowd_box", where)
        elif (box := as_box(annotation.bbox)) is None:
            findings.add("malformed_box", where)
        else:
            photo.things.append((names[category], box))
    yield from (photo for photo in photos.values() if photo is not None)
