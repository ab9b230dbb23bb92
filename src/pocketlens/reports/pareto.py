"""The Pareto front over score, size and latency, and the story of each variant that lost."""

from __future__ import annotations

from dataclasses import dataclass

from pocketlens.core.comparison import Comparison, Row
from pocketlens.core.pareto import beaten_by, front
from pocketlens.reports import _format as f
from pocketlens.reports._headline import headline
from pocketlens.reports.markdown import escape

EXTRA = ""


@dataclass(frozen=True)
class Config:
    """No options."""


def render(comparison: Comparison, config: Config | None = None) -> str:
    """Markdown: the front as a table, then a line for each other variant."""
    rows = comparison.rows
    best = front(rows)
    title = f.metric(rows[0].metric) if rows else "score"
    lines = [
        escape(headline(comparison).sentence),
        "",
        "# Which variants none beats",
        "",
        "No other that keeps to the limit of the drop is at once as accurate, as small and as "
        "fast. Those in bold may be shipped.",
        "",
        f"| variant | made by | runtime | {title} % | lost [95 %] | size | time of one photo |",
        "| :--- | :--- | :--- | ---: | ---: | ---: | ---: |",
    ]
    lines += [_line(row) for row in best]
    others = [row for row in f.ordered(rows) if row not in best or f.is_rejected(row)]
    if others:
        lines += ["", "# Why the others lost", ""]
        told = [(f.one_line(row.name), f.one_line(story(row, rows))) for row in others]
        lines += [f"- **{escape(name)}**: {escape(text)}" for name, text in told]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    name = escape(f.one_line(row.name))
    cells = [
        name if f.is_rejected(row) else f"**{name}**",
        escape(f.one_line(_chain(row))),
        f.runtime(row),
        f.number(row.score),
        f.drop(row),
        f.megabytes(row.size_bytes),
        f"{f.significant(row.latency_ms, noisy=row.noisy)} ms",
    ]
    return f"| {' | '.join(cells)} |"


def story(row: Row, rows: tuple[Row, ...]) -> str:
    """What a variant was, what was measured of it, and what it lost by."""
    if row.verdict in ("skipped", "failed") and row.score is None:
        done = "was not made" if row.verdict == "skipped" else "could not be made or scored"
        return f"{_chain(row)} for {f.runtime(row)} {done}: {row.reason}"
    measured = [f"{f.number(row.score)} % {f.metric(row.metric)}"]
    if row.drop is not None:
        measured.append(f"{f.number(row.drop)} points lost")
    if row.val_drop is not None:
        measured.append(f"{f.number(row.val_drop)} on validation photos")
    if row.size_bytes is not None:
        measured.append(f.megabytes(row.size_bytes))
    if row.latency_ms is not None:
        measured.append(f"{f.significant(row.latency_ms, noisy=row.noisy)} ms")
    told = f"{_chain(row)} in {f.runtime(row)}: {', '.join(measured)}."
    if f.is_rejected(row) or row.verdict in ("failed", "mismatch"):
        return f"{told} Rejected: {row.reason or f.verdict(row)}."
    winner = beaten_by(row, rows)
    if winner is None:
        return told
    return f"{told} Beaten by {winner.name}, which is as good in all three and better in one."


def _chain(row: Row) -> str:
    return row.method.replace(",", ", then ") or "as it is"
