"""What `explain` found: for each photo and bundle the answer, the map's class, how far it moved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

SCHEMA: Final = 1


@dataclass(frozen=True)
class Source:
    """A bundle that was looked at.

    Attributes:
        how: method, layer and settings, for people; `layer` is empty for occlusion.
    """

    name: str
    id: str
    network: str
    runtime: str
    precision: str
    layer: str
    how: str


@dataclass(frozen=True)
class Look:
    """One bundle's map of one photo.

    Attributes:
        answer: its own labels, the likeliest first.
        label: the class that the map is of, `probability` what it got (0 to 1).
        called: what people call that class, where its own name is a code.
        correlation: with the first bundle's map, -1 to 1; `overlap` of the strongest fifths, 0 to
            1; None for the first bundle, and where there is nothing to compare: another class, or
            a map that is 0 everywhere.
        flat: nothing on the photo speaks for the class.
        error: why there is no map, or None.
    """

    answer: tuple[str, ...] = ()
    label: str = ""
    called: str = ""
    probability: float = 0.0
    correlation: float | None = None
    overlap: float | None = None
    flat: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Row:
    """One photo, or box of it, and one class: a look for each bundle, and the picture's file."""

    filename: str
    box: tuple[float, ...] | None
    looks: tuple[Look, ...]
    picture: str | None


@dataclass(frozen=True)
class Moved:
    """How far a bundle's maps lie from the first one's: lower quartile, median, upper quartile.

    Attributes:
        num_compared: maps, those of another class left out.
        num_same_answer: photos with the answer of the first bundle; None where the two have no
            class in common.
    """

    num_compared: int
    num_same_answer: int | None
    correlation: tuple[float, float, float] | None
    overlap: tuple[float, float, float] | None


@dataclass(frozen=True)
class Explanations:
    """All of it.

    Attributes:
        method: that all maps are made by; `asked` may have been `auto`.
        moved: one for each bundle but the first.
    """

    asked: str
    method: str
    top_share: float
    sources: Sequence[Source]
    rows: Sequence[Row]
    moved: Sequence[Moved]
    notes: Sequence[str]

    def to_json(self) -> str:
        """The text of `maps.json`."""
        values: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"
