"""The table of a training: what the search found, beside the model that answers now."""

from __future__ import annotations

from dataclasses import replace

from pocketlens.core.comparison import Comparison
from pocketlens.core.gate import Reason
from pocketlens.reports import html
from pocketlens.service._train_process import _table
from pocketlens.workflows.succeed import CURRENT, NEW, Succession
from support.comparisons import compared, float_row, onnx_row, row

SEARCH = compared([float_row(), onnx_row(), row("int8-static")])


def judged(*, offered: bool) -> Succession:
    rows = (
        row(CURRENT, verdict="reference" if offered else "best", reason="answers now"),
        row(NEW, drop=12.1, drop_low=2.0, drop_high=30.7)
        if offered
        else row(NEW, drop=12.1, drop_low=2.0, drop_high=30.7, verdict="less_accurate"),
    )
    made = replace(SEARCH, rows=rows, reference=CURRENT, notes=("a note",))
    why = "as good" if offered else "loses 32.21 points on validation images, limit 0.5"
    return Succession(offered, why, 17, made, reasons=(Reason("x", {}, why),))


def verdicts(table: Comparison | None) -> dict[str, str]:
    assert table is not None
    assert html.render(table)
    return {found.name: found.verdict for found in table.rows}


def test_what_was_offered_is_the_best() -> None:
    assert verdicts(_table(SEARCH, judged(offered=True), "pills")) == {
        **verdicts(SEARCH),
        CURRENT: "ok",
    }


def test_what_the_gate_rejected_is_not_the_best() -> None:
    table = _table(SEARCH, judged(offered=False), "pills")
    assert verdicts(SEARCH)["int8-static"] == "best"
    found = verdicts(table)
    assert found["int8-static"] == "less_accurate"
    assert [name for name, verdict in found.items() if verdict == "best"] == [CURRENT]
    assert table is not None
    assert "loses 32.21 points" in table.row("int8-static").reason
    assert "the fastest that passes" not in table.row("int8-static").reason
    assert table.row("float").verdict == "reference", "the search's own rows stay"


def test_what_could_not_be_compared_is_not_the_best() -> None:
    few = Succession(False, "only 5 photos can test both models", 5)
    found = _table(SEARCH, few, "pills")
    assert "best" not in verdicts(found).values()
    assert found is not None
    assert "only 5 photos" in found.row("int8-static").reason
