"""The table of a sweep: a row a trial, as CSV, Markdown and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pocketlens.core.directory import write_text
from pocketlens.core.text import csv_cell


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        score: on validation photos, of its best epoch; in percent, or the loss.
        epochs: that were run.
        state: complete, pruned, failed or running.
    """

    number: int
    settings: Mapping[str, Any]
    score: float | None
    epochs: int
    state: str
    reason: str
    minutes: float
    host: str


@dataclass(frozen=True)
class Sweep:
    """A finished search.

    Attributes:
        rows: trials, the best first.
        best: number of the best trial; `score` is its score on validation photos.
        test: its scores on test photos; none where another machine has its bundle.
        path: its bundle.
        importances: share of each setting in what makes trials good.
    """

    metric: str
    rows: tuple[TrialRow, ...]
    best: int | None = None
    score: float | None = None
    test: Mapping[str, float] = field(default_factory=dict)
    path: Path | None = None
    importances: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        values = {name: getattr(self, name) for name in ("metric", "best", "score")}
        path = None if self.path is None else str(self.path)
        further = {"test": dict(self.test), "path": path, "importances": dict(self.importances)}
        return {**values, **further, "rows": [asdict(row) for row in self.rows]}


def sort(rows: Sequence[TrialRow], *, lower: bool) -> tuple[TrialRow, ...]:
    """The best first; those that were cut short or failed after those that came to their end."""
    order = ("complete", "pruned", "running", "failed")

    def key(row: TrialRow) -> tuple[int, float, int]:
        score = 0.0 if row.score is None else row.score
        return order.index(row.state), score if lower else -score, row.number

    return tuple(sorted(rows, key=key))


def write_tables(target: Path, found: Sweep) -> None:
    """`trials.csv` and `sweep.md`."""
    names = list(dict.fromkeys(name for row in found.rows for name in row.settings))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["number", "state", "score", "epochs", "minutes", *names, "host", "reason"])
    for row in found.rows:
        score = "" if row.score is None else row.score
        settings = [csv_cell(str(row.settings.get(name))) for name in names]
        head = [row.number, row.state, score, row.epochs, round(row.minutes, 3)]
        writer.writerow([*head, *settings, csv_cell(row.host), csv_cell(row.reason)])
    write_text(target / "trials.csv", text.getvalue())
    write_text(target / "sweep.md", describe(found))


def describe(found: Sweep) -> str:
    """The table for people."""
    names = list(dict.fromkeys(name for row in found.rows for name in row.settings))
    titles = ["trial", *names, f"{found.metric} (validation)", "epochs", "state", "minutes"]
    if len({row.host for row in found.rows}) > 1:
        titles.append("host")
    if any(row.reason for row in found.rows):
        titles.append("reason")
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for row in found.rows:
        cells = [str(row.number), *(shown(row.settings.get(name)) for name in names)]
        cells += ["" if row.score is None else f"{row.score:.4g}", str(row.epochs), row.state]
        cells += [f"{row.minutes:.1f}"]
        cells += [row.host] if "host" in titles else []
        cells += [row.reason] if "reason" in titles else []
        lines.append(
            f"| {' | '.join(' '.join(c.split()).replace('|', chr(92) + '|') for c in cells)} |"
        )
    lines += ["", "Trials are compared on validation photos; no trial sees a test photo."]
    if found.best is not None and found.test:
        shown_test = found.test.get(found.metric, found.test["loss"])
        lines[-1] += (
            f" The best, trial {found.best}, was then scored once on the test photos: "
            f"{found.metric} {shown_test:.4g}."
        )
    if found.importances:
        lines += ["", "Which settings made the difference (PED-ANOVA, shares in percent):", ""]
        lines += [f"- {name}: {100 * share:.0f}" for name, share in found.importances.items()]
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """A setting's value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
