"""What is said of photos that come in, what can be wrong with it, and how it is spoken of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pocketlens.core.dataset import LABEL_SEPARATOR, Box, Part, Task
from pocketlens.core.text import one_line

#: Of one label, in characters.
MAX_LABEL: Final = 1_000
_MAX_SHOWN: Final = 200


@dataclass(frozen=True)
class Mark:
    """What is said of a photo, or of a box of it."""

    labels: tuple[str, ...]
    box: Box | None = None
    group: str | None = None
    part: Part | None = None


@dataclass(frozen=True)
class Incoming:
    """A photo as it was sent.

    Attributes:
        name: to speak of it in an answer; it is not kept.
    """

    name: str
    data: bytes
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Rejected:
    """What was not taken in, with a word for programs and a line for people."""

    name: str
    code: str
    reason: str


def shown(name: str) -> str:
    """A name that a stranger gave, fit for an answer."""
    text = one_line(name.replace("\0", ""))
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def fault(mark: Mark, task: Task, size: tuple[int, int]) -> tuple[str, str] | None:
    """Why this can't be entered, as a code and a reason."""
    if task == "single_label" and len(mark.labels) != 1:
        return "bad_label", "a photo of this data set has exactly one label"
    for label in mark.labels:
        if not label.strip() or len(label) > MAX_LABEL or "\0" in label or not is_plain(label):
            return "bad_label", f"a label is text of 1 to {MAX_LABEL:,} characters"
        if task == "multi_label" and LABEL_SEPARATOR in label:
            return "bad_label", f"a label beside others has no {LABEL_SEPARATOR}, which joins them"
    wrong = mark.box.fault(size) if mark.box is not None else None
    return ("bad_box", wrong) if wrong else None


def is_plain(value: Any) -> bool:
    """Whether it can be written as JSON in UTF-8: no half of a character, no NaN, no infinity."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True
