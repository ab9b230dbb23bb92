"""Texts that others wrote, shown as text: escaping, tables and bars.

Class names, file names and drug information come from people and from files. They reach the page
through `plain` (Streamlit's Markdown) or `html.escape` (the tables and bars here), nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import streamlit as st

from pocketlens.core.text import one_line

_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
#: Streamlit replaces these in the finished text, where a backslash is already gone: `:emoji:`,
#: `:material_icon:`, links that are written out, arrows. An invisible joiner keeps them apart.
_REPLACED: Final = re.compile(r"(?<=[:@])|(?<=[-<>=~])(?=[-<>=~])|(?<=www)(?=\.)", re.IGNORECASE)
_JOINER: Final = "\u2060"
_MAX: Final = 500


def plain(text: object) -> str:
    """Any text for a Streamlit Markdown place (labels, captions, messages), shown as it is."""
    line = _short(text)
    return _PUNCTUATION.sub(r"\\\1", _REPLACED.sub(_JOINER, line))


def heading(text: object, *, small: object = None) -> None:
    """A name as a heading, with a fainter second part such as its code."""
    second = f' <span class="pl-faint">{_text(small)}</span>' if small else ""
    st.html(f'<h3 class="pl-name">{_text(text)}{second}</h3>')


def table(rows: Iterable[Sequence[object]], *, header: Sequence[object] = (), name: str) -> None:
    """A table; without a header each row's first cell is its head. `name` is for ears."""
    top = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    lines = []
    for row in rows:
        # On a phone each row stands as a list, its cells headed by `data-head` (style.py).
        heads = [f' data-head="{_text(head)}"' for head in header] or [""] * len(row)
        cells = [f"<td{head}>{_text(cell)}</td>" for head, cell in zip(heads, row, strict=True)]
        if not header:
            cells[0] = f'<th scope="row">{_text(row[0])}</th>'
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = f"<thead><tr>{top}</tr></thead>" if header else ""
    kind = "pl-wide" if header else "pl-pairs"
    st.html(
        f'<div class="pl-scroll" tabindex="0" role="region" aria-label="{_text(name)}">'
        f'<table class="pl-table {kind}" aria-label="{_text(name)}">{head}'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def bars(rows: Iterable[tuple[object, float, str]], *, name: str, first: bool = False) -> None:
    """Horizontal bars.

    Args:
        rows: label, share of the full width from 0 to 1, and the figure as text.
        name: of the chart, for ears.
        first: whether the first bar stands out.
    """
    lines = []
    for number, (label, share, figure) in enumerate(rows):
        width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
        kind = "pl-fill pl-first" if first and number == 0 else "pl-fill"
        lines.append(
            f'<div class="pl-bar" role="listitem"><span class="pl-label">{_text(label)}</span>'
            f'<span class="pl-figure">{_text(figure)}</span>'
            f'<div class="pl-rail"><div class="{kind}" style="width:{width}%"></div></div></div>'
        )
    st.html(f'<div class="pl-bars" role="list" aria-label="{_text(name)}">{"".join(lines)}</div>')


def size(num_bytes: float) -> str:
    """`1.5 MB`, never broken over two lines."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            return f"{num_bytes:.{int(unit != 'B')}f}\N{NO-BREAK SPACE}{unit}"
        num_bytes /= 1000
    raise AssertionError(num_bytes)


def when(moment: object) -> str:
    """A time of the service (ISO 8601, UTC), to the minute."""
    return f"{str(moment)[:16].replace('T', ' ')} UTC"


def _text(value: object) -> str:
    return escape(_short(value))


def _short(value: object) -> str:
    line = one_line(str(value))
    return line if len(line) <= _MAX else line[: _MAX - 1] + "…"
