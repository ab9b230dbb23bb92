"""Fonts of this machine that have the characters of a name, whatever its script.

No font is shipped: one for all scripts weighs more than the rest of pocketlens. A name that no
font here can draw is never drawn as empty boxes: its characters' numbers stand for them, and what
to install is said once.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from PIL import ImageFont, features

from pocketlens.core.text import one_line
from pocketlens.explain._cmap import Covered, covered

Font = ImageFont.FreeTypeFont

#: Earlier names are better for Latin text; what else a machine has comes after them.
_LIKED: Final = (
    "notosans-regular", "segoeui", "arial", "helvetica", "sfns", "roboto-regular", "dejavusans",
    "liberationsans-regular", "notosanscjk-regular", "notosanskr", "malgun", "applesdgothicneo",
    "nanumgothic", "notosansarabic", "notosanshebrew", "notosansdevanagari", "notosansthai",
)  # fmt: skip
_STYLED: Final = ("bold", "italic", "oblique", "mono", "serif", "condensed", "narrow", "light")
_RIGHT_TO_LEFT: Final = ("AL", "R", "AN")
#: Scripts whose letters join, or stand around each other: Hebrew to Tibetan, Burmese, Khmer.
_SHAPED: Final = ((0x0590, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xFB1D, 0xFEFC))


@dataclass(frozen=True)
class Run:
    """Characters that one font draws."""

    text: str
    font: Font


@dataclass
class Fonts:
    """The machine's fonts, opened as they are needed.

    Attributes:
        tell: is given what a person should know, once each: which font to install.
        files: fonts to look at instead of the machine's.
    """

    tell: Callable[[str], None]
    files: list[str] | None = None
    _known: dict[str, Covered | None] = field(default_factory=dict, repr=False)
    _opened: dict[tuple[str, int], Font] = field(default_factory=dict, repr=False)
    _told: set[str] = field(default_factory=set, repr=False)

    def runs(self, text: str, size: int) -> list[Run]:
        """A name on one line, split by the fonts that draw it; what none has is `U+…`.

        Args:
            size: of the letters, in pixels.
        """
        text = "".join(char for char in one_line(text) if not _is_invisible(char))
        file = self._file_of(text)
        if _needs_shaping(text) and not _has_raqm():
            self._tell_once(
                "shaping",
                "Pillow has no Raqm library here, so scripts whose letters join or that run from "
                "right to left are drawn letter by letter in pictures",
            )
        if file is not None:
            return [Run(text, self._open(file, size))]
        missing = [char for char in text if self._file_of(char) is None]
        if missing:
            self._tell_missing(missing[0])
        if _is_right_to_left(text):  # pieces of it could not be put into their order
            text = " ".join(f"U+{ord(char):04X}" for char in text)
        pieces: list[tuple[str, str]] = []
        for char in text:
            file = self._file_of(char)
            shown = char if file is not None else f"[U+{ord(char):04X}]"
            file = file or self._file_of("U") or ""
            if pieces and pieces[-1][0] == file:
                pieces[-1] = file, pieces[-1][1] + shown
            else:
                pieces.append((file, shown))
        return [Run(piece, self._open(file, size)) for file, piece in pieces]

    def _file_of(self, text: str) -> str | None:
        """The first font that has all these characters; the built-in one has ASCII alone."""
        for file in self.files if self.files is not None else machine_fonts():
            if file not in self._known:
                self._known[file] = covered(file)
            chars = self._known[file]
            if chars is not None and chars.all_of(text):
                return file
        return "" if text.isascii() else None

    def _open(self, file: str, size: int) -> Font:
        if (file, size) not in self._opened:
            font = ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
            assert isinstance(font, Font)
            self._opened[file, size] = font
        return self._opened[file, size]

    def _tell_missing(self, char: str) -> None:
        name = unicodedata.name(char, f"U+{ord(char):04X}")
        script = name.split()[0]
        self._tell_once(
            script,
            f"no font here has {name}; in pictures such characters stand as U+{ord(char):04X}: "
            f"install a font that has them, such as {_advice(script)}",
        )

    def _tell_once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.tell(text)


@cache
def machine_fonts() -> tuple[str, ...]:
    """Font files of this machine, plain sans-serif ones first."""
    found = sorted({file for folder in _folders() for file in _below(folder)})
    return tuple(sorted(found, key=_rank))


def _rank(file: str) -> tuple[int, int, str]:
    name = os.path.splitext(os.path.basename(file))[0].lower().replace("-vf", "")
    plain = "".join(name.split())
    liked = next((i for i, known in enumerate(_LIKED) if plain == known), len(_LIKED))
    return liked, sum(word in plain for word in _STYLED), file


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home))
        return [
            Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
            Path(local) / "Microsoft" / "Windows" / "Fonts",
        ]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    shared = os.environ.get("XDG_DATA_HOME") or str(home / ".local" / "share")
    places = ["/usr/share/fonts", "/usr/local/share/fonts", f"{shared}/fonts", f"{home}/.fonts"]
    return [Path(place) for place in places]


def _below(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith((".ttf", ".otf", ".ttc", ".otc")):
                yield os.path.join(root, name)


def _is_invisible(char: str) -> bool:
    """Joiners and variation selectors of emoji, which a font without them need not have."""
    return char in "\u200b\u200c\u200d\u2060\ufeff" or 0xFE00 <= ord(char) <= 0xFE0F


def _is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text)


def _needs_shaping(text: str) -> bool:
    return any(low <= ord(char) <= high for char in text for low, high in _SHAPED)


def _has_raqm() -> bool:
    return bool(features.check("raqm"))


def _advice(script: str) -> str:
    if script in ("HANGUL", "CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO"):
        return "Noto Sans CJK (Debian, Ubuntu: apt install fonts-noto-cjk)"
    return "one of the Noto fonts (Debian, Ubuntu: apt install fonts-noto-core)"
