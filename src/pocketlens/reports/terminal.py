"""The table for a terminal, as text."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from pocketlens.core.comparison import Comparison, Row
from pocketlens.reports._columns import Column, compact_table, ratios_note
from pocketlens.reports._format import VERDICTS, is_rejected, number, one_line, ordered
from pocketlens.reports._headline import headline
from pocketlens.reports._machine import machine_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

EXTRA = ""

_MARKS: Final = {"best": "★", "ok": "✓", "reference": "=", "failed": "!", "skipped": "-"}
_REJECTED: Final = "✗"
_STYLES: Final = {"best": "bold green", "failed": "red", "skipped": "dim"}

#: What is left out, one after the other, until the table fits.
_ATTEMPTS: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("verdict",),
    ("verdict", "runtime"),
    ("verdict", "runtime", "interval"),
    ("verdict", "runtime", "interval", "speedup_float"),
    ("verdict", "runtime", "interval", "speedup_float", "size"),
    ("verdict", "runtime", "drop", "speedup_float", "size"),
)


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
    from rich.console import Console
    from rich.text import Text

    config = config or Config()
    out = io.StringIO()
    console = Console(
        file=out,
        force_jupyter=False,  # in a notebook it would go to the screen, and the text be empty
        width=config.width,
        force_terminal=config.color,
        color_system="standard" if config.color else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    if comparison.rows:
        console.print(_fitting(comparison, console))
    for line in _reasons(ordered(comparison.rows)):
        console.print(Text(line), style="dim")
    if line := machine_line(comparison.machine):
        console.print(Text(line), style="dim")
    for note in comparison.notes:
        console.print(Text(f"note: {one_line(note, 300)}"), style="dim")
    console.print()
    console.print(Text(headline(comparison).sentence), style="bold")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _fitting(comparison: Comparison, console: Console) -> Table:
    """The table with as many columns as fit: the marks say what a verdict's column would."""
    from rich.measure import Measurement

    unbounded = console.options.update(max_width=10_000)
    narrow = (_ATTEMPTS[-1], 12)
    for left_out, name_width in (*product(_ATTEMPTS, (None, 20)), narrow):
        table = _table(comparison, left_out, name_width)
        if Measurement.get(console, unbounded, table).minimum <= console.width:
            break
    if left_out:
        table.caption = "★ best  ✓ ok  = reference  ✗ rejected  ! failed  - skipped"
        table.caption_justify = "left"
    return table


def _table(comparison: Comparison, left_out: tuple[str, ...], name_width: int | None) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    chosen, headings, rows = compact_table(comparison.rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    marks = [Text(_MARKS.get(row.verdict, _REJECTED)) for row in rows]
    columns = [("", marks, False, 1)]
    for column, heading in zip(chosen, headings, strict=True):
        if column.key in left_out:
            continue
        cells = [Text(_cell(column, row, left_out)) for row in rows]
        width = max(cell.cell_len for cell in (Text(heading), *cells))
        if column.key == "name":
            # Only a name may run over several lines; a figure cut short would be another figure.
            width = min(width, name_width or width)
        columns.append((heading, cells, column.numeric, width))
    for heading, _, numeric, width in columns:
        table.add_column(
            Text(heading),
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=width,
            max_width=width,
        )
    for row, *cells in zip(rows, *(cells for _, cells, _, _ in columns), strict=True):
        style = "yellow" if is_rejected(row) else _STYLES.get(row.verdict, "")
        table.add_row(*cells, style=style)
    return table


def _cell(column: Column, row: Row, left_out: tuple[str, ...]) -> str:
    if column.key == "verdict":
        return VERDICTS[row.verdict].removeprefix("rejected: ")
    if column.key == "runtime":
        # As it is typed on the command line, and shorter.
        return one_line(row.runtime, 12)
    if column.key == "drop" and "interval" in left_out:
        return number(row.drop)
    return column.text(row)


def _reasons(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        if row.reason and row.verdict not in ("best", "reference"):
            mark = _MARKS.get(row.verdict, _REJECTED)
            lines.append(f"{mark} {one_line(row.name, 60)}: {one_line(row.reason, 300)}")
    if any(row.noisy for row in rows):
        lines.append("~ the machine was too noisy to rank by this figure")
    if note := ratios_note(rows):
        lines.append(note)
    return lines
