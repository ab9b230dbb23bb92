"""What `compare`, `shrink` and `fit` hand back and leave on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketlens import plugins
from pocketlens.core.comparison import Comparison, Row
from pocketlens.core.directory import write_text

#: Where it stands, all that was made with it is complete.
RESULT: Final = "compare.json"

#: Renderer -> file name.
_FILES = {
    "csv": "compare.csv",
    "html": "report.html",
    "pareto": "pareto.md",
    "pareto-picture": "pareto.svg",
}


@dataclass(frozen=True)
class Table:
    """A comparison with its place on disk.

    Attributes:
        out: the directory with `compare.json` and `report.html`.
        best: the bundle to ship; None for a `compare` in which nothing passed.
    """

    comparison: Comparison
    out: Path
    best: Path | None

    @property
    def rows(self) -> tuple[Row, ...]:
        """All variants, the rejected ones included."""
        return self.comparison.rows

    def __str__(self) -> str:
        return render("terminal", self.comparison)


def render(name: str, comparison: Comparison) -> str:
    """A comparison as text, by one of the renderers."""
    text: str = plugins.load("reports", name).render(comparison)
    return text


def write_reports(folder: Path, comparison: Comparison) -> None:
    """All renderings and, when these are complete, `compare.json`."""
    texts = {file: render(name, comparison) for name, file in _FILES.items()}
    for file, text in (texts | {RESULT: comparison.to_json()}).items():
        write_text(folder / file, text)
