"""Every help text: what a user reads changes only on purpose.

UPDATE_GOLDEN=1 writes the files instead.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pocketlens.cli import VERBS, run

FOLDER = Path(__file__).parent / "help"


@pytest.mark.parametrize("verb", ["", *sorted(VERBS)])
def test_help(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert run([verb, "--help"] if verb else ["--help"]) == 0
    text = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    path = FOLDER / f"{verb or 'pocketlens'}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
