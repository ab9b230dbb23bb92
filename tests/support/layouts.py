"""Small data sets in each annotated layout, written from one description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def coco(root: Path, photos: Boxed = PHOTOS, part: str = "train2017") -> Path:
    for seed, name in enumerate(photos):
        photo(root / part / name, hash_of(part) + seed)
    (root / "annotations").mkdir(exist_ok=True)
    target = root / "annotations" / f"instances_{part}.json"
    target.write_text(json.dumps(instances(photos)))
    return root


def yolo(root: Path, photos: Boxed = PHOTOS, part: str = "train", *, table: bool = True) -> Path:
    for seed, (name, things) in enumerate(photos.items()):
        photo(root / "images" / part / name, hash_of(part) + seed)
        lines = []
        for label, (x, y, w, h) in things:
            shares = ((x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1])
            lines.append(f"{NAMES.index(label)} " + " ".join(f"{v:.6f}" for v in shares))
        labels = root / "labels" / part / f"{Path(name).stem}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("\n".join(lines))
    if table:
        lines = [f"{folder.name}: images/{folder.name}" for folder in (root / "images").iterdir()]
        (root / "data.yaml").write_text("\n".join([*lines, f"names: [{', '.join(NAMES)}]"]))
    return root


def voc_xml(name: str, things: Sequence[tuple[str, Sequence[float]]]) -> str:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for label, (x, y, w, h) in things
    )
    return f"<annotation><filename>{name}</filename>{objects}</annotation>"


def voc(root: Path, photos: Boxed = PHOTOS) -> Path:
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for seed, (name, things) in enumerate(photos.items()):
        photo(root / "JPEGImages" / name, seed)
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(voc_xml(name, things))
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
            folder = root / f"{part}_annotations" / f"{stem}_json" / f"{label}_{k}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.json").write_text(json.dumps(pill(label, name, list(box))))
    return root


def hash_of(part: str) -> int:
    """Other pictures for other parts."""
    return 1000 * sum(map(ord, part))


MAKERS = {"aihub": aihub, "coco": coco, "voc": voc, "yolo": yolo}
