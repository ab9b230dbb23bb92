"""What holds for every way to find a region, found through the folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from pocketlens import plugins
from pocketlens.cli import run
from pocketlens.core.errors import UserError
from pocketlens.core.region import Keep, RegionContext
from pocketlens.workflows.inventory import inventory

NAMES = plugins.names("regions")
CONTEXT = RegionContext(list, lambda path: {}, 1)


def test_the_three_that_are_promised() -> None:
    assert {"box", "mask", "face-skin"} <= set(NAMES)
    assert [found["name"] for found in inventory()["regions"]] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_does(name: str, project: Path) -> None:
    plugin = plugins.load("regions", name)
    assert plugin.KEEP in get_args(Keep)
    assert isinstance(plugin.FRAMES, bool)
    assert plugin.Config() == plugin.Config()
    page = (project / "docs" / "regions.md").read_text("utf-8")
    assert f"`{name}`" in page
    for field in fields(plugin.Config):
        assert f"--region-{field.name.replace('_', '-')}" in page, f"{name}: {field.name}"


@pytest.mark.parametrize("name", NAMES)
def test_without_its_source_it_says_what_to_name(name: str) -> None:
    plugin = plugins.load("regions", name)
    with pytest.raises(UserError, match=r"--region-[a-z]"):
        plugin.open(plugin.Config(), CONTEXT)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_options_are_answered_with_those_there_are(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plugin = plugins.load("regions", name)
    with pytest.raises(UserError, match="--region-nonsense is no option here"):
        plugins.configure(plugin, {"nonsense": "1"}, prefix="region-")
    words = ["predict", "b", "x.jpg", "--out", str(tmp_path / "o"), "--region", name]
    assert run([*words, "--nonsense", "1"]) == 2
    assert "--nonsense is no option of predict" in capsys.readouterr().err
