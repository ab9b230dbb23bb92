"""The figures of the page are those of `compare.json`, rounded as shown and not otherwise."""

from __future__ import annotations

import json
import math
import random
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from pocketlens import plugins
from pocketlens.core.comparison import Comparison
from pocketlens.reports import _format
from support.comparisons import compared, float_row, full, onnx_row, row, small

#: Heading on the page -> field of a row in `compare.json`.
FIGURES = {
    "macro F1 %": "score",
    "drop [95 %]": "drop",
    "size": "size_bytes",
    "latency ms": "latency_ms",
    "× float": "speedup_float",
    "× PyTorch": "speedup",
    "p95 ms": "latency_ms_p95",
    "spread ms": "latency_ms_spread",
    "place": "rank_best",
    "% of peak": "roofline_percent",
    "cold start ms": "cold_start_ms",
    "memory": "memory_bytes",
    "from file ms": "e2e_latency_ms",
    "images/s @ batch": "throughput",
    "agreement %": "agreement",
    "loss": "loss",
    "parameters": "params",
    "MACs": "macs",
}
WORDS = {"verdict", "proven", "model"}
#: Figures of time; behind a tilde where the machine was too noisy.
TIMED = {"latency ms", "× float", "× PyTorch", "p95 ms", "from file ms", "images/s @ batch"}
UNITS = {"": 1, "MB": 1e6, "k": 1e3, "M": 1e6, "G": 1e9}

Cell = tuple[str, str, str]


class Table(HTMLParser):
    """A table of all models: headings, and rows of cells (text, small text, sort key)."""

    def __init__(self, page: str, label: str = "Table of all models") -> None:
        super().__init__(convert_charrefs=True)
        self.headings: list[str] = []
        self.rows: list[list[Cell]] = []
        self._inside = ""
        start = page.index('<table class="rows"', page.index(f'aria-label="{label}"'))
        self.feed(page[start : page.index("</table>", start)])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag == "th" and "data-key" not in given:
            self.headings.append("")
            self._inside = "heading"
        elif tag in ("th", "td"):
            self.rows[-1].append(("", "", given["data-key"] or ""))
            self._inside = "text"
        elif tag == "small":
            self._inside = "small"
        elif tag == "span" and given.get("class") == "index":
            self._inside = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("small", "span"):
            self._inside = "text"
        elif tag in ("th", "td"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "heading":
            self.headings[-1] += data
        elif self._inside:
            text, small_text, key = self.rows[-1][-1]
            if self._inside == "text":
                self.rows[-1][-1] = (text + data, small_text, key)
            else:
                self.rows[-1][-1] = (text, small_text + data, key)


def rounded_as(shown: str, value: float) -> bool:
    """Whether a text is this value, to half a unit of the last digit that it shows."""
    match = re.fullmatch(r"(−?)([\d,]+)(?:\.(\d+))? ?(MB|[kMG])?", shown)
    assert match, shown
    sign, whole, decimals, unit = match.groups(default="")
    number = float(f"{whole.replace(',', '')}.{decimals or 0}") * (-1 if sign else 1)
    scale = UNITS[unit]
    half = 0.5 * 10.0 ** -len(decimals) * scale
    return math.isclose(number * scale, value, rel_tol=1e-9, abs_tol=half * (1 + 1e-9))


def every_size() -> Comparison:
    """Figures from thousandths to thousands, both signs, and missing ones."""
    pick = random.Random(3)
    rows = [float_row(), onnx_row()]
    for i in range(60):
        scale = 10 ** pick.uniform(-3, 3)
        drop = pick.uniform(-4, 4) * min(scale, 10)
        rows.append(
            row(
                f"v{i}",
                score=pick.uniform(0, 100),
                drop=drop,
                drop_low=drop - scale / 100,
                drop_high=drop + scale / 100,
                loss=scale / 10,
                size_bytes=int(3_456_789 * scale),
                params=int(123_456 * scale),
                macs=int(98_765_432 * scale),
                latency_ms=4.5678 * scale,
                latency_ms_p95=None if i % 5 == 0 else 5.4321 * scale,
                e2e_latency_ms=9.8765 * scale,
                throughput=300.499 / scale,
                batch=None if i % 7 == 0 else 32,
                speedup=3.141592 / scale,
                speedup_float=9.995 if i == 1 else 2.71828 / scale,
                agreement=100 - pick.uniform(0, 3),
                noisy=i % 4 == 0,
            )
        )
    return compared(rows)


@pytest.mark.parametrize("made", [small(), full(), every_size()], ids=["small", "full", "sizes"])
def test_the_page_shows_the_files_figures(made: Comparison) -> None:
    page = plugins.load("reports", "html").render(made)
    tables = [Table(page), Table(page, "More figures of all models")]
    headings = {heading for table in tables for heading in table.headings}
    assert headings == WORDS | set(FIGURES), "a new column needs its field here"
    for table in tables:
        check_table(table, made)


def check_table(table: Table, made: Comparison) -> None:
    rows: dict[str, Any] = {r["name"]: r for r in json.loads(made.to_json())["rows"]}
    lines = [cells for cells in table.rows if cells]
    assert sorted(cells[0][0] for cells in lines) == sorted(rows)
    for cells in lines:
        values = rows[cells[0][0]]
        for heading, (shown, small_text, key) in zip(table.headings, cells, strict=True):
            where = (values["name"], heading, shown)
            if heading == "verdict":
                assert shown == _format.VERDICTS[values["verdict"]], where
                assert small_text.startswith(values["reason"]), where
            elif heading == "proven":
                judged = "yes" if values["proven"] else "no"
                assert shown == ("–" if values["drop_high"] is None else judged), where
            elif heading in FIGURES:
                check_figure(heading, shown, small_text, key, values)


def check_figure(
    heading: str, shown: str, small_text: str, key: str, values: dict[str, Any]
) -> None:
    value = values[FIGURES[heading]]
    where = (values["name"], heading, shown, value)
    if value is None:
        assert (shown, key) == ("–", ""), where
        return
    assert math.isclose(float(key), value, rel_tol=1e-8), where
    text = shown.removeprefix("~")
    assert (text != shown) == (values["noisy"] and heading in TIMED), where
    if heading == "place":
        last = values["rank_worst"]
        assert text == (f"{value}" if value == last else f"{value}–{last}"), where
        return
    if heading == "images/s @ batch" and values["batch"] is not None:
        text, _, batch = text.partition(" @ ")
        assert batch == str(values["batch"]), where
    assert rounded_as(text, value), where
    if heading == "drop [95 %]":
        low, high = values["drop_low"], values["drop_high"]
        if low == high:
            assert small_text == "", where
        else:
            ends = small_text.strip("[]").split(", ")
            assert all(map(rounded_as, ends, (low, high))), (*where, small_text)


def test_a_figure_of_another_row_would_be_seen() -> None:
    made = small()
    page = plugins.load("reports", "html").render(made)
    table = Table(page)
    cells = next(cells for cells in table.rows if cells and cells[0][0] == "int8-static")
    shown, small_text, key = cells[table.headings.index("latency ms")]
    values = vars(made.row("int8-static"))
    check_figure("latency ms", shown, small_text, key, values)
    for wrong in (values["latency_ms"] + 0.01, values["latency_ms_p95"]):
        with pytest.raises(AssertionError):
            check_figure("latency ms", shown, small_text, key, values | {"latency_ms": wrong})
