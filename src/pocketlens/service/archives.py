"""Zip archives from strangers: what is in them, within limits, and nothing by its own name.

Nothing here writes to disk. An archive is refused as a whole where it was made to deceive or to
swamp; an entry that can't be used is told, and the others are read.
"""

from __future__ import annotations

import stat
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Final

from pocketlens.core.errors import UserError
from pocketlens.service.marks import Rejected, shown

_CENTRAL: Final = b"PK\x01\x02"
_LOCAL: Final = b"PK\x03\x04"
_LOCAL_BYTES: Final = 30
_CHUNK: Final = 1 << 20
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_MAX_DEPTH: Final = 32
_DAMAGED: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, OverflowError),
)
_REASONS: Final = {
    "unsafe_name": "its name leads out of the archive, or is none",
    "link": "links and devices are not followed",
    "encrypted": "it is encrypted; send it without a password",
    "unknown_compression": "it is packed in a way that is not read; use plain zip (deflate)",
    "name_collision": "another entry has this name, or one that differs only by case",
    "entry_too_large": "it is too large",
    "damaged": "it is damaged",
}


class ArchiveError(UserError):
    """An archive that is not read at all; `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Limits:
    """How much an archive may ask for.

    Attributes:
        entries: files and folders in it.
        entry_bytes: of one entry when unpacked.
        ratio: all entries unpacked may be so many times as large as the archive, ...
        spare_bytes: ... and this much more, so that small ones of text are no fault.
        seconds: for unpacking.
    """

    entries: int = 50_000
    entry_bytes: int = 100_000_000
    ratio: float = 10.0
    spare_bytes: int = 64_000_000
    seconds: float = 120.0


@dataclass(frozen=True)
class Entry:
    """A file in an archive; `parts` are its folders and its name, as text, never as a path."""

    parts: tuple[str, ...]
    info: zipfile.ZipInfo

    @property
    def shown(self) -> str:
        """Fit for an answer."""
        return shown("/".join(self.parts))


@dataclass
class Archive:
    """An opened archive.

    Attributes:
        entries: files that may be read, in the archive's order.
        rejected: entries that are not, with the reason.
    """

    entries: list[Entry]
    rejected: list[Rejected]
    _zip: zipfile.ZipFile
    _limits: Limits
    _left: int
    _clock: Callable[[], float]
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        self._until = self._clock() + self._limits.seconds

    def read(self, entry: Entry) -> bytes | None:
        """An entry's bytes; None where it can't be had, which is then among `rejected`.

        Raises:
            ArchiveError: with this one the archive asks for too much.
        """
        chunks: list[bytes] = []
        size = 0
        try:
            with self._zip.open(entry.info) as file:
                while chunk := file.read(_CHUNK):
                    size += len(chunk)
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise ArchiveError(
                            "archive_bomb", "unpacked, the archive is far larger than packed"
                        )
                    if self._clock() > self._until:
                        raise ArchiveError(
                            "archive_too_slow", "unpacking takes too long; send smaller archives"
                        )
                    if size > self._limits.entry_bytes:
                        self.reject(entry, "entry_too_large")
                        return None
                    chunks.append(chunk)
        except ArchiveError:
            raise
        except _DAMAGED:
            self.reject(entry, "damaged")
            return None
        return b"".join(chunks)

    def reject(self, entry: Entry, code: str, reason: str | None = None) -> None:
        """Note an entry that isn't used."""
        self.rejected.append(Rejected(entry.shown, code, reason or _REASONS[code]))


