"""A YAML file that names a format, where the parts lie, and which classes under which names.

```yaml
format: voc                      # any other format
splits: {train: 2023, test: new} # or `path: FOLDER`; both are relative to this file
classes: [cat, dog]              # only these, by their names in the data
rename: {kitten: cat}            # several old names may become one
options: {labels: boxes}         # of the format
```
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pocketlens import plugins
from pocketlens.core.dataset import PARTS, Dataset, Part, Problem, Sample, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.datasets._settings import read_settings

EXTRA = ""

_KEYS: Final = ("format", "path", "splits", "classes", "rename", "options")


@dataclass(frozen=True)
class Config:
    """The file itself holds the options."""


def recognises(root: Path) -> bool:
    """A YAML file with a `format`."""
    if root.suffix.lower() not in (".yaml", ".yml") or not root.is_file():
        return False
    try:
        return "format" in read_settings(root)
    except DataError:
        return False


def read(root: Path, config: Config) -> Dataset:
    """The data that the file describes.

    Raises:
        DataError: a key or class it names doesn't exist, or nothing usable lies there.
    """
    settings = read_settings(root)
    if unknown := sorted(settings.keys() - set(_KEYS)):
        raise DataError(f"{root} has no use for {unknown[0]!r}; it knows {', '.join(_KEYS)}")
    if "format" not in settings:
        raise DataError(f"{root} must name a format, as `format: coco`")
    read_one = [_read(root, settings, part, place) for part, place in _places(root, settings)]
    tasks = {data.task for data in read_one}
    if len(tasks) > 1:
        raise DataError(f"{root}: the parts differ, one has one label a photo, another several")
    samples = [sample for data in read_one for sample in data.samples]
    names = _names(root, settings, sorted({name for data in read_one for name in data.classes}))
    info: dict[str, Mapping[str, Any]] = {}
    for data in read_one:
        for old, known in data.class_info.items():
            if old in names:
                info.setdefault(names[old], known)
    columns = {data.extra_columns for data in read_one}
    if len(columns) > 1:
        samples = [replace(sample, extra=()) for sample in samples]
    return make_dataset(
        root.parent,
        "yaml",
        list(_renamed(samples, names, single=tasks == {"single_label"})),
        task=tasks.pop(),
        classes=sorted(set(names.values())),
        class_info=info,
        extra_columns=columns.pop() if len(columns) == 1 else (),
        problems=_together([problem for data in read_one for problem in data.problems]),
    )


def _places(root: Path, settings: Mapping[str, Any]) -> Iterator[tuple[Part | None, Path]]:
    splits, path = settings.get("splits"), settings.get("path")
    if path is not None and not isinstance(path, str):
        raise DataError(f"{root}: path must be text")
    base = root.parent / (path or ".")
    if splits is None:
        yield None, base
        return
    if not isinstance(splits, dict) or not splits:
        raise DataError(f"{root}: splits must name folders, as {{train: a, test: b}}")
    for name, places in splits.items():
        part = next((part for part in PARTS if part == name), None)
        if part is None:
            raise DataError(f"{root}: {name!r} is no split; name {', '.join(PARTS)}")
        for place in places if isinstance(places, list) else [places]:
            yield part, base / str(place)


def _read(root: Path, settings: Mapping[str, Any], part: Part | None, place: Path) -> Dataset:
    """One place in the format that the file names; paths become relative to the file."""
    name, options = str(settings["format"]), settings.get("options") or {}
    if name == "yaml":
        raise DataError(f"{root}: a YAML file can't describe another; name the other's format")
    if not isinstance(options, dict):
        raise DataError(f"{root}: options must be `name: value` lines")
    try:
        exists = place.exists()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise DataError(f"{root} names {place}, which doesn't exist; mend the path")
    plugin = plugins.load("datasets", name)
    texts = {str(key): value for key, value in options.items()}
    data: Dataset = plugin.read(place, plugins.configure(plugin, texts))
    base = os.path.relpath(data.root, root.parent)
    samples = [
        replace(
            sample,
            path=os.path.normpath(os.path.join(base, sample.path)),
            part=sample.part if part is None else part,
        )
        for sample in data.samples
    ]
    return data.subset(samples)


def _names(root: Path, settings: Mapping[str, Any], known: Sequence[str]) -> dict[str, str]:
    """Old name -> new name, of the classes that are kept."""
    chosen, rename = settings.get("classes"), settings.get("rename") or {}
    if chosen is not None and (not isinstance(chosen, list) or not chosen):
        raise DataError(f"{root}: classes must be a list of names")
    if not isinstance(rename, dict):
        raise DataError(f"{root}: rename must be `old: new` lines")
    kept = list(known) if chosen is None else [str(name) for name in chosen]
    new = {str(old): str(name) for old, name in rename.items()}
    missing = [name for name in (*kept, *new) if name not in known]
    if missing:
        some = ", ".join(known[:10]) + (" …" if len(known) > 10 else "")
        raise DataError(f"{root}: there is no class {missing[0]!r} in the data; it has {some}")
    return {name: new.get(name, name) for name in kept}


def _renamed(
    samples: Sequence[Sample], names: Mapping[str, str], *, single: bool
) -> Iterator[Sample]:
    """Samples of the kept classes; photos with several labels stay without the others."""
    labels_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for sample in samples:
        if sample.labels not in labels_of:
            new = dict.fromkeys(names[label] for label in sample.labels if label in names)
            labels_of[sample.labels] = tuple(new)
        labels = labels_of[sample.labels]
        if labels or not single:
            yield replace(sample, labels=labels)


def _together(problems: Sequence[Problem]) -> list[Problem]:
    """One problem a kind."""
    kinds: dict[str, Problem] = {}
    for problem in problems:
        seen = kinds.get(problem.kind)
        kinds[problem.kind] = (
            problem
            if seen is None
            else replace(
                seen,
                count=seen.count + problem.count,
                examples=(*seen.examples, *problem.examples)[:10],
            )
        )
    return list(kinds.values())
