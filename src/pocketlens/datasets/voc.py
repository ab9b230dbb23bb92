"""Pascal VOC: an XML file a photo; photos with the labels of all their boxes, or each box.

`Annotations/*.xml` with `JPEGImages/`, or XML files beside their photos. The part is told by
`ImageSets/Main/{train,val,test,trainval}.txt` where there are such lists, else by the folders.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from pocketlens.core.dataset import Box, Dataset, Part, Sample, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.core.problems import Findings
from pocketlens.datasets._layout import heads, is_photo, part_of
from pocketlens.datasets._photos import MESSAGES, Labels, Photos, as_box, files_below, part_in
from pocketlens.datasets._xml import read_xml

EXTRA = ""

_MESSAGES: Final = {
    **MESSAGES,
    "unlisted_annotation": "annotations that no list in ImageSets names are not used",
    "photo_without_box": "photos without a box are not used; they are when photos are labelled "
    "as a whole (--labels photos)",
}


@dataclass(frozen=True)
class Config:
    """How to understand the annotations."""

    labels: Labels = "photos"
    """Samples: photos with the labels of all their boxes, or boxes with one label each."""


class _Thing(NamedTuple):
    label: str
    box: Box | None


def recognises(root: Path) -> bool:
    """A folder with XML files that annotate photos."""
    return root.is_dir() and any(b"<annotation" in head for head in heads(root, (".xml",)))


def read(root: Path, config: Config) -> Dataset:
    """All photos that an XML file annotates, or all their boxes.

    Raises:
        DataError: there is no usable photo.
    """
    findings = Findings(_MESSAGES)
    photos, annotations, lists = [], [], []
    for path in files_below(root, findings):
        lower = path.lower()
        if is_photo(path):
            photos.append(path)
        elif lower.endswith(".xml"):
            annotations.append(path)
        elif lower.endswith(".txt") and "imagesets" in lower.split(os.sep):
            lists.append(path)
    listed = _image_sets(root, lists)
    found = Photos(photos)
    samples: list[Sample] = []
    texts: dict[tuple[str, ...], tuple[str, ...]] = {}
    for path in annotations:
        try:
            document = read_xml(os.path.join(root, path))
            if document.tag != "annotation":
                raise DataError("its root is no annotation")
        except DataError as error:
            findings.add("unreadable_annotation", f"{path}: {error}")
            continue
        stem = os.path.splitext(os.path.basename(path))[0]
        part = listed.get(stem) if listed else part_in(path)
        if listed and part is None:
            findings.add("unlisted_annotation", path)
            continue
        photo = _photo(document, path, part_in(path), found, findings)
        if photo is not None:
            things = _things(document, path, findings)
            samples += _samples(photo, things, part, config, texts, findings)
    found.tell_unused(findings)
    return make_dataset(
        root,
        "voc",
        samples,
        task="single_label" if config.labels == "boxes" else "multi_label",
        problems=findings.problems(),
    )


def boxes_of(path: str) -> tuple[str, list[Box]]:
    """The photo's name and the boxes of one file.

    Raises:
        DataError: it can't be read.
    """
    document = read_xml(path)
    name = (document.findtext("filename") or "").strip()
    stem = os.path.splitext(os.path.basename(path))[0]
    things = _things(document, path, Findings(_MESSAGES))
    return name or stem, [thing.box for thing in things if thing.box is not None]


def _image_sets(root: Path, lists: list[str]) -> dict[str, Part]:
    """Stem of a photo -> part. `trainval` means train for those that neither names alone."""
    parts: dict[str, Part] = {}
    for wanted in ("trainval", "train", "val", "test"):  # the later ones say it more exactly
        for path in lists:
            if os.path.splitext(os.path.basename(path))[0].lower() != wanted:
                continue
            part: Part = part_of(wanted) or "train"
            try:
                text = Path(root, path).read_text(encoding="utf-8-sig", errors="replace")
            except OSError:
                continue
            parts.update((line.split()[0], part) for line in text.splitlines() if line.split())
    return parts


def _photo(
    document: Element, path: str, part: Part | None, found: Photos, findings: Findings
) -> str | None:
    """The photo of a document: that it names, else that of its own name (renamed photos)."""
    stem = os.path.splitext(path)[0]
    name = (document.findtext("filename") or "").strip()
    if name:
        photo = found.find(name, findings, part=part, beside=path, note=False)
        if photo is not None:
            return photo
    return found.find(os.path.basename(stem), findings, part=part, beside=path)


def _things(document: Element, path: str, findings: Findings) -> list[_Thing]:
    things = []
    for thing in document.iter("object"):
        label = (thing.findtext("name") or "").strip()
        if not label:
            findings.add("missing_label", path)
            continue
        edges = []
        for name in ("xmin", "ymin", "xmax", "ymax"):
            try:
                edges.append(float(thing.findtext(f"bndbox/{name}") or ""))
            except ValueError:
                break
        box = None
        if len(edges) == 4:
            left, top, right, bottom = edges
            box = as_box([left, top, right - left, bottom - top])
        things.append(_Thing(label, box))
    return things


def _samples(
    photo: str,
    things: list[_Thing],
    part: Part | None,
    config: Config,
    texts: dict[tuple[str, ...], tuple[str, ...]],
    findings: Findings,
) -> list[Sample]:
    """Samples of one photo; equal labels are one object, by `texts`."""
    if config.labels == "photos":
        labels = tuple(sorted({thing.label for thing in things}))
        return [Sample(photo, texts.setdefault(labels, labels), part=part)]
    if not things:
        findings.add("photo_without_box", photo)
    for thing in things:
        if thing.box is None:
            findings.add("malformed_box", f"{photo}: {thing.label}")
    return [
        Sample(photo, texts.setdefault((thing.label,), (thing.label,)), box=thing.box, part=part)
        for thing in things
        if thing.box is not None
    ]
