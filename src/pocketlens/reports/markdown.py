"""The table as Markdown, for a README or an issue."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pocketlens.core.comparison import Comparison
from pocketlens.reports._columns import compact_table, ratios_note
from pocketlens.reports._headline import headline
from pocketlens.reports._machine import machine_line

EXTRA = ""


@dataclass(frozen=True)
class Config:
    """Markdown has no options."""


def render(comparison: Comparison, config: Config | None = None) -> str:
    """The sentence, then the table; the best row is bold."""
    chosen, headings, rows = compact_table(comparison.rows)
    lines = [escape(headline(comparison).sentence), ""]
    lines.append(_line(headings))
    lines.append(_line(["---:" if column.numeric else ":---" for column in chosen]))
    for row in rows:
        cells = [escape(column.text(row)) for column in chosen]
        if row.verdict == "best":
            cells[0] = f"**{cells[0]}**"
        lines.append(_line(cells))
    if any(row.noisy for row in rows):
        lines += ["", "~ the machine was too noisy to rank by this figure"]
    if note := ratios_note(rows):
        lines += ["", note]
    if line := machine_line(comparison.machine):
        lines += ["", escape(line)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is.

    An underscore within a word means nothing; only one at a word's edge needs the backslash.
    """
    text = re.sub(r"([\\`*{}\[\]<>|#~&])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
