"""Unpack an archive that came from elsewhere: nothing lands outside, nothing grows without end."""

from __future__ import annotations

import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from pocketlens.core.errors import DataError
from pocketlens.core.text import one_line
from pocketlens.progress import track

_CHUNK: Final = 1 << 20
_MAX_ENTRIES: Final = 1_000_000


def unpack(archive: Path, folder: Path, *, keep: Iterable[str] = (), max_bytes: int) -> int:
    """Write an archive's files into `folder`, which exists; give their number.

    All names are looked at before the first file is written.

    Args:
        keep: what the names to unpack begin with; all where empty.
        max_bytes: of all unpacked files together, counted as they are written.

    Raises:
        DataError: no zip file, a damaged or encrypted one, an entry that would land outside or
            on another, a link, or more bytes than allowed.
    """
    wanted = tuple(keep)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = list(_checked(opened, archive.name))
            entries = [e for e in entries if not wanted or e.filename.startswith(wanted)]
            left = max_bytes
            for entry in track(entries, f"unpacking {archive.name}"):
                left -= _write(opened, entry, folder, left, archive.name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive.name} is damaged: {one_line(str(error))}") from error
    return len(entries)


def _checked(opened: zipfile.ZipFile, name: str) -> Iterator[zipfile.ZipInfo]:
    """The files of an archive, all of whose entries are harmless."""
    infos = opened.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise DataError(f"{name} has {len(infos):,} entries, more than {_MAX_ENTRIES:,}")
    taken: set[str] = set()
    for entry in infos:
        _refuse(entry, name)
        if entry.is_dir():
            continue
        # Names that differ by case or Unicode form alone are one file on many disks.
        form = unicodedata.normalize("NFC", entry.filename).casefold()
        if form in taken:
            raise DataError(f"{name} has two entries of one name: {one_line(entry.filename)}")
        taken.add(form)
        yield entry


def _refuse(entry: zipfile.ZipInfo, name: str) -> None:
    given = entry.filename
    path = PurePosixPath(given)
    climbs = path.is_absolute() or ".." in path.parts or "\\" in given or ":" in given
    if climbs or "\0" in entry.orig_filename:
        raise DataError(f"{name} has an entry that would land outside: {one_line(given)}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{name} has an entry that is no plain file: {one_line(given)}")
    if entry.flag_bits & 1:
        raise DataError(f"{name} is encrypted")


def _write(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, limit: int, name: str
) -> int:
    """Write one entry; give its bytes."""
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > limit:
                raise DataError(f"{name} unpacks to more than it should; it isn't what it says")
            file.write(chunk)
    return written
