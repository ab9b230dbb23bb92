"""The files of models: a directory each under `home/models`, and a packed copy in the storage.

The packed copy is how a worker on another machine comes by a model that was trained here; what
lies in `home/models` there is a cache of it. Both are read through the bundle reader, which checks
every file against its hash.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Protocol

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.card import CARD
from pocketlens.core.directory import MANIFEST, new_directory
from pocketlens.core.errors import BundleError, UserError


class PrivateStorage(Protocol):
    """What of the storage is used here: files that are never served."""

    def put_private(self, name: str, content: bytes) -> None:
        """Write a file whole, or replace it."""
        ...

    def get_private(self, name: str) -> bytes:
        """Its bytes; FileNotFoundError where there is none."""
        ...

    def delete_private(self, name: str) -> None:
        """Remove it, if it is there."""
        ...


def directory_of(home: Path, model_id: str) -> Path:
    """Where a model's bundle lies on this machine."""
    return home / "models" / model_id


def id_of_training(job_id: str) -> str:
    """The id of the one model that a training makes, however often it is taken up."""
    return hashlib.sha256(f"model of {job_id}".encode()).hexdigest()[:32]


def packed_name(model_id: str) -> str:
    """Name of a model's packed copy in the storage."""
    return f"models/{model_id}.zip"


def keep(bundle: Bundle, home: Path, model_id: str, storage: PrivateStorage | None) -> Bundle:
    """Copy a bundle whole, so that what becomes of the original changes nothing here.

    Files come first and the row after them, so that no row ever names a model without files. A
    copy that is there already is left: ids are never used for two models.

    Raises:
        BundleError: the bundle was altered since it was opened.
        UserError: `home` can't be written to.
    """
    target = directory_of(home, model_id)
    if _damage(target) is not None:
        _set_aside(target)  # the original is whole
    if not target.exists():
        try:
            with new_directory(target) as temporary:
                for name in _names(bundle):
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(bundle.path / name, temporary / name)
                read_bundle(temporary)
        except UserError:
            if not target.exists():  # else another process made the same copy meanwhile
                raise
    kept = read_bundle(target)
    if storage is not None:
        storage.put_private(packed_name(model_id), pack(kept))
    return kept


def fetch(home: Path, model_id: str, storage: PrivateStorage | None) -> Bundle:
    """A model's bundle on this machine, brought from the storage where it isn't there yet.

    Raises:
        BundleError: it is nowhere, or damaged.
    """
    target = directory_of(home, model_id)
    damage = _damage(target)
    if damage is not None or not target.exists():
        if storage is None:
            raise damage or BundleError(f"the files of model {model_id} are not on this machine")
        try:
            content = storage.get_private(packed_name(model_id))
        except FileNotFoundError:
            raise damage or BundleError(
                f"the files of model {model_id} are not in the storage"
            ) from None
        if damage is not None:
            _set_aside(target)
        try:
            unpack(content, target)
        except UserError:
            if not target.exists():  # else another process fetched it meanwhile
                raise
    return read_bundle(target)


def forget(home: Path, model_id: str, storage: PrivateStorage | None) -> None:
    """Remove a model's files, here and in the storage."""
    _set_aside(directory_of(home, model_id))
    if storage is not None:
        storage.delete_private(packed_name(model_id))


def _damage(target: Path) -> BundleError | None:
    """What is wrong with a copy that is there: a cache that a disk has spoilt is made anew."""
    if not target.exists():
        return None
    try:
        read_bundle(target)
    except BundleError as error:
        return error
    return None


def _set_aside(target: Path) -> None:
    """Remove a directory, under another name first: half a model must not be taken for one."""
    gone = target.with_name(f".{target.name}.{os.getpid()}.tmp")  # `new_directory` knows it
    with suppress(OSError):
        target.rename(gone)
    for path in (gone, target):
        shutil.rmtree(path, ignore_errors=True)


def pack(bundle: Bundle) -> bytes:
    """A zip of the bundle's files, uncompressed: weights don't get smaller."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in _names(bundle):
            archive.write(bundle.path / name, name)
    return out.getvalue()


def unpack(content: bytes, target: Path) -> Bundle:
    """What `pack` packed, as a directory that appears whole or not at all.

    Raises:
        BundleError: it is no bundle, damaged, or names a file outside its directory.
        UserError: `target` exists already, or can't be written.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, new_directory(target) as temporary:
            for entry in archive.infolist():
                pure = PurePosixPath(entry.filename)
                if pure.is_absolute() or ".." in pure.parts or "\\" in entry.filename:
                    raise BundleError("a packed model names a file outside its directory")
                (temporary / pure).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, (temporary / pure).open("wb") as file:
                    shutil.copyfileobj(source, file)
            read_bundle(temporary)
    except zipfile.BadZipFile as error:
        raise BundleError(f"a packed model is damaged: {error}") from error
    return read_bundle(target)


def _names(bundle: Bundle) -> list[str]:
    """Every file of it: the manifest's, the manifest, and the card, which no hash covers."""
    names = [MANIFEST, *bundle.manifest.files]
    return names if bundle.card is None else [*names, CARD]
