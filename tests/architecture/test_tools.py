"""The linter, the formatter, the type checker and the import contracts are content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "ruff-check": ["-m", "ruff", "check", "--quiet", "."],
    "ruff-format": ["-m", "ruff", "format", "--check", "--quiet", "."],
    "mypy": ["-m", "mypy", "src"],
    "import-linter": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_tool(project: Path, name: str) -> None:
    command = [sys.executable, *COMMANDS[name]]
    if name == "mypy" and any((project / "benchmarks").glob("*.py")):
        command.append("benchmarks")
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{name}:\n{run.stdout}{run.stderr}\n(make lint mends some of it)"
