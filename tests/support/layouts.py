"""Small data sets in each layout, written from one description."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

Boxed = Mapping[str, Sequence[tuple[str, Sequence[float]]]]

SIZE = (64, 48)
#: Photo -> labelled boxes; the last photo shows nothing.
PHOTOS: Boxed = {
    "1.jpg": [("cat", (4, 4, 20, 20)), ("dog", (30, 10, 24, 30))],
    "2.jpg": [("dog", (2, 6, 30, 32))],
    "3.jpg": [],
}
NAMES = ("cat", "dog", "unicorn")


def photo(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """A picture that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def instances(photos: Boxed, names: Sequence[str] = NAMES) -> dict[str, Any]:
    """COCO's JSON; category ids have holes."""
    number = {name: 3 * i + 1 for i, name in enumerate(names)}
    things = [
        (i, label, box) for i, (_, found) in enumerate(photos.items()) for label, box in found
    ]
    return {
        "images": [
            {"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for i, name in enumerate(photos)
        ],
        "annotations": [
            {"id": k, "image_id": i, "category_id": number[label], "bbox": list(box), "iscrowd": 0}
            for k, (i, label, box) in enumerate(things)
        ],
        "categories": [{"id": i, "name": name, "supercategory": "s"} for name, i in number.items()],
    }


def coco(
    root: Path, photos: Boxed = PHOTOS, part: str = "train2017", names: Sequence[str] = NAMES
) -> Path:
    for seed, name in enumerate(photos):
        photo(root / part / name, hash_of(part) + seed)
    (root / "annotations").mkdir(exist_ok=True)
    target = root / "annotations" / f"instances_{part}.json"
    target.write_text(json.dumps(instances(photos, names)))
    return root


def yolo(
    root: Path,
    photos: Boxed = PHOTOS,
    part: str = "train",
    *,
    table: bool = True,
    names: Sequence[str] = NAMES,
) -> Path:
    for seed, (name, things) in enumerate(photos.items()):
        photo(root / "images" / part / name, hash_of(part) + seed)
        lines = []
        for label, (x, y, w, h) in things:
            shares = ((x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1])
            lines.append(f"{names.index(label)} " + " ".join(f"{v:.6f}" for v in shares))
        labels = root / "labels" / part / f"{Path(name).stem}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("\n".join(lines))
    if table:
        lines = [f"{folder.name}: images/{folder.name}" for folder in (root / "images").iterdir()]
        lines.append(f"names: {json.dumps(list(names), ensure_ascii=False)}")
        (root / "data.yaml").write_text("\n".join(lines), "utf-8")
    return root


def voc_xml(name: str, things: Sequence[tuple[str, Sequence[float]]]) -> str:
    objects = "".join(
        f"<object><name>{escape(label)}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for label, (x, y, w, h) in things
    )
    return f"<annotation><filename>{name}</filename>{objects}</annotation>"


def voc(root: Path, photos: Boxed = PHOTOS) -> Path:
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for seed, (name, things) in enumerate(photos.items()):
        photo(root / "JPEGImages" / name, seed)
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(voc_xml(name, things), "utf-8")
    return root


def pill(code: str, photo: str, bbox: Any, **known: Any) -> dict[str, Any]:
    """AI-Hub's JSON of one pill."""
    image = {"file_name": photo, "width": SIZE[0], "height": SIZE[1], "drug_N": code, "id": 1}
    return {
        "images": [image | {"dl_name": f"drug {code}"} | known],
        "annotations": [{"bbox": bbox, "category_id": 1, "image_id": 1}],
    }


def aihub(root: Path, photos: Boxed = PHOTOS, part: str = "train", seed: int = 0) -> Path:
    """A photo without a pill has no JSON."""
    for number, (name, things) in enumerate(photos.items()):
        photo(root / f"{part}_images" / name, hash_of(part) + seed + number)
        stem = Path(name).stem
        for k, (label, box) in enumerate(things):
            folder = root / f"{part}_annotations" / f"{stem}_json" / f"{_plain(label)}_{k}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.json").write_text(json.dumps(pill(label, name, list(box))))
    return root


def hash_of(part: str) -> int:
    """Other pictures for other parts."""
    return 1000 * sum(map(ord, part))


MAKERS = {"aihub": aihub, "coco": coco, "voc": voc, "yolo": yolo}


class Shot(NamedTuple):
    """A photo with one label, as every format can hold it; box formats cut it to `box`."""

    name: str
    label: str
    picture: int = 0
    part: str = "train"
    box: Sequence[float] = (4, 4, 48, 40)


def write(format: str, root: Path, shots: Sequence[Shot], declared: Sequence[str] = ()) -> Path:
    """Write the photos in a format; the place to read.

    Args:
        declared: further classes, where a format can name some that no photo has.
    """
    root.mkdir(parents=True, exist_ok=True)
    return WRITERS[format](root, shots, declared)


def _write_folder(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    for shot in shots:
        photo(root / shot.part / shot.label / shot.name, shot.picture)
    for name in declared:
        (root / "train" / name).mkdir(parents=True)
    return root


def _write_csv(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "split"])
        for shot in shots:
            path = f"photos/{shot.part}/{shot.name}"
            photo(root / path, shot.picture)
            writer.writerow([path, shot.label, shot.part])
    return root


def _write_yaml(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    (root / "d").mkdir()
    _write_csv(root / "d", shots, declared)
    (root / "data.yaml").write_text("format: csv\npath: d\n")
    return root / "data.yaml"


def _write_coco(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    for part, photos in _by_part(shots).items():
        coco(root, photos, f"{part}2017", _names(shots, declared))
    return _pictures(root, shots, "{part}2017/{name}")


def _write_yolo(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    for part, photos in _by_part(shots).items():
        yolo(root, photos, part, names=_names(shots, declared))
    return _pictures(root, shots, "images/{part}/{name}")


def _write_voc(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for part, photos in _by_part(shots).items():
        voc(root, photos)
        (lists / f"{part}.txt").write_text("\n".join(Path(name).stem for name in photos))
    return _pictures(root, shots, "JPEGImages/{name}")


def _write_aihub(root: Path, shots: Sequence[Shot], declared: Sequence[str]) -> Path:
    for part, photos in _by_part(shots).items():
        aihub(root, photos, part)
    return _pictures(root, shots, "{part}_images/{name}")


def _by_part(shots: Sequence[Shot]) -> dict[str, dict[str, list[tuple[str, Sequence[float]]]]]:
    parts: dict[str, dict[str, list[tuple[str, Sequence[float]]]]] = {}
    for shot in shots:
        parts.setdefault(shot.part, {}).setdefault(shot.name, []).append((shot.label, shot.box))
    return parts


def _names(shots: Sequence[Shot], declared: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*(shot.label for shot in shots), *declared]))


def _pictures(root: Path, shots: Sequence[Shot], place: str) -> Path:
    for shot in shots:
        photo(root / place.format(part=shot.part, name=shot.name), shot.picture)
    return root


def _plain(label: str) -> str:
    """A label as a part of a folder's name."""
    return re.sub(r"\W", "_", label)[:40]


WRITERS: dict[str, Callable[[Path, Sequence[Shot], Sequence[str]], Path]] = {
    "aihub": _write_aihub,
    "coco": _write_coco,
    "csv": _write_csv,
    "image-folder": _write_folder,
    "voc": _write_voc,
    "yaml": _write_yaml,
    "yolo": _write_yolo,
}
