"""Which characters a font file can draw, read from its `cmap` table.

OpenType 1.9, "cmap": https://learn.microsoft.com/typography/opentype/spec/cmap. Formats 4 and 12
are what fonts with Unicode carry. Only that table is read, not the megabytes of outlines.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterable
from typing import BinaryIO, Final, NamedTuple

#: Outlines that can be drawn at any size; colour bitmaps can't.
_OUTLINES: Final = frozenset({b"glyf", b"CFF ", b"CFF2"})
_MOST_TABLES: Final = 4 << 20  # bytes of a cmap; a damaged file must not ask for all memory


class Covered(NamedTuple):
    """Code points a font has, as ranges in rising order: `starts[i]` to `ends[i]`, both in."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def has(self, char: str) -> bool:
        """Whether this character can be drawn."""
        at = bisect_right(self.starts, ord(char)) - 1
        return at >= 0 and ord(char) <= self.ends[at]

    def all_of(self, text: Iterable[str]) -> bool:
        """Whether all these characters can be drawn."""
        return all(map(self.has, text))


def covered(path: str | os.PathLike[str], index: int = 0) -> Covered | None:
    """What a font can draw; None where the file is damaged, or holds no outlines.

    Args:
        index: which font of a collection (.ttc).
    """
    try:
        with open(path, "rb") as file:
            return _covered(file, index)
    except (OSError, struct.error, ValueError, IndexError):
        return None


def _covered(file: BinaryIO, index: int) -> Covered | None:
    start = 0
    if file.read(4) == b"ttcf":
        _, number = struct.unpack(">II", file.read(8))
        if index >= number:
            return None
        file.seek(12 + 4 * index)
        (start,) = struct.unpack(">I", file.read(4))
    file.seek(start + 4)
    (number,) = struct.unpack(">H", file.read(2))
    file.seek(start + 12)
    tables: dict[bytes, tuple[int, int]] = {}
    for _ in range(number):
        tag, _, offset, length = struct.unpack(">4sIII", file.read(16))
        tables[tag] = offset, length
    if b"cmap" not in tables or not _OUTLINES & tables.keys():
        return None
    offset, length = tables[b"cmap"]
    file.seek(offset)
    return _read(file.read(min(length, _MOST_TABLES)))


def _read(table: bytes) -> Covered | None:
    (number,) = struct.unpack_from(">H", table, 2)
    found: dict[int, int] = {}
    for i in range(number):
        platform, encoding, offset = struct.unpack_from(">HHI", table, 4 + 8 * i)
        if platform == 0 or (platform, encoding) in ((3, 1), (3, 10)):
            (form,) = struct.unpack_from(">H", table, offset)
            found.setdefault(form, offset)
    if 12 in found:
        return _joined(_format_12(table, found[12]))
    return _joined(_format_4(table, found[4])) if 4 in found else None


def _format_4(table: bytes, at: int) -> list[tuple[int, int]]:
    (twice,) = struct.unpack_from(">H", table, at + 6)
    number = twice // 2
    ends = struct.unpack_from(f">{number}H", table, at + 14)
    starts = struct.unpack_from(f">{number}H", table, at + 16 + twice)
    return [(a, b) for a, b in zip(starts, ends, strict=True) if a <= b and a != 0xFFFF]


def _format_12(table: bytes, at: int) -> list[tuple[int, int]]:
    (number,) = struct.unpack_from(">I", table, at + 12)
    groups = struct.iter_unpack(">III", table[at + 16 : at + 16 + 12 * number])
    return [(first, last) for first, last, _ in groups if first <= last]


def _joined(ranges: list[tuple[int, int]]) -> Covered:
    ranges.sort()
    return Covered(tuple(a for a, _ in ranges), tuple(b for _, b in ranges))
