"""Seconds and peak memory of reading 10,000 and 100,000 samples of each format.

    python benchmarks/read_data.py [FORMAT …] [--sizes 10000 100000] [--symbolic]

Each reading is a process of its own; AI-Hub is read twice, without and with its cache. Photos are
hard links to a few files (`--symbolic`: symbolic ones), annotations are as large as genuine ones:
two boxes a COCO, YOLO or VOC photo, five AI-Hub pills. Promises: time grows as the number of
samples does (at most a third more a sample), memory by at most 150 MB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LIMIT_MB = 150
LIMIT_GROWTH = 1.33
CLASSES = tuple(f"class {i:02d}" for i in range(80))
PILLS = 5
#: Names that one file may have: file systems allow 65,000.
MAX_LINKS = 10_000
PHOTO = b"\xff\xd8\xff\xe0 reading opens no photo"

Link = Callable[[Path], None]


def main() -> int:
    """Run, print one JSON object, and fail where a promise isn't kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(MAKERS))
    parser.add_argument("--sizes", type=int, nargs=2, default=(10_000, 100_000))
    parser.add_argument("--symbolic", action="store_true")
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        print(json.dumps(measure(args.of)))
        return 0
    rows = [
        row
        for name in args.formats or MAKERS
        for row in compare(name, tuple(args.sizes), symbolic=args.symbolic)
    ]
    print(json.dumps({"limit_mb": LIMIT_MB, "limit_growth": LIMIT_GROWTH, "rows": rows}, indent=1))
    return int(any(r["more_mb"] > LIMIT_MB or r["growth"] > LIMIT_GROWTH for r in rows))


def compare(name: str, sizes: tuple[int, int], *, symbolic: bool) -> Iterator[dict[str, Any]]:
    """A row for a format in both sizes; a second for AI-Hub's cache."""
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "POCKETLENS_CACHE": f"{folder}/cache"}
        for num in sizes:
            data = Path(folder) / str(num)
            # In a process of its own: a child's peak is never below what its parent holds.
            maker = multiprocessing.Process(target=make, args=(name, data, num, symbolic))
            maker.start()
            maker.join()
            assert not maker.exitcode
            for state in (name, f"{name}, cached") if name == "aihub" else (name,):
                command = [sys.executable, __file__, "--of", str(data)]
                out = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True, env=environment
                ).stdout
                runs.setdefault(state, []).append(json.loads(out))
    for state, (small, large) in runs.items():
        each = [run["cpu_seconds"] / run["num_samples"] for run in (small, large)]
        yield {
            "format": state,
            "runs": [small, large],
            "more_mb": round(large["peak_mb"] - small["peak_mb"], 1),
            "growth": round(each[1] / each[0], 2),
        }


def measure(data: Path) -> dict[str, float]:
    """Read a data set in this process."""
    from pocketlens import read_dataset

    read_dataset  # noqa: B018  (loads it, so that importing isn't counted)
    start, cpu = time.perf_counter(), time.process_time()
    dataset = read_dataset(data)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert not dataset.problems, dataset.problems
    return {
        "num_samples": len(dataset),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak_mb, 1),
    }


def make(name: str, data: Path, num: int, symbolic: bool) -> None:
    """Write `num` samples of a format."""
    data.mkdir()
    MAKERS[name](data, num, linker(data.with_name(f"photos-{num}"), symbolic=symbolic))


def linker(photos: Path, *, symbolic: bool) -> Link:
    """A function that makes a photo appear at a path."""
    photos.mkdir()
    num = 0

    def link(path: Path) -> None:
        nonlocal num
        source = photos / f"{num // MAX_LINKS}.jpg"
        if num % MAX_LINKS == 0:
            source.write_bytes(PHOTO)
        (os.symlink if symbolic else os.link)(source, path)
        num += 1

    return link


def make_folder(root: Path, num: int, link: Link) -> None:
    """`train/CLASS/photo.jpg`."""
    for name in CLASSES:
        (root / "train" / name).mkdir(parents=True)
    for i in range(num):
        link(root / "train" / CLASSES[i % len(CLASSES)] / f"photo_{i:06d}.jpg")


def make_csv(root: Path, num: int, link: Link) -> None:
    """A table with a label, a patient for four photos, and a further column."""
    (root / "photos").mkdir()
    lines = ["image,label,patient_id,camera"]
    for i in range(num):
        link(root / "photos" / f"photo_{i:06d}.jpg")
        name = CLASSES[i % len(CLASSES)]
        lines.append(f"photos/photo_{i:06d}.jpg,{name},P{i // 4:06d},{i % 7}")
    (root / "labels.csv").write_text("\n".join(lines))