def open_archive(
    file: IO[bytes], limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Archive:
    """Look at an archive's directory, and at each entry's own header.

    Args:
        file: seekable; it stays open while entries are read.

    Raises:
        ArchiveError: no zip, too many entries, entries that lie over each other.
    """
    limits = limits or Limits()
    size = file.seek(0, 2)
    _check_number(file, limits.entries)
    try:
        opened = zipfile.ZipFile(file)
        infos = opened.infolist()
    except (*_DAMAGED, OSError) as error:
        raise ArchiveError("bad_archive", "this is no zip archive, or a damaged one") from error
    _check_places(file, opened, infos)
    left = int(size * limits.ratio) + limits.spare_bytes
    archive = Archive([], [], opened, limits, left, clock)
    taken: set[tuple[str, ...]] = set()
    for info in infos:
        if info.is_dir():
            continue
        parts = _parts(info)
        if parts is not None and any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue  # what file managers leave behind
        entry = Entry(parts or (info.orig_filename,), info)
        fault = _fault(file, info)
        if fault is None:
            # Two names that some file system takes for one; folders may differ so.
            key = (*entry.parts[:-1], entry.parts[-1].casefold())
            fault = "name_collision" if key in taken else None
            taken.add(key)
        if fault is None:
            archive.entries.append(entry)
        else:
            archive.reject(entry, fault)
    return archive


def _check_number(file: IO[bytes], most: int) -> None:
    """Count the entries before the directory is read, which would take memory for each."""
    file.seek(0)
    number, tail = 0, b""
    while chunk := file.read(_CHUNK):
        number += (tail + chunk).count(_CENTRAL)
        tail = chunk[-3:]
        if number > most:
            raise ArchiveError(
                "too_many_entries", f"the archive has more than {most:,} entries; divide it"
            )
    file.seek(0)


def _check_places(file: IO[bytes], opened: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> None:
    """Entries that share their packed bytes unpack to many times what was sent."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ArchiveError("overlapping_entries", "entries of the archive lie over each other")
        header = _header(file, info)
        if header is None:
            raise ArchiveError("bad_archive", "this is no zip archive, or a damaged one")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        end = info.header_offset + _LOCAL_BYTES + lengths + info.compress_size
    if end > opened.start_dir:
        raise ArchiveError("overlapping_entries", "entries of the archive lie over each other")


def _header(file: IO[bytes], info: zipfile.ZipInfo) -> bytes | None:
    if info.header_offset < 0:
        return None
    file.seek(info.header_offset)
    header = file.read(_LOCAL_BYTES)
    return header if len(header) == _LOCAL_BYTES and header.startswith(_LOCAL) else None


def _fault(file: IO[bytes], info: zipfile.ZipInfo) -> str | None:
    """Why an entry isn't read, before it is."""
    if _parts(info) is None:
        return "unsafe_name"
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "link"
    header = _header(file, info)
    assert header is not None  # `_check_places`

    def number(at: int, num_bytes: int) -> int:
        return int.from_bytes(header[at : at + num_bytes], "little")

    flags = number(6, 2)
    if (info.flag_bits | flags) & _ENCRYPTED:
        return "encrypted"
    if info.compress_type not in _METHODS:
        return "unknown_compression"
    # Readers that believe the one or the other would see two different archives.
    sizes = (number(18, 4), number(22, 4))
    in_directory = (info.compress_size, info.file_size)
    differs = not flags & _SIZES_FOLLOW and 0xFFFFFFFF not in sizes and sizes != in_directory
    if number(8, 2) != info.compress_type or differs or (info.flag_bits ^ flags) & _UTF8:
        return "damaged"
    file.seek(info.header_offset + _LOCAL_BYTES)
    encoding = "utf-8" if flags & _UTF8 else "cp437"
    if file.read(number(26, 2)) != info.orig_filename.encode(encoding, "surrogateescape"):
        return "damaged"
    return None


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...] | None:
    """Folders and name, in one Unicode form; None for names that lead out or are none."""
    name = unicodedata.normalize("NFC", _name(info)).replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":":
        return None
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if not parts or len(parts) > _MAX_DEPTH or ".." in parts:
        return None
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return None
    return parts


def _name(info: zipfile.ZipInfo) -> str:
    """As it was meant: Windows writes Korean in its own code page, without saying so."""
    name = info.orig_filename
    if info.flag_bits & _UTF8 or name.isascii():
        return name
    raw = name.encode("cp437")
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name
