"""AI-Hub's oral drugs: one JSON a pill, with a box of a photo and what is known of the drug.

The class is the drug's code (`drug_N`, as `K-010224`): names repeat and are spelt in several
ways, codes are not. Its name (`dl_name`) and all else that is known of the drug go into
`class_info`. Photos are found by base name anywhere in the same part of the tree.
"""

# (strings are measurably faster than Path objects over 100,000 files)
from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from pocketlens.core.dataset import Box, Dataset, Sample, make_dataset
from pocketlens.core.problems import Findings
from pocketlens.datasets._cache import CachedLines, cache_file
from pocketlens.datasets._layout import heads, is_photo
from pocketlens.datasets._photos import MESSAGES, Photos, as_box, files_below, part_in
from pocketlens.progress import track

EXTRA = ""

_MESSAGES: Final = {
    **MESSAGES,
    "several_boxes": "annotations with several boxes; only the first of each is used",
}
#: They tell of the file alone.
_OF_THE_FILE: Final = frozenset(("file_name", "imgfile", "width", "height", "id", "drug_N"))
#: How a photo was taken; known of the class only where all its photos agree.
_OF_THE_PHOTO: Final = frozenset(
    ("drug_S", "back_color", "drug_dir", "light_color", "camera_la", "camera_lo", "size")
)
#: A field with more values than this is no property of a drug.
_MAX_VALUES: Final = 50
_MAX_BYTES: Final = 4_000_000
_CACHE_HEADER: Final = {"aihub": 2}


@dataclass(frozen=True)
class Config:
    """AI-Hub's layout has no options."""


class _Pill(NamedTuple):
    """What one JSON says; `fault` is a kind of finding where it is of no use."""

    photo: str = ""
    code: str = ""
    box: Box | None = None
    info: str = ""  # JSON of the remaining fields; equal texts are one object
    fault: str = ""
    several: bool = False


def recognises(root: Path) -> bool:
    """A folder with JSON files that name a `drug_N`."""
    return root.is_dir() and any(b'"drug_N"' in head for head in heads(root, (".json",)))


def read(root: Path, config: Config) -> Dataset:
    """One sample an annotation.

    Raises:
        DataError: there is no annotation whose photo is there.
    """
    findings = Findings(_MESSAGES)
    photos, annotations = [], []
    for file in files_below(root, findings):
        if is_photo(file):
            photos.append(file)
        elif file.lower().endswith(".json"):
            annotations.append(file)
    found = Photos(photos)
    samples: list[Sample] = []
    known: defaultdict[str, Counter[str]] = defaultdict(Counter)
    labels: dict[str, tuple[str]] = {}
    for path, pill in _pills(root, annotations):
        if pill.fault:
            findings.add(pill.fault, path)
            continue
        part = part_in(path)
        photo = found.find(pill.photo, findings, part=part, beside=path)
        if photo is None:
            continue
        if pill.several:
            findings.add("several_boxes", path)
        known[pill.code][pill.info] += 1
        label = labels.setdefault(pill.code, (pill.code,))
        samples.append(Sample(photo, label, box=pill.box, part=part))
    found.tell_unused(findings)
    return make_dataset(
        root,
        "aihub",
        samples,
        class_info={code: _united(infos) for code, infos in sorted(known.items())},
        problems=findings.problems(),
    )


def _pills(root: Path, annotations: list[str]) -> Iterator[tuple[str, _Pill]]:
    """What each file says, from the cache where size and time of change are still the same."""
    texts: dict[str, str] = {}
    with CachedLines(cache_file("aihub", root), _CACHE_HEADER) as cache:
        todo = annotations
        for path in track(todo, "reading annotations", len(todo)) if cache.is_empty else todo:
            full = os.path.join(root, path)
            try:
                status = os.stat(full)
            except OSError:
                yield path, _Pill(fault="unreadable_annotation")
                continue
            stamp = [status.st_size, status.st_mtime_ns]
            pill = _known(cache.get(path), stamp, texts)
            fresh = pill is None
            pill = pill or _parsed(full, status.st_size, texts)
            cache.put(path, [*stamp, _frozen(pill)], fresh=fresh)
            yield path, pill


def _known(line: Any, stamp: list[int], texts: dict[str, str]) -> _Pill | None:
    """The pill of a line of the cache, where it is of this very file."""
    try:
        size, mtime_ns, values = line
        return _thawed(values, texts) if [size, mtime_ns] == stamp else None
    except (TypeError, ValueError):
        return None


def _parsed(path: str, size: int, texts: dict[str, str]) -> _Pill:
    unreadable = _Pill(fault="unreadable_annotation")
    if size > _MAX_BYTES:
        return unreadable
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read().decode("utf-8-sig"))
        image = value["images"][0]
        annotations = value.get("annotations") or [{}]
        bbox = annotations[0].get("bbox")
        name = image.get("file_name") or image.get("imgfile")
        code = image.get("drug_N")
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return unreadable
    if not isinstance(name, str) or not name:
        return unreadable
    if not isinstance(code, str) or not code.strip():
        return _Pill(fault="missing_label")
    box = as_box(bbox)
    if box is None:
        return _Pill(fault="malformed_box")
    info = {key: image[key] for key in image if key not in _OF_THE_FILE}
    text = json.dumps(info, ensure_ascii=False)
    code = code.strip()
    return _Pill(
        texts.setdefault(name, name),
        texts.setdefault(code, code),
        box,
        texts.setdefault(text, text),
        several=len(annotations) > 1,
    )


def _frozen(pill: _Pill) -> list[Any]:
    """A pill as a line of the cache; one without a box is a fault."""
    if pill.box is None:
        return [pill.fault]
    return [pill.photo, pill.code, list(pill.box), pill.info, pill.several]


def _thawed(values: Any, texts: dict[str, str]) -> _Pill:
    """The pill of a line.

    Raises:
        TypeError, ValueError: the line is no such thing.
    """
    if len(values) == 1:
        if values[0] not in MESSAGES:
            raise ValueError(values[0])
        return _Pill(fault=values[0])
    photo, code, bbox, info, several = values
    box = as_box(bbox)
    if box is None or not all(isinstance(text, str) for text in (photo, code, info)):
        raise ValueError(bbox)
    if info not in texts and not isinstance(json.loads(info), dict):
        raise ValueError(info)
    photo, code, info = (texts.setdefault(text, text) for text in (photo, code, info))
    return _Pill(photo, code, box, info, several=several is True)


def _united(infos: Counter[str]) -> dict[str, Any]:
    """What is known of a class, `dl_name` first: of differing values the most frequent.

    A field of the photo is kept only where all files agree.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text, number in infos.items():
        for key, value in json.loads(text).items():
            if len(counts[key]) <= _MAX_VALUES:
                counts[key][json.dumps(value, ensure_ascii=False)] += number
    kept = {
        key: json.loads(values.most_common(1)[0][0])
        for key, values in counts.items()
        if len(values) == 1 or (key not in _OF_THE_PHOTO and len(values) <= _MAX_VALUES)
    }
    return {key: kept[key] for key in sorted(kept, key=lambda key: key != "dl_name")}
