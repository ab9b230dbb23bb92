"""What every source file keeps to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

#: Modules that execute what they read.
EXECUTING = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    assert SOURCES
    for path in SOURCES:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, tree in trees() if not ast.get_docstring(tree)] == []


def test_files_stay_readable() -> None:
    """A file that grows beyond tells that a room is missing."""
    folders = (ROOT / name for name in ("src", "tests", "benchmarks", "examples"))
    files = [path for folder in folders for path in folder.rglob("*.py")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in files}
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def offences(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = {alias.name.split(".")[0] for alias in node.names} & EXECUTING
            yield from (f"{node.lineno}: imports {name}" for name in sorted(found))
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in EXECUTING:
                yield f"{node.lineno}: imports {node.module}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in ("torch.load", "load_state_dict_from_url"):
                if options.get("weights_only") != "True":
                    yield f"{node.lineno}: {called} without weights_only=True"
            elif options.get("allow_pickle", "False") != "False":
                yield f"{node.lineno}: {called} with allow_pickle"


def test_nothing_that_is_read_is_executed() -> None:
    assert [f"{name}:{what}" for name, tree in trees() for what in offences(tree)] == []


def test_the_check_finds_what_it_looks_for() -> None:
    bad = (
        "import pickle\nfrom joblib import load\ntorch.load(x)\ntorch.load(x, weights_only=False)\n"
        "np.load(x, allow_pickle=True)\n"
    )
    assert [line.split(":")[0] for line in offences(ast.parse(bad))] == ["1", "2", "3", "4", "5"]
    assert list(offences(ast.parse("import json\ntorch.load(x, weights_only=True)"))) == []
