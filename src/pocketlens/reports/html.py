"""The whole comparison as one HTML file that opens without a network."""

from __future__ import annotations

from dataclasses import dataclass

from pocketlens.core.comparison import Comparison
from pocketlens.reports import _format, _scatter, _scores, _sections
from pocketlens.reports._columns import COLUMNS, ratios_note, score_title
from pocketlens.reports._headline import headline
from pocketlens.reports._page import page
from pocketlens.reports._shapes import shape

EXTRA = ""

#: Runtime stands below the name, the reason below the verdict; the rest are columns of a second
#: table, since all together are wider than a screen.
_FIRST = ("verdict", "score", "drop", "proven", "size", "latency", "speedup_float", "speedup")


@dataclass(frozen=True)
class Config:
    """The title of the page, above the sentence that says which model to ship."""

    title: str = "pocketlens comparison"


def render(comparison: Comparison, config: Config | None = None) -> str:
    """The text of `report.html`."""
    config = config or Config()
    rows = _format.ordered(comparison.rows)
    damage, damage_most = _sections.damage(comparison)
    drawn = {id(row) for row in _scatter.drawable(rows)}
    by_key = {column.key: column for column in COLUMNS}
    rest = [c.key for c in COLUMNS if c.key not in (*_FIRST, "name", "runtime")]
    return page(
        "compare.html",
        title=config.title,
        comparison=comparison,
        headline=headline(comparison),
        tiles=_sections.tiles(comparison),
        rows=rows,
        tables=[[by_key[key] for key in keys] for keys in (_FIRST, rest)],
        ratios=ratios_note(rows),
        all_columns=COLUMNS,
        score_title=score_title(rows),
        pictures=[
            picture
            for size in (_scatter.WIDE, _scatter.NARROW)
            if (picture := _scatter.scatter(comparison, size)) is not None
        ],
        undrawn=[row.name for row in rows if id(row) not in drawn],
        scores=_scores.scores(comparison),
        damage=damage,
        damage_most=damage_most,
        matrices=_sections.matrices(comparison),
        flips=_sections.flips(comparison),
        no_flips=_sections.no_flips(comparison),
        shown_flips=_sections.SHOWN_FLIPS,
        measured=_sections.measured(comparison),
        config=_format.facts(comparison.config),
        image_url=_sections.image_url,
        was_given=_sections.was_given,
        rightly=_sections.rightly,
        shape=shape,
        kind=_scatter.kind,
        f=_format,
    )
