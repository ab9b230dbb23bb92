"""What `compare`, `shrink` and `fit` hand back and leave on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pocketlens import plugins
from pocketlens.core.comparison import Comparison, Row

#: Renderer -> file name.
_FILES = {"csv": "compare.csv", "html": "report.html"}


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
    """`compare.json`, `compare.csv` and `report.html`."""
    (folder / "compare.json").write_text(
        comparison.to_json(), encoding="utf-8", errors="backslashreplace"
    )
    for name, file in _FILES.items():
        (folder / file).write_text(render(name, comparison), encoding="utf-8", newline="")
