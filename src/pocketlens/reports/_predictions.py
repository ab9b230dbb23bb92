"""The page of `predict`: what it says in words, and the values its templates lay out."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from pocketlens.core.judged import Judged, State
from pocketlens.core.tally import RegionTally, Tally
from pocketlens.reports import _certainty, _format
from pocketlens.reports._page import page
from pocketlens.reports._sections import Tile, image_url

#: Pictures of each kind on the page, classes and errors before the rest is folded away.
SHOWN_PICTURES: Final = 24
SHOWN_CLASSES: Final = 24
_QUALITY: Final = 72

Pictures = Mapping[State, Sequence[tuple[Judged, Image.Image | None]]]


@dataclass(frozen=True)
class Bar:
    """A class: how often it was named and true; `size` is the percent of the longest bar."""

    label: str
    named: int
    true: int
    both: int
    size: float

    @property
    def recall(self) -> float | None:
        """Percent of the true ones that were named so."""
        return 100 * self.both / self.true if self.true else None


@dataclass(frozen=True)
class Shot:
    """A row with its small picture: a JPEG in base64, or empty."""

    row: Judged
    name: str
    picture: str


@dataclass(frozen=True)
class Shown:
    """The maps that lie beside the page.

    Attributes:
        number: photos with maps; `how`: method, layer and cells in a line.
        coarse: what to keep in mind of few cells, or empty.
        first: a few of the files with their photos' names and small pictures.
    """

    number: int
    how: str
    coarse: str
    first: tuple[tuple[str, str, Image.Image], ...]


def render(
    tally: Tally,
    pictures: Pictures,
    *,
    shown: Mapping[str, str],
    settings: Mapping[str, Any],
    num_overlays: int,
    maps: Shown | None = None,
    regions: RegionTally | None = None,
    pairs: Sequence[tuple[Judged, Image.Image]] = (),
) -> str:
    """The text of `report.html`.

    Args:
        pictures: state -> its most telling rows.
        shown: class -> what it is called, where it has a name beside its code.
        settings: how the run was done.
        num_overlays: photos in `overlays/`.
        maps: what there is in `maps/`.
        regions: how the answers to regions differ from those to whole photos, where there are.
        pairs: rows with pictures of both side by side.
    """
    limit = settings["unsure_below"]
    classes = bars(tally)
    histograms = [
        _certainty.histogram(tally, size, limit) for size in (_certainty.WIDE, _certainty.NARROW)
    ]
    return page(
        "predict.html",
        t=tally,
        title=headline(tally),
        lead=lead(tally, limit),
        tiles=[*tiles(tally), *region_tiles(regions)],
        bundle=settings["bundle"],
        classes=classes,
        histograms=[found for found in histograms if found is not None],
        states=[state for state in _certainty.STATES if tally.number(state)],
        shots={state: _shots(rows) for state, rows in pictures.items()},
        shown=shown,
        shown_classes=SHOWN_CLASSES,
        short=_shortener(tally),
        image_url=image_url,
        facts=_format.facts({k: v for k, v in settings.items() if v is not None}),
        num_overlays=num_overlays,
        maps=maps,
        map_shots=[(f, name, _jpeg(small)) for f, name, small in (maps.first if maps else ())],
        regions=regions,
        region_words="" if regions is None else region_words(regions),
        region_how=settings.get("region"),
        pairs=[Shot(row, _base(row), _jpeg(image)) for row, image in pairs],
        f=_format,
    )


def _shortener(tally: Tally) -> Callable[[str], str]:
    """Takes off the folder that all names share: a page that is passed on need not tell it."""
    folders = {os.path.dirname(line.filename) for line in (*tally.lines, *tally.errors)}
    try:
        common = os.path.commonpath(folders)
    except ValueError:  # none, or absolute ones beside relative ones
        common = ""
    before = f"{common.rstrip(os.sep)}{os.sep}" if common else ""
    return lambda name: name.removeprefix(before)


def headline(tally: Tally) -> str:
    """The one sentence a reader takes along."""
    answered = tally.num_rows - tally.number("error")
    if not answered:
        return "No image could be used"
    if tally.num_known:
        share = _format.number(100 * tally.num_right / tally.num_known, 1)
        return f"{share} % of {tally.num_known:,} answers are right"
    unsure = tally.number("unsure")
    found = f"{answered:,} answer{'s' if answered != 1 else ''}"
    return f"{found}, {unsure:,} of them unsure" if unsure else f"{found}, none of them unsure"


def lead(tally: Tally, unsure_below: float | None) -> str:
    """What stands behind the headline."""
    parts = []
    if unsure_below:
        what = "one of its labels is" if tally.task == "multi_label" else "its label is"
        parts.append(
            f"An answer counts as unsure where {what} less probable than {100 * unsure_below:g} %."
        )
    if tally.num_sure_known and tally.number("unsure"):
        share = _format.number(100 * tally.num_sure_right / tally.num_sure_known, 1)
        parts.append(f"Of the {tally.num_sure_known:,} sure answers {share} % are right.")
    if tally.num_known and tally.task == "multi_label":
        parts.append("Right means that all labels of a photo are the true ones, and no other.")
    if not tally.num_known:
        parts.append("What is true of these images isn't known here: this page shows no mistakes.")
    return " ".join(parts)


def tiles(tally: Tally) -> list[Tile]:
    """The figures of the headline."""
    errors = tally.number("error")
    answered = tally.num_rows - errors
    found = [Tile("Rows", f"{tally.num_rows:,}", "images, or boxes of images")]
    if tally.num_known:
        wrong = tally.num_known - tally.num_right
        detail = f"of {tally.num_known:,} whose truth is known"
        if unsure := wrong - tally.number("wrong"):
            detail += f"; {unsure:,} of them unsure, and shown there"
        found.append(Tile("Wrong", f"{wrong:,}", detail))
    if answered:
        share = _format.number(100 * tally.number("unsure") / answered, 1)
        found.append(Tile("Unsure", f"{tally.number('unsure'):,}", f"{share} % of the answers"))
    found.append(Tile("Could not be used", f"{errors:,}", "listed below" if errors else "none"))
    return found


def region_tiles(regions: RegionTally | None) -> list[Tile]:
    """How many answers a region changed."""
    if regions is None or not regions.num_both:
        return []
    share = _format.number(100 * regions.num_changed / regions.num_both, 1)
    detail = f"{regions.num_changed:,} of {regions.num_both:,} by looking at the region alone"
    return [Tile("Answers changed", f"{share} %", detail)]


def region_words(regions: RegionTally) -> str:
    """What looking at regions alone did."""
    if not regions.num_both:
        return "No photo has an answer for both its region and the whole of it."
    share = _format.number(100 * regions.num_changed / regions.num_both, 1)
    area = _format.number(regions.share, 0)
    parts = [
        f"{share} % of {regions.num_both:,} answers are other ones than those to the whole photos.",
        f"On average a region covers {area} % of its photo.",
    ]
    if regions.num_missing:
        parts.append(f"On {regions.num_missing:,} no region was found; they have no answer.")
    if regions.num_known:
        kept, gained, lost = regions.num_kept, regions.num_gained, regions.num_lost
        whole, part = (
            _format.number(100 * number / regions.num_known, 1)
            for number in (kept + lost, kept + gained)
        )
        parts.append(
            f"Of {regions.num_known:,} whose truth is known {part} % are right by the region, "
            f"{whole} % by the whole photo: {gained:,} are right by the region alone, {lost:,} by "
            "the whole photo alone."
        )
    else:
        parts.append("Which of the two is right can't be told here; --truth would tell.")
    return " ".join(parts)


def bars(tally: Tally) -> list[Bar]:
    """Classes that were named or true, the commonest answers first."""
    counts = tally.per_class
    most = max((count.named for count in counts.values()), default=0) or 1
    found = [Bar(n, c.named, c.true, c.both, 100 * c.named / most) for n, c in counts.items()]
    return sorted(found, key=lambda bar: (-bar.named, -bar.true, bar.label))


def _shots(rows: Sequence[tuple[Judged, Image.Image | None]]) -> list[Shot]:
    found = []
    for row, image in rows[:SHOWN_PICTURES]:
        found.append(Shot(row, _base(row), "" if image is None else _jpeg(image)))
    return found


def _base(row: Judged) -> str:
    return os.path.basename(row.prediction.filename.replace("\\", "/"))


def _jpeg(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(out.getvalue()).decode()
