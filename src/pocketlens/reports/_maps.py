"""The page of `explain`: what it says in words, and the values its template lays out."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pocketlens.core.explained import Explanations, Look
from pocketlens.core.names import RUNTIMES
from pocketlens.reports._format import NONE
from pocketlens.reports._page import page
from pocketlens.reports._sections import Tile, image_url

TITLES = {
    "gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "eigencam": "EigenCAM",
    "occlusion": "Occlusion",
}  # fmt: skip
_HOW = {
    "gradcam": "Bright is where the last spatial layer speaks for the class.",
    "gradcam++": "Bright is where the last spatial layer speaks for the class.",
    "eigencam": "Bright is where the last spatial layer is most active; it is the same map for "
    "every class, so it says what the network looks at, not what for.",
    "occlusion": "Bright is where covering the photo takes most from the class.",
}


def render(found: Explanations, panels: Sequence[Sequence[str]]) -> str:
    """The text of `report.html`.

    Args:
        panels: for each row its small JPEGs in base64, the photo first; empty for rows that are
            not shown.
    """
    shown = [(row, pictures) for row, pictures in zip(found.rows, panels, strict=True) if pictures]
    return page(
        "maps.html",
        e=found,
        title=headline(found),
        how=_HOW[found.method],
        method=TITLES[found.method],
        tiles=tiles(found),
        shown=shown,
        hidden=sum(row.picture is not None for row in found.rows) - len(shown),
        image_url=image_url,
        base=os.path.basename,
        runtime=lambda name: RUNTIMES.get(name, name),
        words=look_words,
        three=three,
        moved=lambda i: found.moved[i - 1],
    )


def headline(found: Explanations) -> str:
    """The one sentence a reader takes along."""
    measured = [moved for moved in found.moved if moved.correlation is not None]
    if not found.moved:
        return "Where on each photo the answer comes from"
    if not measured:
        return "The same photos, seen by several networks"
    worst = min(measured, key=lambda moved: moved.correlation or (0, 0, 0))
    assert worst.correlation is not None
    middle = worst.correlation[1]
    degree = "hardly moved" if middle >= 0.9 else "moved" if middle >= 0.5 else "moved far"
    return f"The maps {degree}: correlation {two(middle)} with those of {found.sources[0].name}"


def tiles(found: Explanations) -> list[Tile]:
    """The figures of the headline."""
    num = len({(row.filename, row.box) for row in found.rows if row.picture})
    made = [Tile("Looked at", f"{num:,}", f"photos or boxes, by {TITLES[found.method]}")]
    for source, moved in zip(found.sources[1:3], found.moved, strict=False):
        if moved.correlation is not None and moved.overlap is not None:
            against = f"median; {source.name} against {found.sources[0].name}"
            made.append(Tile("Correlation", two(moved.correlation[1]), against))
            made.append(
                Tile("Overlap", two(moved.overlap[1]), f"of the strongest fifths, {against}")
            )
    return made


def three(values: tuple[float, float, float] | None) -> str:
    """Median with the quartiles."""
    return NONE if values is None else f"{two(values[1])} ({two(values[0])} to {two(values[2])})"


def two(value: float) -> str:
    """Two places; never `-0.00`."""
    return f"{round(value, 2) + 0.0:.2f}"


def look_words(look: Look) -> str:
    """What stands below a map beside its class."""
    parts = []
    if look.label not in look.answer:
        parts.append(f"answers {', '.join(look.answer) or 'no label'}")
    if look.flat:
        parts.append("nothing on the photo speaks for it")
    if look.correlation is not None:
        parts.append(f"correlation {two(look.correlation)}")
    if look.overlap is not None:
        parts.append(f"overlap {two(look.overlap)}")
    return ", ".join(parts)
