"""Reading a data set and telling its samples apart by what they are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType

from pocketlens import plugins
from pocketlens.core import exclusion
from pocketlens.core.dataset import Dataset, SplitGroups, check_class_names, file_hash, identity
from pocketlens.core.directory import expand
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.stream import run_ahead
from pocketlens.core.text import one_line
from pocketlens.progress import track, warn

_MAX_NAMED = 5
_NO_USE = {
    "group_column": "has no columns, so --group-column has nothing to name",
    "labels": "is read in one way only, so leave out --labels",
}


def read_dataset(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    exclude: str | os.PathLike[str] | None = None,
    group_column: str | None = None,
    labels: str | None = None,
    split_groups: SplitGroups | None = None,
) -> Dataset:
    """Read labelled photos; the format is recognised from what lies there.

    Args:
        path: a folder or a file that describes one.
        format: a format's name, where recognising isn't wanted.
        exclude: a CSV file of photos to leave out, as `check --exclude-to` writes it.
        group_column: the table's column whose values are never divided between parts.
        labels: of annotated photos: `photos` are samples with the labels of all their boxes, or
            `boxes` are samples with one label each.
        split_groups: `across` keeps each group in one part of the split, `inside` divides each.

    Raises:
        UserError: nothing lies there, it can't be read, no format or several recognise it, or
            it has no labelled photo.
    """
    root = expand(path)
    check_readable(root)
    name = format or recognise(root)
    plugin = plugins.load("datasets", name)
    given = {"group_column": group_column, "labels": labels}
    options = {key: value for key, value in given.items() if value is not None}
    known = {field.name for field in fields(plugin.Config)}
    for option in options:
        if option not in known:
            raise UserError(f"{name} data {_NO_USE[option]}")
    dataset: Dataset = plugin.read(root, plugins.configure(plugin, options))
    check_class_names(dataset.task, dataset.classes)
    reading = options | ({} if split_groups is None else {"split_groups": split_groups})
    if exclude is not None:
        reading["exclude"] = Path(exclude).name
    dataset = replace(dataset, split_groups=split_groups, reading=reading)
    return dataset if exclude is None else _without(dataset, expand(exclude))


@dataclass(frozen=True)
class Hashed:
    """A data set whose samples are known by what they are.

    Attributes:
        dataset: the samples whose file could be read.
        identities: one a sample, as `core.dataset.identity` makes them.
        unreadable: files that could not be read, with the reason; their samples are left out.
    """

    dataset: Dataset
    identities: list[str]
    unreadable: tuple[tuple[str, str], ...] = ()


def identities(dataset: Dataset) -> Hashed:
    """Hash each photo once, in threads.

    Raises:
        DataError: no file could be read.
    """
    paths = list(dict.fromkeys(sample.path for sample in dataset.samples))
    hashes: dict[str, str] = {}
    unreadable: list[tuple[str, str]] = []
    workers = max(2, available_cores())
    found = run_ahead(_try_hash, _files(dataset, paths), workers=workers, depth=8 * workers)
    for path, (digest, error) in zip(paths, track(found, "hashing", len(paths)), strict=True):
        if error is None:
            hashes[path] = digest
        else:
            unreadable.append((path, error))
    if not unreadable:
        keys = [identity(hashes[s.path], s.box) for s in dataset.samples]
        return Hashed(dataset, keys)
    path, error = unreadable[0]
    if not hashes:
        raise DataError(f"none of the {len(paths)} photos can be read: {one_line(path)}: {error}")
    warn(f"{len(unreadable)} files can't be read and are left out: {_some(unreadable)}")
    kept = [sample for sample in dataset.samples if sample.path in hashes]
    keys = [identity(hashes[sample.path], sample.box) for sample in kept]
    return Hashed(dataset.subset(kept), keys, tuple(unreadable))


def check_readable(root: Path) -> None:
    """A file or folder that can be opened.

    Raises:
        DataError: it can't.
    """
    try:
        if root.is_dir():
            os.scandir(root).close()
        else:
            root.open("rb").close()
    except FileNotFoundError as error:
        raise DataError(f"{root} doesn't exist; check the path") from error
    except OSError as error:
        raise DataError(f"{root} can't be read: {error.strerror}") from error
    except ValueError as error:  # a NUL byte
        raise DataError(f"{str(root)!r} is no path: {error}") from error


def recognise(root: Path) -> str:
    """The name of the one format that claims what lies there.

    Raises:
        DataError: none does, or several do.
    """
    known = plugins.names("datasets")
    claims = [name for name in known if _plugin(name).recognises(root)]
    if len(claims) == 1:
        return claims[0]
    if claims:
        raise DataError(f"{root} may be {' or '.join(claims)} data; name one with --format")
    raise DataError(
        f"{root} holds no data in a known format ({', '.join(known)}): put photos into folders "
        "named after their classes, give the CSV file with an image and a label column, or a YAML "
        "file with `format: NAME`"
    )


def _plugin(name: str) -> ModuleType:
    module: ModuleType = plugins.load("datasets", name)
    return module


def _without(dataset: Dataset, path: Path) -> Dataset:
    entries = exclusion.read_exclusions(path)
    kept = exclusion.exclude(dataset, entries)
    if kept.unmatched:
        names = ", ".join(one_line(name) for name in kept.unmatched[:_MAX_NAMED])
        warn(f"{len(kept.unmatched)} entries of {path} name nothing in the data: {names}")
    return kept.dataset


def _files(dataset: Dataset, paths: Iterable[str]) -> Iterable[str]:
    return (os.path.join(dataset.root, path) for path in paths)


def _try_hash(path: str) -> tuple[str, str | None]:
    try:
        return file_hash(path), None
    except OSError as error:
        return "", error.strerror or str(error)


def _some(unreadable: Iterable[tuple[str, str]]) -> str:
    named = list(unreadable)[:_MAX_NAMED]
    return "; ".join(f"{one_line(path)}: {error}" for path, error in named)


DataLike = Dataset | str | os.PathLike[str]


def as_dataset(data: DataLike) -> Dataset:
    """A data set from itself or from its path.

    Raises:
        UserError: it can't be read, or its class names can't be used.
    """
    if not isinstance(data, Dataset):
        return read_dataset(data)
    check_class_names(data.task, data.classes)
    return data


def as_hashed(data: DataLike | Hashed) -> Hashed:
    """A data set whose samples are known by what they are."""
    return data if isinstance(data, Hashed) else identities(as_dataset(data))


def data_paths(data: DataLike | Hashed | None) -> list[str | os.PathLike[str]]:
    """Where a data set lies, so that no output is put over it."""
    if data is None:
        return []
    if isinstance(data, Hashed):
        data = data.dataset
    return [data.root if isinstance(data, Dataset) else data]


def describe_data(hashed: Hashed) -> dict[str, object]:
    """What `compare.json` tells of the data: no path, since reports are passed on."""
    dataset = hashed.dataset
    return {
        "name": dataset.root.resolve().name,
        "format": dataset.format,
        "task": dataset.task,
        "num_samples": len(dataset),
        "num_classes": len(dataset.classes),
        **dataset.reading,
    }
