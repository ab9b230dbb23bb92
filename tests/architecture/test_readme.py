"""Every command and every piece of Python in the README is run, in a folder with `photos/`.

Blocks of ```python stand alone. In ```console and ```bash blocks, lines `pocketlens ...` are run,
`make ...` must name a target, and others (pip, git, cd) are left out. A comment on the line before
a block, `<!-- not run: why -->` or `<!-- slow -->`, leaves it out always, or out of `make test`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run: \S.*|slow) -->\n+)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


class Block(NamedTuple):
    kind: str
    text: str
    slow: bool


def blocks_of(text: str) -> list[Block]:
    return [
        Block(match["kind"], match["text"], match["mark"] == "slow")
        for match in BLOCK.finditer(text)
        if match["kind"] in ("python", "console", "bash")
        and not (match["mark"] or "").startswith("not run")
    ]


def run_block(block: Block, folder: Path, project: Path) -> list[str]:
    """Run a block and give what was run."""
    if block.kind == "python":
        _run([sys.executable, "-c", block.text], folder, project)
        return [block.text]
    done = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["pocketlens"]:
            _run([sys.executable, "-m", *words], folder, project)
        elif words[:1] == ["make"]:
            targets = re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(), re.M)
            assert set(words[1:]) <= set(targets), line
        else:
            continue
        done.append(line)
    return done


def _run(command: list[str], folder: Path, project: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(project / "src")}
    run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"


def run_readme(folder: Path, project: Path, *, slow: bool) -> None:
    readme = project / "README.md"
    for block in blocks_of(readme.read_text("utf-8") if readme.exists() else ""):
        if slow or not block.slow:
            run_block(block, folder, project)


@pytest.fixture
def workplace(make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    make_photos(tmp_path / "photos")
    return tmp_path


def test_readme(workplace: Path, project: Path) -> None:
    run_readme(workplace, project, slow=False)


@pytest.mark.slow
def test_readme_with_its_slow_blocks(workplace: Path, project: Path) -> None:
    run_readme(workplace, project, slow=True)


def test_the_mechanism(tmp_path: Path, project: Path) -> None:
    text = """
```python
open("made", "w").close()
```
<!-- slow -->
```console
$ pip install pocketlens
$ make test   # a comment
```
<!-- not run: needs a phone -->
```bash
pocketlens explode
```
```json
{}
```
"""
    found = blocks_of(text)
    assert [(block.kind, block.slow) for block in found] == [("python", False), ("console", True)]
    run_block(found[0], tmp_path, project)
    assert (tmp_path / "made").exists()
    assert run_block(found[1], tmp_path, project) == ["$ make test   # a comment"]
    with pytest.raises(AssertionError):
        run_block(Block("console", "make coffee\n", False), tmp_path, project)
    with pytest.raises(AssertionError):
        run_block(Block("python", "raise ValueError", False), tmp_path, project)
