"""Names that people chose, made harmless where they are shown, saved or opened elsewhere."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
_LOOKS_HASHED: Final = re.compile(r"-[0-9a-f]{8}$")
_MAX_NAME_BYTES: Final = 100
#: Characters of a name in a Markdown file.
_LONGEST: Final = 100

#: They turn the direction of the text around them, so a name could pretend to be another.
_DIRECTION: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def csv_cell(text: str) -> str:
    """Text for a CSV cell: what a spreadsheet would run as a formula gets an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def one_line(text: str) -> str:
    """Text for a terminal: control characters and bytes that are no text are taken out.

    Line breaks and tabs become spaces; letters, emoji and their joiners stay.
    """
    text = re.sub(r"[\t\n\r\v\f\u0085\u2028\u2029]+", " ", text)
    return "".join(
        char
        for char in text
        if unicodedata.category(char) not in ("Cc", "Cs") and char not in _DIRECTION
    )


def markdown_code(text: str, *, cell: bool = False) -> str:
    """A name for a Markdown file, as code: shown as it is, neither markup nor a link.

    Args:
        cell: in a table, where a bar needs a backslash even in code.
    """
    text = one_line(text).strip()
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|') if cell else text}{pad}{fence}"


def safe_filename(text: str) -> str:
    """A file name for any text: no path, no device, short, and another for each other text.

    Plain lower-case names stay as they are; others are shortened to letters of any language,
    digits, `_` and `-`, and get a hash, so that names which differ only by case or Unicode form
    don't meet on a file system that takes them for one.
    """
    name = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text))
    while len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        name = name[:-1]
    plain = name == text == text.lower() and not name.startswith("-") and name.strip("_")
    if plain and not _RESERVED.fullmatch(name) and not _LOOKS_HASHED.search(name):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name.lstrip('-') or '_'}-{digest}"


def count_of(number: int, word: str, plural: str = "") -> str:
    """`1 photo`, `2 photos`; `plural` is for words that take another ending."""
    return f"{number:,} {word if number == 1 else plural or f'{word}s'}"
