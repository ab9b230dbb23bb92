"""The folder is the registry, and options are checked against a plugin's `Config`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from pocketlens import extras, plugins
from pocketlens.core.errors import MissingExtraError, UserError

SOURCE = '''"""Photos in shoe boxes.

More of it.
"""
import torch_is_not_imported_for_a_summary
EXTRA = "train"
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as one more folder of the datasets family."""
    import pocketlens.datasets as package

    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    return tmp_path


def test_a_new_file_is_a_new_plugin(folder: Path) -> None:
    before = plugins.names("datasets")
    (folder / "shoe_box.py").write_text(SOURCE)
    (folder / "_helper.py").write_text("")
    (folder / "notes.txt").write_text("")
    assert plugins.names("datasets") == sorted([*before, "shoe-box"])
    found = plugins.describe("datasets", "shoe-box")
    assert found.summary == "Photos in shoe boxes."
    assert found.extra == "train"
    assert "pocketlens.datasets.shoe_box" not in sys.modules


def test_load(folder: Path) -> None:
    (folder / "wooden_crate.py").write_text('"""Crates."""\nANSWER = 42\n')
    assert plugins.load("datasets", "wooden-crate").ANSWER == 42
    for name in ("nothing", "_helper", "wooden_crate", "../x", ""):
        with pytest.raises(UserError, match=r"choose from .*wooden-crate"):
            plugins.load("datasets", name)
    with pytest.raises(UserError, match="no 'magic' among the compression methods: choose"):
        plugins.load("compression", "magic")


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_every_plugin_says_what_it_is(family: str) -> None:
    for name in plugins.names(family):
        found = plugins.describe(family, name)
        assert found.summary, name
        assert found.extra == "" or found.extra in extras.MODULES, name


@dataclass(frozen=True)
class Config:
    size: int
    rate: float = 0.5
    mode: Literal["fast", "exact"] = "fast"
    bits: Literal[4, 8] = 8
    deep: bool = False
    limit: int | None = None
    way: Literal["a", "b"] | None = None
    name: str = ""
    folder: Path = Path()
    stages: tuple[int, ...] = (1,)
    table: dict[str, int] = field(default_factory=dict)


@pytest.fixture
def plugin() -> ModuleType:
    module = ModuleType("pocketlens.compression.squeeze")
    module.Config = Config  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("options", "field_name", "expected"),
    [
        ({"size": "7"}, "size", 7),
        ({"size": 7}, "size", 7),
        ({"rate": "1e-3"}, "rate", 1e-3),
        ({"rate": 1}, "rate", 1.0),
        ({"mode": "exact"}, "mode", "exact"),
        ({"bits": "4"}, "bits", 4),
        ({"bits": 4}, "bits", 4),
        ({"deep": "yes"}, "deep", True),
        ({"deep": "False"}, "deep", False),
        ({"deep": True}, "deep", True),
        ({"limit": "3"}, "limit", 3),
        ({"limit": None}, "limit", None),
        ({"limit": "none"}, "limit", None),
        ({"way": "b"}, "way", "b"),
        ({"folder": "x/y"}, "folder", Path("x/y")),
        ({"stages": "1,2,3"}, "stages", (1, 2, 3)),
        ({"stages": [4, 5]}, "stages", (4, 5)),
        ({"table": {"a": 1}}, "table", {"a": 1}),
    ],
)
def test_values(plugin: Any, options: dict[str, Any], field_name: str, expected: Any) -> None:
    found = getattr(plugins.configure(plugin, {"size": 1} | options), field_name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "squeeze needs --size"),
        ({"size": "x"}, "--size needs a value of kind int, not 'x'"),
        ({"size": 1.5}, "kind int"),
        ({"size": True}, "kind int"),
        ({"size": [1]}, "kind int"),
        ({"size": None}, "kind int"),
        ({"size": 1, "rate": "fast"}, "--rate needs a value of kind float"),
        ({"size": 1, "rate": True}, "kind float"),
        ({"size": 1, "mode": "slow"}, "--mode must be one of fast, exact, not 'slow'"),
        ({"size": 1, "mode": 3}, "must be one of fast, exact"),
        ({"size": 1, "bits": "5"}, "must be one of 4, 8"),
        ({"size": 1, "deep": "maybe"}, "--deep needs a value of kind bool"),
        ({"size": 1, "deep": 1}, "kind bool"),
        ({"size": 1, "limit": "x"}, "kind int"),
        ({"size": 1, "way": "c"}, "must be one of a, b"),
        ({"size": 1, "name": 5}, "kind str"),
        ({"size": 1, "stages": "1,x"}, "kind int"),
        ({"size": 1, "stages": 3}, "--stages"),
        ({"size": 1, "colour": 1}, "--colour is no option here; its options: --bits, --deep"),
    ],
)
def test_refused_values(plugin: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plugins.configure(plugin, options)


def test_dashes_and_underscores(plugin: Any) -> None:
    @dataclass(frozen=True)
    class Dashed:
        num_bits: int = 8

    plugin.Config = Dashed
    assert plugins.configure(plugin, {"num-bits": "4"}).num_bits == 4
    assert plugins.configure(plugin, {"num_bits": 4}).num_bits == 4


# --- extras


def test_a_missing_extra_names_the_command() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketlens\[train\]'") as caught:
        extras.require("surely_not_there.sub", extra="train")
    assert "surely_not_there" in str(caught.value)


def test_a_fault_inside_an_extra_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import surely_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_there") as caught:
        extras.require("half_there", extra="train")
    assert not isinstance(caught.value, MissingExtraError)


def test_require() -> None:
    assert extras.require("json.decoder", extra="train").JSONDecoder


def test_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.installed("")
    monkeypatch.setattr(extras, "MODULES", {"x": ("json", "nothing_like_it"), "y": ("json",)})
    assert not extras.installed("x")
    assert extras.installed("y")


def test_versions() -> None:
    found = extras.versions("numpy", "nothing-like-it")
    assert found["numpy"]
    assert "nothing-like-it" not in found


def test_extras_are_those_of_the_project(project: Path) -> None:
    import tomllib

    declared = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras.MODULES) <= set(declared["optional-dependencies"])
