"""Pictures of maps: those beside `predictions.csv`, and what all pictures say."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from PIL import Image

from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.directory import write_text
from pocketlens.core.explained import SCHEMA
from pocketlens.core.predictor import Request
from pocketlens.core.text import one_line, safe_filename
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.heat import TOP_SHARE, Panel, enlarged, overlay, side_by_side
from pocketlens.progress import say, track, warn
from pocketlens.reports._predictions import Shown
from pocketlens.workflows.maps import Map, Mapped, Maps

#: Photos from which on a warning says that it takes time and room.
_MANY: Final = 200
#: Lists the pictures of a folder.
LIST: Final = "maps.json"
#: Pictures on the page of `predict`, and their longer side in pixels.
_SHOWN: Final = 6
_SHOWN_SIDE: Final = 480
#: Side of a panel in pixels.
SIDE: Final = 320


def write_maps(
    folder: Path,
    maps: Maps,
    named: Sequence[tuple[str, Request]],
    *,
    asked: str,
    fonts: Fonts,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, Any]:
    """Draw each request's photo with its maps into a new folder, with `maps.json` that lists them.

    A box is drawn cut out, as the network saw it. What can't be read is left out, since
    `predictions.csv` tells of it.

    Args:
        named: requests with the names of their rows.
        asked: the method that was asked for, or `auto`.

    Returns:
        What was done: method, layer, settings, number of photos.
    """
    say(f"maps: {maps.words}")
    if maps.coarse:
        warn(maps.coarse)
    if len(named) > _MANY:
        warn(f"drawing maps of {len(named):,} photos; --maps 100 draws the first hundred only")
    folder.mkdir()
    listed = []
    found = maps.of([request for _, request in named], max_pixels=max_pixels)
    for number, mapped in enumerate(track(found, "drawing maps", len(named)), 1):
        name = named[number - 1][0]
        mapped = replace(mapped, prediction=replace(mapped.prediction, filename=name))
        if not mapped.maps or mapped.image_HWC is None:
            continue
        name = picture_name(number, mapped.prediction.filename)
        panels = [photo_panel(mapped), *(map_panel(mapped, m, maps.words) for m in mapped.maps)]
        side_by_side(panels, fonts).save(folder / name)
        listed.append(_entry(mapped, name))
    done = {
        "asked": asked, "method": maps.method, "layer": maps.layer, "how": maps.words,
        "num_photos": len(listed),
    }  # fmt: skip
    if maps.coarse:
        done["coarse"] = maps.coarse
    values = {"schema": SCHEMA, **done, "bundle_id": maps.bundle.id, "top_share": TOP_SHARE}
    write_text(
        folder / LIST,
        json.dumps({**values, "rows": listed}, indent=1, ensure_ascii=False) + "\n",
    )
    return done


def maps_shown(folder: Path) -> Shown | None:
    """What the page of `predict` shows of a folder that `write_maps` made; None without one."""
    if not (folder / LIST).is_file():
        return None
    listed = json.loads((folder / LIST).read_text(encoding="utf-8"))
    first = []
    for row in listed["rows"][:_SHOWN]:
        with Image.open(folder / row["picture"]) as picture:
            small = picture.convert("RGB")
        small.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        first.append((row["picture"], os.path.basename(row["filename"]), small))
    return Shown(listed["num_photos"], listed["how"], listed.get("coarse", ""), tuple(first))


def _entry(mapped: Mapped, picture: str) -> dict[str, Any]:
    prediction = mapped.prediction
    return {
        "filename": prediction.filename,
        "box": None if prediction.box is None else list(prediction.box),
        "picture": picture,
        "maps": [
            {"label": m.label, "probability": m.probability, "flat": not m.map_HW.any()}
            for m in mapped.maps
        ],
    }


def picture_name(number: int, filename: str) -> str:
    """`00001-photo.png`; the number keeps apart photos of one name."""
    stem = os.path.splitext(os.path.basename(filename))[0]
    return f"{number:05d}-{safe_filename(stem)}.png"


def photo_panel(mapped: Mapped) -> Panel:
    """What the network saw."""
    assert mapped.image_HWC is not None
    prediction = mapped.prediction
    box = "" if prediction.box is None else f"box {', '.join(f'{v:g}' for v in prediction.box)}"
    name = one_line(os.path.basename(prediction.filename))
    return Panel(enlarged(mapped.image_HWC, SIDE), name, box or "as the network sees it")


def map_panel(mapped: Mapped, map: Map, how: str, before: str = "") -> Panel:
    """A map over its photo."""
    assert mapped.image_HWC is not None
    title = f"{before}{one_line(map.called)} {100 * map.probability:.1f} %"
    if not map.map_HW.any():
        how = f"nothing speaks for it. {how}"
    return Panel(overlay(mapped.image_HWC, map.map_HW, SIDE), title, how)
