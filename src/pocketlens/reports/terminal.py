"""The table for a terminal, as text."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from pocketlens.core.comparison import Comparison, Row
from pocketlens.reports._columns import compact_table
from pocketlens.reports._format import VERDICTS, is_rejected, one_line
from pocketlens.reports._headline import headline

EXTRA = ""

_MARKS: Final = {"best": "★", "ok": "✓", "reference": "=", "failed": "!", "skipped": "-"}
_STYLES: Final = {"best": "bold green", "failed": "red", "skipped": "dim"}


@dataclass(frozen=True)
class Config:
    """How wide the text may be, and whether it may carry colour codes."""

    width: int = 100
    color: bool = False


def render(comparison: Comparison, config: Config | None = None) -> str:
    """The table, the reasons of rejected rows below it, and which model to ship.

    Reasons stand below because they are sentences: in a column they would make every row five
    lines high.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    config = config or Config()
    chosen, headings, rows = compact_table(comparison.rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=False)
    table.add_column("")
    for column, heading in zip(chosen, headings, strict=True):
        table.add_column(
            Text(heading),
            justify="right" if column.numeric else "left",
            no_wrap=column.key != "name",
            overflow="fold",
        )
    for row in rows:
        cells = [
            VERDICTS[row.verdict].removeprefix("rejected: ") if c.key == "verdict" else c.text(row)
            for c in chosen
        ]
        style = "yellow" if is_rejected(row) else _STYLES.get(row.verdict, "")
        table.add_row(_MARKS.get(row.verdict, "✗"), *(Text(cell) for cell in cells), style=style)
    out = io.StringIO()
    console = Console(
        file=out,
        width=config.width,
        force_terminal=config.color,
        color_system="standard" if config.color else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    if rows:
        console.print(table)
    for line in _reasons(rows):
        console.print(Text(line), style="dim")
    console.print()
    console.print(Text(headline(comparison).sentence), style="bold")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _reasons(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        if row.reason and row.verdict not in ("best", "reference"):
            mark = _MARKS.get(row.verdict, "✗")
            lines.append(f"{mark} {one_line(row.name, 60)}: {one_line(row.reason, 300)}")
    if any(row.noisy for row in rows):
        lines.append("~ the machine was too noisy to rank by this figure")
    return lines
