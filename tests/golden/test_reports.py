"""Each report of a small made-up comparison, to the letter.

POCKETLENS_REGENERATE=1 writes the files anew; look at their difference before you keep it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pocketlens import plugins
from pocketlens.reports._explore import render
from support.comparisons import small
from support.explorations import small as small_exploration

FILES = Path(__file__).with_name("reports")
ENDINGS = {"html": "html", "csv": "csv", "terminal": "txt", "markdown": "md", "pareto": "pareto.md"}
ENDINGS["pareto-picture"] = "pareto.svg"


@pytest.mark.parametrize("name", plugins.names("reports"))
def test_report_is_the_golden_one(name: str) -> None:
    path = FILES / f"compare.{ENDINGS.get(name, name)}"
    text = plugins.load("reports", name).render(small())
    if os.environ.get("POCKETLENS_REGENERATE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


def test_page_of_explore_is_the_golden_one() -> None:
    path = FILES / "explore.html"
    text = render(*small_exploration())
    if os.environ.get("POCKETLENS_REGENERATE"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")