def make_coco(root: Path, num: int, link: Link) -> None:
    """One JSON for all photos."""
    (root / "train2017").mkdir()
    (root / "annotations").mkdir()
    images, annotations = [], []
    for i in range(num):
        link(root / "train2017" / f"{i:012d}.jpg")
        url = f"http://images.cocodataset.org/train2017/{i:012d}.jpg"
        image = {"license": 3, "file_name": f"{i:012d}.jpg", "coco_url": url, "id": i}
        images.append(image | {"height": 480, "width": 640, "date_captured": "2013-11-14 16:28"})
        for k, name in enumerate(two_of(i)):
            outline = [[round(j * 7.31 + i % 97, 2) for j in range(40)]]
            annotations.append(
                {"segmentation": outline, "area": 702.1, "iscrowd": 0, "image_id": i}
                | {"bbox": [1.5, 2.5, 30.25, 40.5], "category_id": name + 1, "id": 2 * i + k}
            )
    categories = [{"supercategory": "s", "id": i + 1, "name": c} for i, c in enumerate(CLASSES)]
    value = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(value))


def make_yolo(root: Path, num: int, link: Link) -> None:
    """A label file a photo."""
    images, labels = root / "images" / "train", root / "labels" / "train"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    (root / "data.yaml").write_text(f"train: images/train\nnames: {json.dumps(CLASSES)}")
    for i in range(num):
        link(images / f"photo_{i:06d}.jpg")
        lines = [f"{name} 0.51 0.52 0.25 0.25" for name in two_of(i)]
        (labels / f"photo_{i:06d}.txt").write_text("\n".join(lines))


def make_voc(root: Path, num: int, link: Link) -> None:
    """An XML file a photo."""
    (root / "JPEGImages").mkdir()
    (root / "Annotations").mkdir()
    for i in range(num):
        link(root / "JPEGImages" / f"photo_{i:06d}.jpg")
        objects = "".join(
            f"<object><name>{CLASSES[name]}</name><pose>Left</pose><truncated>0</truncated>"
            "<difficult>0</difficult><bndbox><xmin>8</xmin><ymin>12</ymin><xmax>352</xmax>"
            "<ymax>498</ymax></bndbox></object>"
            for name in two_of(i)
        )
        (root / "Annotations" / f"photo_{i:06d}.xml").write_text(
            f"<annotation><folder>VOC2012</folder><filename>photo_{i:06d}.jpg</filename>"
            "<size><width>353</width><height>500</height><depth>3</depth></size>"
            f"<segmented>1</segmented>{objects}</annotation>"
        )


def make_aihub(root: Path, num: int, link: Link) -> None:
    """A JSON file a pill, as long as genuine ones."""
    images, annotations = root / "train_images", root / "train_annotations"
    images.mkdir()
    known = {f"field_{i}": "에스오메프라졸마그네슘삼수화물" for i in range(40)}
    for k in range(num):
        photo, pill = divmod(k, PILLS)
        stem, code = f"K-{photo:06d}_0_2_0_2_70_000_200", f"K-{k % len(CLASSES):06d}"
        if pill == 0:
            link(images / f"{stem}.png")
        folder = annotations / f"{stem}_json" / f"{code}_{pill}"
        folder.mkdir(parents=True)
        image = {"file_name": f"{stem}.png", "width": 976, "height": 1280, "drug_N": code, "id": k}
        image |= {"dl_name": f"drug {code}", "camera_la": 70 + photo % 3, **known}
        value = {
            "images": [image],
            "type": "instances",
            "annotations": [{"bbox": [pill * 100, k % 900, 255, 322], "image_id": k, "id": k}],
            "categories": [{"id": 1, "name": code, "supercategory": "pill"}],
        }
        (folder / f"{stem}.json").write_text(json.dumps(value, ensure_ascii=False, indent=4))


def two_of(i: int) -> tuple[int, int]:
    """Numbers of two classes; pairs repeat seldom."""
    return i % len(CLASSES), (i // len(CLASSES) + i) % len(CLASSES)


MAKERS: dict[str, Callable[[Path, int, Link], None]] = {
    "image-folder": make_folder,
    "csv": make_csv,
    "coco": make_coco,
    "yolo": make_yolo,
    "voc": make_voc,
    "aihub": make_aihub,
}


if __name__ == "__main__":
    sys.exit(main())
